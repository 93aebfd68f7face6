"""Tables of pairs as text: ``# kind`` heads a block, ``left  ~~  right`` is one pair."""

import pytest

from dftcore.grading import explain


def table(text):
    """The pairs of a table as pytest parameters, named by kind and content."""
    rows, kind = [], ""
    for line in text.strip().splitlines():
        if line.startswith("# "):
            kind = line[2:]
        else:
            left, right = line.split("  ~~  ")
            rows.append(pytest.param(left, right, id=f"{kind}: {left} ~ {right}"))
    return rows


def judged(same, different):
    """Both tables as pytest parameters of left, right and verdict."""
    tables = ((same, True), (different, False))
    return [
        pytest.param(*row.values, verdict, id=f"{verdict}: {row.id}") for text, verdict in tables for row in table(text)
    ]


def assert_both_ways(left, right, verdict):
    """The verdict, either answer being the gold one."""
    for gold, prediction in ((left, right), (right, left)):
        result = explain(gold, prediction)
        assert (result.verdict, result.status) == (verdict, "ok"), result
