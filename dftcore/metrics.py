"""What a training run writes down: JSON lines that a resumed run goes on with, and one progress line.

metrics.jsonl       one object per optimizer step: the names of `diagnostics`, and
    grad_norm           before clipping; clipped: whether it was above --clip
    tokens, targets     processed, prompts included; those that the loss is the mean over
    tokens_per_second, seconds, mfu (null for an unknown device), memory_bytes (most so far, first rank)
    validation_loss, validation_nll, validation_mean_prob     in the steps after which there was a validation
diagnostics.jsonl   label probabilities: step, data (sample: the same examples before step 1, as step 0, and after
                    the last; batch; validation), bins, probabilities as `diagnostics` says
spikes.jsonl        steps whose loss or gradient left its band: step, what, value, limit, examples (rows of the data)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dftcore.files import json_line, open_log, read_log
from dftcore.trackers import Tracker


class StepLog:
    """JSON lines of records with a `step`, made when there is one; opening drops the records of later, undone steps."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        # A run that starts over keeps nothing, not even the records of step 0.
        records = [record for record in read_log(path) if isinstance(record.get("step"), int)]
        self.kept = [record for record in records if 0 < step >= record["step"]]
        self.file = open_log(path, self.kept) if path.exists() else None

    def write(self, record: dict[str, Any]) -> None:
        if self.file is None:
            self.file = open_log(self.path, ())
        self.file.write(json_line(record))
        self.file.flush()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class MetricsLog:
    """metrics.jsonl of a run that goes on after `step` steps, its trackers, and its progress line."""

    def __init__(self, path: Path, step: int, total: int, description: str, trackers: Sequence[Tracker] = ()) -> None:
        self.log, self.trackers = StepLog(path, step), trackers
        self.progress = tqdm(
            total=total, initial=step, desc=description, unit="step", dynamic_ncols=True, smoothing=0.1
        )

    def write(self, record: dict[str, Any]) -> None:
        self.log.write(record)
        for tracker in self.trackers:
            tracker.write(record)
        self.progress.set_postfix_str(_progress(record), refresh=False)
        self.progress.update()

    def note(self, text: str) -> None:
        """Lines above the progress bar."""
        self.progress.write(text)

    def close(self) -> None:
        self.progress.close()
        self.log.close()
        for tracker in self.trackers:
            tracker.close()


def _progress(record: dict[str, Any]) -> str:
    """What stands behind the bar, the step and the time left."""
    names = {"loss": "loss", "nll": "NLL", "mean_prob": "p", "grad_norm": "|g|", "lr": "lr"}
    parts = [f"{name} {_short(record[key])}" for key, name in names.items()]
    parts.append(f"{_short(record['tokens_per_second'])} tok/s")
    if record["mfu"] is not None:
        parts.append(f"MFU {record['mfu']:.1%}")
    parts.append(f"{record['memory_bytes'] / 2**30:.1f} GiB")
    return ", ".join(parts)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
