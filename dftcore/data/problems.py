"""Maths word problems with worked solutions, from a seed; train and test are disjoint by construction.

A problem is a chain of `level` steps on one running quantity, told as a story. Its skeleton (the steps and their
numbers, without names and wording) decides by a digest whether it belongs to train or test, so no amount of rewording
puts one problem on both sides.

    rows = generate("train", count=1000, levels=(1, 2, 3), seed=0)   # problem, solution, answer, level, id
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dftcore.errors import UserError
from dftcore.files import write_json_lines

Split = Literal["train", "test"]
LEVELS = (1, 2, 3, 4)
TEST_SHARE = 8  # one skeleton in so many is a test problem
_MOST_MISSES = 5000  # draws in a row without a new problem: the number space is used up

_NAMES = (
    "Ada", "Ben", "Carla", "Dev", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jonas", "Kavya", "Liam", "Mona",
    "Nils", "Olga", "Pavel", "Rosa", "Sami", "Tara", "Yusuf",
)  # fmt: skip
_ITEMS = (
    "apples", "beads", "books", "buttons", "cards", "coins", "cups", "eggs", "flowers", "marbles", "pencils",
    "shells", "stamps", "stickers", "tickets",
)  # fmt: skip


@dataclass(frozen=True)
class _Step:
    """One step of a chain: what happens, what is computed, the quantity after it."""

    kind: str
    numbers: tuple[int, ...]
    sentence: str
    working: str  # empty for an opening that states the quantity
    result: int
    detail: str = ""

    def explanation(self, name: str, items: str) -> str:
        """The step retold with its arithmetic, in the words of the story."""
        return f"{self.sentence.removesuffix('.')}{self.detail}, so {name} has {self.working} {items}."


_Maker = Callable[[random.Random, int, str, str], _Step | None]


def _buy(rng: random.Random, have: int, name: str, items: str) -> _Step:
    more = rng.randint(2, 60)
    return _Step("buy", (more,), f"{name} buys {more} more {items}.", f"{have} + {more} = {have + more}", have + more)


def _give(rng: random.Random, have: int, name: str, items: str) -> _Step | None:
    if have < 4:
        return None
    less, friend = rng.randint(2, have - 2), rng.choice([other for other in _NAMES if other != name])
    sentence = f"{name} gives {less} {items} to {friend}."
    return _Step("give", (less,), sentence, f"{have} - {less} = {have - less}", have - less)


def _multiply(rng: random.Random, have: int, name: str, items: str) -> _Step | None:
    if have > 60:
        return None
    factor = rng.randint(2, 6)
    words = {2: "doubles", 3: "triples"}
    sentence = (
        f"Then {name} {words[factor]} the number of {items}."
        if factor in words
        else f"After a year, {name} has {factor} times as many {items}."
    )
    return _Step("multiply", (factor,), sentence, f"{have} * {factor} = {have * factor}", have * factor)


def _share(rng: random.Random, have: int, name: str, items: str) -> _Step | None:
    divisors = [part for part in range(2, 10) if have % part == 0 and have // part > 1]
    if not divisors:
        return None
    parts = rng.choice(divisors)
    sentence = f"{name} packs all the {items} equally into {parts} bags and keeps one bag."
    return _Step("share", (parts,), sentence, f"{have} / {parts} = {have // parts}", have // parts)


def _percent(rng: random.Random, have: int, name: str, items: str) -> _Step | None:
    choices = [share for share in (10, 20, 25, 40, 50, 75) if have * share % 100 == 0 and have > have * share // 100]
    if not choices:
        return None
    share = rng.choice(choices)
    lost = have * share // 100
    sentence, working = f"{name} loses {share}% of the {items}.", f"{have} - {lost} = {have - lost}"
    return _Step("percent", (share,), sentence, working, have - lost, detail=f", which is {lost}")


_BY_LEVEL: dict[int, tuple[_Maker, ...]] = {
    1: (_buy, _give),
    2: (_buy, _give, _multiply),
    3: (_buy, _give, _multiply, _share),
    4: (_buy, _give, _multiply, _share, _percent),
}


def generate(split: Split, count: int, levels: Sequence[int] = LEVELS, seed: int = 0) -> list[dict[str, Any]]:
    """`count` distinct problems of one split, cycling through `levels`; the same arguments give the same rows.

    Raises UserError for a level out of 1..4 or a count that the levels' number space cannot fill.
    """
    wrong = [level for level in levels if level not in LEVELS]
    if wrong or not levels:
        raise UserError(f"--levels: {wrong or 'none'} given; levels run from {LEVELS[0]} to {LEVELS[-1]}")
    rng = random.Random(f"{split}-{seed}")
    seen: set[str] = set()
    rows: list[dict[str, Any]] = []
    misses = 0
    while len(rows) < count and misses < _MOST_MISSES:
        level = levels[len(rows) % len(levels)]
        row, skeleton = _problem(rng, level)
        if skeleton in seen or _split_of(skeleton) != split:
            misses += 1
            continue
        misses = 0
        seen.add(skeleton)
        rows.append({"id": f"{split}-{seed}-{len(rows)}", **row})
    if len(rows) == count:
        return rows
    raise UserError(
        f"--count: only {len(rows)} distinct {split} problems found at levels {tuple(levels)}; ask for fewer"
    )


def _problem(rng: random.Random, level: int) -> tuple[dict[str, Any], str]:
    name, items = rng.choice(_NAMES), rng.choice(_ITEMS)
    steps = list(_chain(rng, level, name, items))
    story = " ".join(step.sentence for step in steps)
    answer = steps[-1].result
    solution = " ".join(step.explanation(name, items) for step in steps if step.working)
    row = {
        "problem": f"{story} How many {items} does {name} have now?",
        "solution": f"{solution}\n\nThe answer is {answer}.",
        "answer": str(answer),
        "level": level,
    }
    return row, json.dumps([(step.kind, step.numbers) for step in steps])


def _chain(rng: random.Random, level: int, name: str, items: str) -> Iterator[_Step]:
    """An opening that sets the quantity, then steps: `level` of them, counting an opening that is computed."""
    makers, last = _BY_LEVEL[level], ""
    if level >= 2 and rng.random() < 0.5:
        boxes, each = rng.randint(3, 12), rng.randint(3, 12)
        have, level = boxes * each, level - 1
        working = f"{boxes} * {each} = {have}"
        yield _Step("boxes", (boxes, each), f"{name} has {boxes} boxes with {each} {items} in each.", working, have)
    else:
        have = rng.randint(5, 95)
        yield _Step("start", (have,), f"{name} has {have} {items}.", "", have)
    for _ in range(level):
        step = None
        while step is None or step.kind == last:
            step = rng.choice(makers)(rng, have, name, items)
        yield step
        have, last = step.result, step.kind


def _split_of(skeleton: str) -> Split:
    return "test" if hashlib.sha256(skeleton.encode()).digest()[0] % TEST_SHARE == 0 else "train"


def write_problems(path: Path, split: Split, count: int, levels: Sequence[int], seed: int) -> None:
    """The rows of `generate` as JSONL, the form in which `--data` and `--benchmarks` take any file."""
    write_json_lines(path, generate(split, count, levels, seed))
