"""What a training run tells: one progress line on the terminal and one JSON object a step in metrics.jsonl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tqdm import tqdm

from dftcore.files import json_line, open_log, read_log


class MetricsLog:
    """metrics.jsonl of a run; opening it after `step` steps drops the records of later, undone steps."""

    def __init__(self, path: Path, step: int, total: int, description: str) -> None:
        kept = [record for record in read_log(path) if isinstance(record.get("step"), int) and record["step"] <= step]
        self.file = open_log(path, kept)
        self.progress = tqdm(
            total=total, initial=step, desc=description, unit="step", dynamic_ncols=True, smoothing=0.1
        )

    def write(self, record: dict[str, Any]) -> None:
        self.file.write(json_line(record))
        self.file.flush()
        shown = {key: record[key] for key in ("loss", "nll", "mean_prob", "grad_norm", "lr")}
        shown["tok/s"] = record["tokens_per_second"]
        self.progress.set_postfix(
            {key: "-" if value is None else f"{value:.3g}" for key, value in shown.items()}, refresh=False
        )
        self.progress.update()

    def note(self, text: str) -> None:
        """A line above the progress bar."""
        self.progress.write(text)

    def close(self) -> None:
        self.progress.close()
        self.file.close()
