"""A grading process: one JSON object a line in, one a line out, under limits of memory and
processor time. ``check_batch`` starts these.

In:  {"gold": ..., "prediction": ..., "policy": {...}}     Out: the fields of an Explanation

Usage: ``python -m dftcore.grading.worker MEGABYTES SECONDS`` (it answers until its input ends).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from dftcore.grading.judge import Explanation, explain
from dftcore.grading.policy import Limits, Policy

READY = '{"ready": true}'


def policy_from(fields: dict[str, Any]) -> Policy:
    """The policy that ``dataclasses.asdict`` took apart."""
    return Policy(**{**fields, "limits": Limits(**fields["limits"])})


def limit_memory(megabytes: int) -> None:
    """Let this process have so much address space and no more, where the platform can."""
    try:
        import resource
    except ImportError:
        return
    wanted, (_, most) = megabytes << 20, resource.getrlimit(resource.RLIMIT_AS)
    allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)  # a limit set outside can only go down
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))


def limit_item(seconds: float) -> None:
    """Let the system end this process when one item takes so much processor time, whoever still waits for it."""
    try:
        import resource
    except ImportError:
        return
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = math.ceil(used + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


def serve(judge: Callable[[str, str, Policy], Explanation] = explain, seconds: float = 5.0) -> None:
    """Answer every line of standard input, each within so many seconds of processor time."""
    print(READY, flush=True)
    for line in sys.stdin:
        limit_item(seconds)
        try:
            item = json.loads(line)
            result = judge(item["gold"], item["prediction"], policy_from(item["policy"]))
        except MemoryError:
            result = Explanation(False, "stopped", "", "", "memory")
        print(json.dumps(asdict(result)), flush=True)


if __name__ == "__main__":
    limit_memory(int(sys.argv[1]))
    serve(seconds=float(sys.argv[2]))
