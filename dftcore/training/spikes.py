"""Steps whose loss or gradient norm leaves the band of those before: found so that their examples can be read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from statistics import median
from typing import Any

_WINDOW = 64  # steps that the band is made of
_FEWEST = 16  # of them, before there is a band
_DEVIATIONS = 8.0  # robust standard deviations above the median
_SHARE = 0.5  # and at least this share of the median above it


class SpikeDetector:
    """limit = median + max(8 sigma, median / 2) over the last 64 steps; sigma = 1.4826 x median absolute deviation.

    `before` are the records of a run that goes on, so that it finds what an unbroken run would.
    """

    def __init__(self, before: Iterable[dict[str, Any]] = ()) -> None:
        self.history: dict[str, deque[float]] = {name: deque(maxlen=_WINDOW) for name in ("loss", "grad_norm")}
        for record in before:
            self._remember(record)

    def check(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """What is wrong with a step, by its record: what, value, limit; None for an ordinary one."""
        found: dict[str, Any] | None = None
        for name, history in self.history.items():
            value = record[name]
            if value is None:
                found = {"what": f"{name} is not finite", "value": None, "limit": None}
                break
            if len(history) >= _FEWEST and value > (limit := _limit(history)):
                found = {"what": name, "value": value, "limit": limit}
                break
        self._remember(record)
        return found

    def _remember(self, record: dict[str, Any]) -> None:
        for name, history in self.history.items():
            if record.get(name) is not None:
                history.append(record[name])


def _limit(history: Iterable[float]) -> float:
    values = list(history)
    middle = median(values)
    sigma = 1.4826 * median(abs(value - middle) for value in values)
    return middle + max(_DEVIATIONS * sigma, _SHARE * abs(middle))
