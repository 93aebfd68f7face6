"""Decide whether two answers to a mathematics question are the same, without running anything that they contain.

>>> from dftcore.grading import check
>>> check("1/2", "so the answer is $0.5$")
True
"""

from dftcore.grading.batch import check_batch
from dftcore.grading.judge import Explanation, check, explain, extract_answer
from dftcore.grading.policy import PRESETS, Limits, Policy

__all__ = ["PRESETS", "Explanation", "Limits", "Policy", "check", "check_batch", "explain", "extract_answer"]
