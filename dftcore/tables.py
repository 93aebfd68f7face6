"""Tables of text that read well on a terminal and render as Markdown."""

from collections.abc import Mapping, Sequence


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """The rows, the first as the head, in columns of even width."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def score(found: Mapping[str, float] | None) -> str:
    """An accuracy with its interval (value, low, high, as shares of 1), or a dash where there is none."""
    return f"{found['value']:.1%} ({interval(found)})" if found else "-"


def interval(found: Mapping[str, float]) -> str:
    return f"{found['low']:.1%} to {found['high']:.1%}"
