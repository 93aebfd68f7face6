"""Statistics of an evaluation, from n samples of each question: accuracy with its intervals, pass@k, maj@k, comparison.

Pure functions of numbers; which answers are correct, or the same, is decided elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

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


def sizes(samples: int) -> list[int]:
    """The k of pass@k and maj@k: 1, 2, 4, ... and `samples` itself."""
    powers = [1 << exponent for exponent in range(samples.bit_length()) if 1 << exponent < samples]
    return [*powers, samples]


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The chance that k of these samples, drawn without replacement, hold a correct one: 1 - C(n-c, k) / C(n, k).

    Unbiased for the chance among k fresh samples (Chen et al. 2021, arXiv 2107.03374, equation 1); exact integers.
    Raises ValueError unless 1 <= k <= samples.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples, there are {samples}")
    total = math.comb(samples, k)
    return float(Fraction(total - math.comb(samples - correct, k), total))


def majority_at_k(right: int, wrong: Sequence[int], silent: int, k: int) -> float:
    """The chance that the vote of k of these samples, drawn without replacement, elects the correct answer.

    `right` samples gave it, `wrong` holds the number that gave each other answer, `silent` gave none and cast no vote.
    The answer with most votes is elected; a tie is broken evenly at random among the answers that share the lead, so
    the correct one among t others counts 1/(t+1); without a vote nothing is elected. Exact, no resampling.
    Raises ValueError unless 1 <= k <= the number of samples.
    """
    samples = right + sum(wrong) + silent
    if not 1 <= k <= samples:
        raise ValueError(f"maj@{k} needs at least {k} samples, there are {samples}")
    elected = Fraction(0)
    for votes in range(1, min(right, k) + 1):
        for tied, ways in enumerate(_others(wrong, silent, k - votes, votes)):
            elected += Fraction(math.comb(right, votes) * ways, tied + 1)
    return float(elected / math.comb(samples, k))


def _others(wrong: Sequence[int], silent: int, drawn: int, most: int) -> list[int]:
    """In how many ways `drawn` samples come from the wrong answers and the silent ones with no answer drawn more than
    `most` times, by the number of answers that are drawn exactly so often.
    """
    ways = [[math.comb(silent, count)] for count in range(drawn + 1)]  # [samples drawn][answers with `most` of them]
    for size in wrong:
        after = [[0] * (len(row) + 1) for row in ways]
        for before, row in enumerate(ways):
            for taken in range(min(size, most, drawn - before) + 1):
                for tied, count in enumerate(row):
                    after[before + taken][tied + (taken == most)] += count * math.comb(size, taken)
        ways = after
    return ways[drawn]


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval over questions."""

    value: float
    low: float
    high: float


def bootstrap_mean(groups: Sequence[Sequence[float]], seed: int, resamples: int = 10_000) -> Estimate:
    """The mean over groups of the mean of each group's values, and its percentile-bootstrap interval (Efron 1979).

    A group is a benchmark, a value what was found for one of its questions: its accuracy, or for a paired comparison
    the difference of two runs on it. Questions are drawn anew with replacement within each group; the sampling error of
    a question's value is part of how values differ, so it is in the interval. The same seed gives the same interval.
    Raises ValueError for an empty group.
    """
    if not groups or any(len(group) == 0 for group in groups):
        raise ValueError("a bootstrap needs at least one value in each group")
    generator = np.random.default_rng(seed)
    total = np.zeros(resamples)
    for group in groups:
        values = np.asarray(group, dtype=np.float64)
        even = np.full(len(values), 1.0 / len(values))
        for start in range(0, resamples, 1000):  # a thousand at a time: they need values x resamples counts
            stop = min(start + 1000, resamples)
            counts = generator.multinomial(len(values), even, size=stop - start)
            total[start:stop] += counts @ values / len(values)
    low, high = np.quantile(total / len(groups), (0.025, 0.975))
    return Estimate(float(np.mean([np.mean(group) for group in groups])), float(low), float(high))
