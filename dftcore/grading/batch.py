"""Many comparisons over killable processes: a hard limit on the time and memory of each, and none is ever lost.

A process that exceeds its time, dies, or is killed costs only the item that it was at: that item gets an Explanation
whose status is ``timeout`` or ``died``, a new process takes over, and the rest goes on. Ctrl-C ends the batch at once:
the processes are not in the terminal's group, and end with the caller. Needs a POSIX system.

Usage: ``[e.verdict for e in check_batch(pairs, workers=4, timeout=5.0)]``.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue

from dftcore.grading.judge import Explanation
from dftcore.grading.policy import Policy, policy_named

_START_SECONDS = 60.0
_ROOT = str(Path(__file__).resolve().parents[2])


class WorkerStopped(Exception):
    """The process gave no answer; ``status`` is timeout or died."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class Worker:
    """One grading process and the pipe to it. ``ask`` is one question and its answer."""

    def __init__(self, command: Sequence[str]) -> None:
        path = os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the grading process has no pipes")
        self.questions, self.answers = self.process.stdin, self.process.stdout
        self.buffer = b""
        try:
            self._line(_START_SECONDS)
        except WorkerStopped:
            self.stop()
            raise RuntimeError(f"the grading process did not start: {' '.join(command)}") from None

    def ask(self, question: bytes, seconds: float) -> bytes:
        """The answer line; raises WorkerStopped when none comes in time."""
        try:
            self.questions.write(question + b"\n")
            self.questions.flush()
        except (BrokenPipeError, OSError):
            raise WorkerStopped("died") from None
        return self._line(seconds)

    def _line(self, seconds: float) -> bytes:
        descriptor = self.answers.fileno()
        deadline = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise WorkerStopped("timeout")
            received = os.read(descriptor, 1 << 16)
            if not received:
                raise WorkerStopped("died")
            self.buffer += received
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.answers.close()
        with suppress(OSError):  # what the dead process left unread
            self.questions.close()


def check_batch(
    pairs: Iterable[tuple[str, str]],
    workers: int | None = None,
    timeout: float = 5.0,
    memory_mb: int = 1024,
    policy: Policy | str | None = None,
    command: Sequence[str] | None = None,
) -> list[Explanation]:
    """One Explanation for every (gold, prediction), in order.

    ``workers`` processes (default: one for each core that this one may use) each answer one item at a time within
    ``timeout`` seconds and ``memory_mb`` of address space. ``command`` replaces the grading process by another that
    keeps its protocol. Raises ValueError for limits that are not positive and RuntimeError when the processes do not
    start.
    """
    if timeout <= 0 or memory_mb <= 0 or (workers is not None and workers <= 0):
        raise ValueError("workers, timeout and memory_mb must be positive")
    chosen = asdict(policy_named(policy))
    items = list(pairs)
    count = min(workers or _cores(), len(items))
    start = command or (sys.executable, "-m", "dftcore.grading.worker", str(memory_mb), str(timeout))
    waiting: SimpleQueue[int] = SimpleQueue()
    for index in range(len(items)):
        waiting.put(index)
    results: list[Explanation | None] = [None] * len(items)
    running: set[Worker] = set()

    def work() -> None:
        worker = Worker(start)  # one that cannot start at all is an error; one lost later costs an item
        running.add(worker)
        try:
            while (index := _next(waiting)) is not None:
                gold, prediction = items[index]
                question = json.dumps({"gold": gold, "prediction": prediction, "policy": chosen}, default=str).encode()
                try:
                    if worker not in running:
                        worker = Worker(start)
                        running.add(worker)
                    results[index] = Explanation(**json.loads(worker.ask(question, timeout)))
                except (WorkerStopped, RuntimeError, OSError, ValueError) as fault:
                    status = getattr(fault, "status", "died")  # other faults: no process, or no answer of its kind
                    results[index] = Explanation(False, "stopped", str(gold)[:200], str(prediction)[:200], status)
                    running.discard(worker)
                    worker.stop()
        finally:
            running.discard(worker)
            worker.stop()

    if count:
        with ThreadPoolExecutor(count) as pool:
            futures = [pool.submit(work) for _ in range(count)]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                while _next(waiting) is not None:
                    pass
                for worker in list(running):
                    worker.process.kill()
                raise
    return [result or Explanation(False, "stopped", "", "", "died") for result in results]


def _cores() -> int:
    """How many cores this process may use, which a scheduler can make fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _next(waiting: SimpleQueue[int]) -> int | None:
    """The next item's index, None when none is left."""
    try:
        return waiting.get_nowait()
    except Empty:
        return None
