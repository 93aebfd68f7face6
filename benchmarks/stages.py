"""A long measurement in units: done ones are kept when it is cut short, one that ends the process is not run for ever.

stages = Stages(path, seconds=540)
value  = stages.run("heads/8B/dft", measure_it)      # what it returned, now or in an earlier run; JSON values only

Each unit is noted before it begins and saved when it ends. A unit begun twice without an end ran into the end of the
process, as a fault on the device can, and counts as failed. After `seconds` no unit begins: OutOfTime. A fault that
left the device useless is no result: Broken, and the process should start anew, with one attempt of this unit spent.
A unit, or a part of one that `at` names, that takes longer than `limit` seconds has failed: the process starts anew
without it, since what runs on a device cannot be interrupted. `seconds` count from its first start.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dftcore.diagnostics import finite
from dftcore.files import write_json

BEGAN = "DFTCORE_STAGES_BEGAN"  # from one start of the process to the next: time.monotonic() at the first


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
        limit: float = float("inf"),
    ) -> None:
        self.path, self.healthy, self.attempts, self.limit = path, healthy, attempts, limit
        self.began = float(os.environ.pop(BEGAN, time.monotonic()))
        self.deadline = self.began + seconds
        self.current: tuple[str, float] = ("", math.inf)  # what is being run, and since when
        held = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.done: dict[str, Any] = held.get("done", {})
        self.begun: dict[str, int] = held.get("begun", {})
        if limit < math.inf:
            threading.Thread(target=self._watch, daemon=True).start()

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
                part = self.current[0] or key
                if part not in self.begun:
                    self.forget(key)
                    self.begin(part)
                raise Broken(part) from error
            return self.finish(key, {"failed": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"})

    def begin(self, key: str) -> None:
        self.begun[key] = self.begun.get(key, 0) + 1
        self.at(key)
        self._save()

    def at(self, part: str) -> None:
        """This is being run from now on; kept in memory only, which costs next to nothing."""
        self.current = (part, time.monotonic())

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
        self.current = ("", math.inf)
        self.done[key] = value = _finite(value)
        self._save()
        return value

    def under(self, prefix: str) -> dict[str, Any]:
        """The finished units whose key starts with `prefix`, in order."""
        return {key: value for key, value in self.done.items() if key.startswith(prefix)}

    def restart(self) -> None:
        """The same command in this process's place."""
        os.environ[BEGAN] = repr(self.began)
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.argv])

    def _watch(self) -> None:
        while True:
            time.sleep(min(1.0, self.limit / 4))
            part, since = self.current
            if time.monotonic() - since > self.limit:
                print(f"{part}: took longer than {self.limit:.0f} s, and the process starts anew", flush=True)
                self.begun.clear()  # none of which is at fault
                self.finish(part, {"failed": f"took longer than {self.limit:.0f} s"})
                self.restart()
                return

    def _save(self) -> None:
        write_json(self.path, {"begun": self.begun, "done": self.done})


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return finite(value) if isinstance(value, float) else value
