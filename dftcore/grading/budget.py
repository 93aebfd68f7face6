"""A purse of steps and seconds that every part of one comparison draws on, in any thread.

Usage: ``budget = Budget(steps=60_000, seconds=0.5)`` then ``budget.spend(cost)`` before each piece of work.
"""

from __future__ import annotations

import time


class OutOfBudget(Exception):
    """The comparison would take more work than allowed; ``status`` is ``"limit"`` or ``"timeout"``."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class Budget:
    """Counts work. No signal and no thread is used, so it holds wherever ``check`` is called from."""

    __slots__ = ("deadline", "steps")

    def __init__(self, steps: int, seconds: float) -> None:
        self.steps = steps
        self.deadline = time.monotonic() + seconds

    def spend(self, cost: int = 1) -> None:
        """Pay for one piece of work; raises OutOfBudget when the steps or the time are used up."""
        self.steps -= cost
        if self.steps < 0:
            raise OutOfBudget("limit")
        if time.monotonic() > self.deadline:
            raise OutOfBudget("timeout")
