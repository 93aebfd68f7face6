"""train.py, evaluate.py and the verbs, launched as a user launches them: a process of their own, under torchrun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from dftcore.cli import Interrupted
from dftcore.errors import UserError

_ROOT = Path(__file__).resolve().parent.parent


def words(options: Mapping[str, Any]) -> list[str]:
    """{"max_steps": 3, "packing": False, "columns": ["a=b"]} as the words of a command line."""
    found: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            found.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, list | tuple):
            found += [flag, *map(str, value)]
        else:
            found += [flag, "none" if value is None else str(value)]
    return found


def torchrun(script: str, ranks: int, options: Mapping[str, Any]) -> int:
    """Run a program of the repository on `ranks` local processes, one of them without a launcher; its exit status.

    Raises as `call` does.
    """
    if not (_ROOT / script).is_file():
        raise UserError(f"this needs a checkout of the repository: there is no {_ROOT / script}")
    return call([*_launcher(ranks), str(_ROOT / script), *words(options)], ranks)


def verb(name: str, options: Mapping[str, Any], ranks: int = 1) -> int:
    """Run `python -m dftcore NAME` on `ranks` local processes; its exit status. Raises as `call` does."""
    return call([*_launcher(ranks), "-m", "dftcore", name, *words(options)], ranks)


def _launcher(ranks: int) -> list[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return torchrun if ranks > 1 else []


def call(arguments: Sequence[str], ranks: int) -> int:
    """Run Python with these words, its cores divided among `ranks`.

    SIGTERM and SIGUSR1 are handed on, and raise Interrupted once the program has left its files in order; so does
    Ctrl-C, which the program gets from the terminal itself, as KeyboardInterrupt.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // ranks)
    environment = {
        # A single process takes all cores anyway; and were it told so, what it launches would inherit that.
        **({"OMP_NUM_THREADS": str(threads)} if ranks > 1 else {}),
        "TOKENIZERS_PARALLELISM": "false",
        # torchrun's --signals-to-handle; of a signal not among them it dies and leaves its workers behind
        "PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",
        **os.environ,
    }
    asked = []
    with subprocess.Popen([sys.executable, *arguments], env=environment) as process:

        def hand_on(number: int, _frame: FrameType | None) -> None:
            asked.append(number)
            process.send_signal(number)

        mine = (signal.SIGTERM, signal.SIGUSR1) if threading.current_thread() is threading.main_thread() else ()
        before = {number: signal.signal(number, hand_on) for number in mine}
        try:
            status = process.wait()
        except KeyboardInterrupt:
            process.wait()
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if asked:
        raise Interrupted("stopped by a signal; run the same command again to go on", asked[0])
    return status


def check(program: str, status: int) -> None:
    """Raise UserError for the exit status of a program that failed: it has said why itself."""
    if status != 0:
        raise UserError(f"{program} ended with status {status}, see above; run the same command again to go on")


def local_ranks(wanted: int | None) -> int:
    """`wanted`, or one process a GPU, else two, else one on a single core."""
    import torch

    return wanted or torch.cuda.device_count() or min(2, len(os.sched_getaffinity(0)))
