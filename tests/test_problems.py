"""Generated problems: right answers, disjoint splits, the same rows from the same seed."""

import re

import pytest

from dftcore.data.problems import LEVELS, generate
from dftcore.errors import UserError


def skeleton(problem: str) -> str:
    """The numbers and verbs of a story without its names and things."""
    return " ".join(re.findall(r"\d+|buys|gives|double|triple|times|packs|loses|boxes", problem))


def test_every_step_of_a_solution_is_true_arithmetic_and_the_last_gives_the_answer():
    for row in generate("train", 800, LEVELS, seed=1):
        steps = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", row["solution"])
        assert len(steps) == row["level"]
        for a, operator, b, result in steps:
            value = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b), "/": int(a) / int(b)}[operator]
            assert value == int(result), row["solution"]
        for share, lost in re.findall(r"loses (\d+)% of the \w+, which is (\d+)", row["solution"]):
            assert any(b == lost and int(a) * int(share) == 100 * int(lost) for a, _, b, _ in steps)
        assert steps[-1][-1] == row["answer"]
        assert row["solution"].endswith(f"\n\nThe answer is {row['answer']}.")
        assert int(row["answer"]) > 0


def test_train_and_test_share_no_skeleton_whatever_the_seeds():
    train = {skeleton(row["problem"]) for seed in range(3) for row in generate("train", 1500, LEVELS, seed)}
    test = {skeleton(row["problem"]) for seed in range(3) for row in generate("test", 300, LEVELS, seed)}
    assert len(train) > 3000
    assert not train & test


def test_same_arguments_same_rows_and_no_repeats():
    rows = generate("train", 300, (1, 3), seed=5)
    assert rows == generate("train", 300, (1, 3), seed=5)
    assert rows != generate("train", 300, (1, 3), seed=6)
    assert len({row["problem"] for row in rows}) == len({row["id"] for row in rows}) == 300
    assert [row["level"] for row in rows[:4]] == [1, 3, 1, 3]


def test_refusals():
    with pytest.raises(UserError, match="levels run from 1 to 4"):
        generate("train", 3, (1, 9))
    with pytest.raises(UserError, match="ask for fewer"):
        generate("test", 100_000, (1,))
