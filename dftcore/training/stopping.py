"""Signals that end a run between two steps."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from types import FrameType
from typing import Any


@dataclass
class StopFlag:
    """Set by SIGTERM, SIGUSR1 or Ctrl-C; the loop sees it between steps, saves and stops."""

    signal_number: int = 0
    since: float = 0.0
    previous: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> StopFlag:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            self.previous[number] = signal.signal(number, self._set)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _set(self, number: int, _frame: FrameType | None) -> None:
        # A later Ctrl-C does not wait for the step; one at once is the launcher passing the first on.
        if self.signal_number and number == signal.SIGINT and time.monotonic() - self.since > 3.0:
            raise KeyboardInterrupt
        if not self.signal_number:
            self.signal_number, self.since = number, time.monotonic()
