"""A grading process: one JSON object a line in, one a line out, under a memory limit. ``check_batch`` starts these.

In:  {"gold": ..., "prediction": ..., "policy": {...}}     Out: the fields of an Explanation

Usage: ``python -m dftcore.grading.worker MEGABYTES`` (it answers until its input ends).
"""

from __future__ import annotations

import json
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
    resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))


def serve(judge: Callable[[str, str, Policy], Explanation] = explain) -> None:
    """Answer every line of standard input."""
    print(READY, flush=True)
    for line in sys.stdin:
        try:
            item = json.loads(line)
            result = judge(item["gold"], item["prediction"], policy_from(item["policy"]))
        except MemoryError:
            result = Explanation(False, "stopped", "", "", "memory")
        print(json.dumps(asdict(result)), flush=True)


if __name__ == "__main__":
    limit_memory(int(sys.argv[1]))
    serve()
