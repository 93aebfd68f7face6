"""A long measurement in units: done ones are kept when it is cut short, one that ends the process is not run for ever.

stages = Stages(path, seconds=540)
value  = stages.run("heads/8B/dft", measure_it)      # what it returned, now or in an earlier run; JSON values only

Each unit is noted before it begins and saved when it ends. A unit begun twice without an end ran into the end of the
process, as a fault on the device can, and counts as failed. After `seconds` no unit begins: OutOfTime. A fault that
left the device useless is no result: Broken, and the process should start anew, with one attempt of this unit spent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dftcore.diagnostics import finite
from dftcore.files import write_json


class OutOfTime(Exception):
    """Run again to go on."""


class Broken(BaseException):
    """Nothing more can be measured in this process. No Exception: a row that reports its own must not report this."""


class Stages:
    def __init__(
        self,
        path: Path,
        seconds: float = float("inf"),
        healthy: Callable[[], bool] = lambda: True,
        attempts: int = 2,
    ) -> None:
        self.path, self.healthy, self.attempts = path, healthy, attempts
        self.deadline = time.monotonic() + seconds
        held = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.done: dict[str, Any] = held.get("done", {})
        self.begun: dict[str, int] = held.get("begun", {})

    def run(self, key: str, call: Callable[[], Any]) -> Any:
        """The value of `call`, or {"failed": why} if it raised; each at most once."""
        if key in self.done:
            return self.done[key]
        if time.monotonic() > self.deadline:
            raise OutOfTime(key)
        self.begin(key)
        if self.ended_the_process(key):
            return self.finish(key, {"failed": "ended the process"})
        try:
            return self.finish(key, call())
        except OutOfTime:
            raise
        except Exception as error:
            if not self.healthy():
                raise Broken(key) from error
            return self.finish(key, {"failed": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"})

    def begin(self, key: str) -> None:
        self.begun[key] = self.begun.get(key, 0) + 1
        self._save()

    def ended_the_process(self, key: str) -> bool:
        """Whether `key` has begun more often than it may without coming to an end."""
        return self.begun.get(key, 0) > self.attempts

    def forget(self, key: str) -> None:
        """It came to an end, whose result is kept elsewhere."""
        self.begun.pop(key, None)
        self._save()

    def finish(self, key: str, value: Any) -> Any:
        """Keep the value; numbers in it that are not finite are kept as None, which JSON has."""
        self.begun.pop(key, None)
        self.done[key] = value = _finite(value)
        self._save()
        return value

    def under(self, prefix: str) -> dict[str, Any]:
        """The finished units whose key starts with `prefix`, in order."""
        return {key: value for key, value in self.done.items() if key.startswith(prefix)}

    def _save(self) -> None:
        write_json(self.path, {"begun": self.begun, "done": self.done})


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return finite(value) if isinstance(value, float) else value
