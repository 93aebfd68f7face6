"""Where metrics go beside metrics.jsonl: TensorBoard and Weights & Biases, each through its own library.

--track tensorboard,wandb. Both are extras. A resumed run goes on in the same place: TensorBoard is told from which step
on its older records are void, Weights & Biases keeps the first record of a step (its id is in the run directory).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from dftcore.errors import UserError, nearest, one_line
from dftcore.files import write_text


class Tracker(Protocol):
    """One place; `write` takes a record of metrics.jsonl."""

    def write(self, record: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


def check_trackers(names: Sequence[str]) -> None:
    """Refuse an unknown tracker, or one whose library is missing, before hours are spent. Raises UserError."""
    for name in names:
        if name not in _TRACKERS:
            raise UserError(f"--track: unknown tracker {name!r}{nearest(name, _TRACKERS)}")
        if find_spec(name) is None:
            raise UserError(f"--track: {name} is not installed; install it with pip install -e .[{name}]")


def open_trackers(names: Sequence[str], run: Path, step: int, config: dict[str, Any]) -> list[Tracker]:
    """For a run in the directory `run` that goes on after `step` steps with these options."""
    return [_TRACKERS[name](run, step, config) for name in dict.fromkeys(names)]


class _TensorBoard:
    """Event files in <run>/tensorboard."""

    def __init__(self, run: Path, step: int, config: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def write(self, record: dict[str, Any]) -> None:
        for name, value in _numbers(record).items():
            self.writer.add_scalar(name, value, record["step"])

    def close(self) -> None:
        self.writer.close()


class _WandB:
    """A run of the project $WANDB_PROJECT, or dftcore; WANDB_MODE=offline writes to <run>/wandb only."""

    def __init__(self, run: Path, step: int, config: dict[str, Any]) -> None:
        import wandb

        identity = run / "wandb-id"
        if not identity.is_file():
            write_text(identity, secrets.token_hex(4))
        try:
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "dftcore"),
                name=run.name,
                id=identity.read_text(encoding="utf-8"),
                resume="allow",
                dir=str(run),
                config=config,
            )
        except Exception as error:  # its own wide family: no login, no network, a bad setting
            raise UserError(
                f"--track: wandb does not start ({one_line(error)}); log in with `wandb login`, or set"
                " WANDB_MODE=offline"
            ) from None

    def write(self, record: dict[str, Any]) -> None:
        self.run.log(_numbers(record), step=record["step"])

    def close(self) -> None:
        self.run.finish()


_TRACKERS: dict[str, Any] = {"tensorboard": _TensorBoard, "wandb": _WandB}


def _numbers(record: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in record.items() if isinstance(value, int | float) and name != "step"}
