"""A purse of steps and seconds that every part of one comparison draws on, in any thread.

Usage: ``budget = Budget(steps=60_000, seconds=0.5)`` then ``budget.spend(cost)`` before each piece of work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# Seconds of work are counted on the thread's own clock, since a pause of a busy machine must not turn a verdict; a wait
# so many times as long ends the comparison all the same.
_PATIENCE = 10.0


class OutOfBudget(Exception):
    """The comparison would take more work than allowed; ``status`` is ``"limit"`` or ``"timeout"``."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class Budget:
    """Counts work. No signal and no thread is used, so it holds wherever ``check`` is called from."""

    __slots__ = ("deadline", "steps", "work_deadline")

    def __init__(self, steps: int, seconds: float) -> None:
        self.steps = steps
        self.work_deadline = time.thread_time() + seconds
        self.deadline = time.monotonic() + _PATIENCE * seconds

    def spend(self, cost: int = 1) -> None:
        """Pay for one piece of work; raises OutOfBudget when the steps or the time are used up."""
        self.steps -= cost
        if self.steps < 0:
            raise OutOfBudget("limit")
        if time.thread_time() > self.work_deadline or time.monotonic() > self.deadline:
            raise OutOfBudget("timeout")

    def uncounted(self, work: Callable[[], Any]) -> Any:
        """What ``work`` returns, its time not counted: for what is done once in a process, such as an import."""
        working, waiting = time.thread_time(), time.monotonic()
        result = work()
        self.work_deadline += time.thread_time() - working
        self.deadline += time.monotonic() - waiting
        return result
