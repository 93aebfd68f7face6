"""Which samples of a question gave the same answer, by the checker's equality and with as few calls of it as can be.

Correct samples need none: each equals the reference. Neither does a question without a correct sample, which no vote
can win. The wrong answers of the others are grouped as texts first; then every distinct text is compared with the first
text of each group until one is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dftcore.grading import check_batch

Equal = Callable[[list[tuple[str, str]]], Sequence[Any]]  # pairs of answers -> objects with a .verdict, in order


@dataclass(frozen=True)
class Ballot:
    """One question's votes: for the correct answer, for each other answer, and the samples without an answer."""

    right: int
    wrong: tuple[int, ...]
    silent: int


def ballots(questions: Sequence[Sequence[dict[str, Any]]], equal: Equal = check_batch) -> list[Ballot]:
    """The ballot of each question, from its graded samples."""
    texts = [
        Counter(record["extracted"] for record in samples if not record["correct"] and record["extracted"] is not None)
        for samples in questions
    ]
    right = [sum(record["correct"] for record in samples) for samples in questions]
    # Of a question without a correct sample the grouping does not matter: its texts count as answers of their own.
    groups: list[list[int]] = [[] if right[index] else list(found.values()) for index, found in enumerate(texts)]
    waiting = {index: list(found) for index, found in enumerate(texts) if right[index] and found}
    while waiting:
        pairs = [(index, left[0], text) for index, left in waiting.items() for text in left[1:]]
        verdicts = equal([(first, text) for _, first, text in pairs]) if pairs else []
        same = {(index, text) for (index, _, text), found in zip(pairs, verdicts, strict=True) if found.verdict}
        for index, left in list(waiting.items()):
            members = [left[0], *(text for text in left[1:] if (index, text) in same)]
            groups[index].append(sum(texts[index][text] for text in members))
            waiting[index] = [text for text in left if text not in members]
            if not waiting[index]:
                del waiting[index]
    return [
        Ballot(yes, tuple(sorted(no, reverse=True)), len(samples) - yes - sum(no))
        for samples, yes, no in zip(questions, right, groups, strict=True)
    ]
