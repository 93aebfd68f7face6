"""A trace of a few steps for chrome://tracing or Perfetto, of the first rank: <run>/profile/steps-A-B.json.gz."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from dftcore.files import replacing

_WARM_UP = 2  # steps of a process that are slower than those to come


class Profiler:
    """Traces `steps` steps, after the first two that follow step `start`, or fewer when the run ends before."""

    def __init__(self, steps: int, start: int, total: int, run: Path) -> None:
        self.first = max(start + 1, min(start + 1 + _WARM_UP, total - steps + 1))
        self.last = min(self.first + steps - 1, total)
        self.directory = run / "profile"
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        self.trace = profile(activities=activities)

    def begin(self, step: int) -> None:
        """Before step 1, 2, ..."""
        if step == self.first:
            self.trace.start()

    def end(self, step: int) -> str | None:
        """After it; a line that says where the trace is, once."""
        if step != self.last:
            return None
        self.trace.stop()
        name = f"steps-{self.first}-{self.last}.json.gz"
        with replacing(self.directory) as temporary:
            temporary.mkdir()
            self.trace.export_chrome_trace(str(temporary / name))
        return f"the trace of steps {self.first} to {self.last} is in {self.directory / name}"
