"""Tables of pairs as text: ``# kind`` heads a block, ``left  ~~  right`` is one pair."""

import pytest


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
