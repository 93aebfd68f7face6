"""What an evaluation found, from its graded samples: per benchmark, and averaged over benchmarks."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from dftcore.evaluation.votes import Ballot, ballots
from dftcore.grading import check_batch
from dftcore.statistics import average_accuracy, bootstrap_mean, majority_at_k, pass_at_k, sizes

_TAIL = 400  # characters at the end of a completion that are looked at for repetition


def is_repetitive(completion: str) -> bool:
    """Whether a completion ends going round in circles: it has 400 characters or more, and its last 400 shrink to less
    than a third of their bytes under zlib at level 9, lines that only count up included.

    Of 2,275 reference solutions of that length (GSM8K, MATH-500, OlympiadBench, Minerva) 2 do, of 64 greedy ones of a
    model of 135 million parameters 13 did, each of them a loop or nearly one.
    """
    tail = completion[-_TAIL:].encode()
    return len(completion) >= _TAIL and 3 * len(zlib.compress(tail, 9)) < len(tail)


def summarise(
    records: Sequence[dict[str, Any]], expected: Mapping[str, int], seed: int, policy: str = "strict"
) -> dict[str, Any]:
    """`benchmarks`: what was found for each; `average`: the mean of their avg@n, where there are several;
    `not_sampled`: the names of those without a sample.

    records: graded samples. expected: the number of samples that each benchmark should have. policy: of the grading,
    by which answers are grouped for a vote.
    """
    by_dataset: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        by_dataset[record["dataset"]][record["id"]].append(record)
    names = [name for name in expected if name in by_dataset]
    questions = [list(by_dataset[name].values()) for name in names]
    votes = iter(ballots([samples for group in questions for samples in group], partial(check_batch, policy=policy)))
    found = {
        name: _benchmark(group, [next(votes) for _ in group], expected[name])
        for name, group in zip(names, questions, strict=True)
    }
    summary: dict[str, Any] = {"benchmarks": found, "not_sampled": [name for name in expected if name not in found]}
    if len(names) > 1:
        means = [[_mean(samples, "correct") for samples in group] for group in questions]
        summary["average"] = asdict(bootstrap_mean(means, seed))
    return summary


def _benchmark(questions: Sequence[Sequence[dict[str, Any]]], votes: Sequence[Ballot], expected: int) -> dict[str, Any]:
    records = [record for samples in questions for record in samples]
    ks = sizes(min(map(len, questions)))
    passed = {k: [pass_at_k(len(s), vote.right, k) for s, vote in zip(questions, votes, strict=True)] for k in ks}
    elected = {k: [majority_at_k(vote.right, vote.wrong, vote.silent, k) for vote in votes] for k in ks}

    def share(of: str, value: Any) -> float:
        return sum(record[of] == value for record in records) / len(records)

    return {
        **asdict(average_accuracy([[record["correct"] for record in samples] for samples in questions])),
        "pass_at_k": {str(k): sum(values) / len(values) for k, values in passed.items()},
        "majority_at_k": {str(k): sum(values) / len(values) for k, values in elected.items()},
        "missing_samples": expected - len(records),
        "extraction_rate": 1.0 - share("extracted", None),
        # Boxed or announced, rather than the last value that the text happens to hold.
        "stated_rate": sum(_is_stated(record) for record in records) / len(records),
        "boxed_rate": sum("\\boxed" in record["completion"] for record in records) / len(records),
        "truncation_rate": share("finish", "length"),
        "repetition_rate": sum(is_repetitive(record["completion"]) for record in records) / len(records),
        "checker_timeout_rate": share("check_status", "timeout"),
        "checker_failure_rate": 1.0 - share("check_status", "ok"),
        "mean_tokens": _mean(records, "tokens"),
        # Of one rank, waiting for the longest of a batch included.
        "tokens_per_second": _mean(records, "tokens") / max(_mean(records, "seconds"), 1e-9),
    }


def _is_stated(record: dict[str, Any]) -> bool:
    return record["extracted"] is not None and not record["found_by"].startswith("last")


def _mean(records: Sequence[dict[str, Any]], of: str) -> float:
    return sum(record[of] for record in records) / len(records)
