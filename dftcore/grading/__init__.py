"""Decide whether two answers to a mathematics question are the same, without running anything that they contain.

>>> from dftcore.grading import check
>>> check("1/2", "so the answer is $0.5$")
True

``check_batch``, which needs subprocesses, is imported on first use.
"""

from typing import TYPE_CHECKING, Any

from dftcore.grading.judge import Explanation, check, explain, extract_answer, locate_answer
from dftcore.grading.policy import PRESETS, Limits, Policy, PolicyName

if TYPE_CHECKING:
    from dftcore.grading.batch import check_batch

__all__ = [
    "PRESETS",
    "Explanation",
    "Limits",
    "Policy",
    "PolicyName",
    "check",
    "check_batch",
    "explain",
    "extract_answer",
    "locate_answer",
]


def __getattr__(name: str) -> Any:
    if name == "check_batch":
        from dftcore.grading.batch import check_batch

        return check_batch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
