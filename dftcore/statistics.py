"""Statistics of an evaluation: accuracy with its intervals, from the correctness of n samples of each question."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z95 = 1.959963984540054  # two-sided 95 % of the normal distribution


@dataclass(frozen=True)
class Accuracy:
    """avg@n. low, high: 95 % interval over questions. sampling_error: standard error from sampling alone, or None."""

    value: float
    low: float
    high: float
    sampling_error: float | None
    questions: int
    samples: int


def average_accuracy(correct: Sequence[Sequence[bool]]) -> Accuracy:
    """avg@n: the mean over questions of the share of correct samples (as in arXiv 2508.05629, section 4).

    The interval is Wilson's score interval at the effective number of questions p(1-p)/se^2, where se is the standard
    error of the mean over questions; so it holds for one sample a question, for many, and at 0 and 1. The sampling-only
    error, sqrt(sum_q p_q (1-p_q) / (n-1)) / Q, treats the questions as given and needs at least two samples of each.
    Raises ValueError without questions.
    """
    if not correct or any(not row for row in correct):
        raise ValueError("accuracy needs at least one sample of at least one question")
    means = np.array([np.mean(row) for row in correct])
    questions, value = len(means), float(means.mean())
    effective = float(questions)
    if questions > 1 and 0.0 < value < 1.0:
        variance = float(means.var(ddof=1)) / questions
        effective = value * (1.0 - value) / variance if variance > 0.0 else effective
    low, high = wilson(value, effective)
    sampling = None
    if all(len(row) > 1 for row in correct):
        spread = sum(mean * (1.0 - mean) / (len(row) - 1) for mean, row in zip(means, correct, strict=True))
        sampling = math.sqrt(spread) / questions
    return Accuracy(value, low, high, sampling, questions, sum(map(len, correct)))


def wilson(share: float, count: float) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share seen in `count` independent trials (Wilson 1927)."""
    z2 = Z95 * Z95
    centre = (share + z2 / (2.0 * count)) / (1.0 + z2 / count)
    half = Z95 / (1.0 + z2 / count) * math.sqrt(share * (1.0 - share) / count + z2 / (4.0 * count * count))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return (0.0 if share == 0.0 else low), (1.0 if share == 1.0 else high)  # exactly, not to rounding
