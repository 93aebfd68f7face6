"""Values that are followed by themselves in another form, in brackets: ``3/4 (75\\%)``, ``12\\pi (\\approx 37.7)``.

Usage: ``in_brackets(r"\\frac34 (75\\%)")`` is ``(r"\\frac34", r"75\\%")``.
"""

from __future__ import annotations

import re

_BRACKETED = re.compile(r"([^()]*[^()\s])\s*(?:\\left)?\(([^()]+)\)")
_LONGEST = 300
_SPACING = re.compile(r"(?:\\[,;:! ]?|~|\\q?quad)+$")
_SAYING = re.compile(
    r"^\s*(?:\\text\s*\{\s*(?:or|i\.e\.|that is|about|approximately),?\s*\}|(?:or|i\.e\.|that is),?\s)"
)
# What tells a remark in brackets from a factor.
_REMARK = re.compile(r"\s*(?:=|\\approx|\\simeq)|.*(?:%\s*$|\\circ|(?<![\\A-Za-z])[A-Za-z]{3})", re.DOTALL)


def in_brackets(text: str) -> tuple[str, str] | None:
    """The value and what the brackets at the end hold; None when those could only be a factor."""
    if not text.endswith(")") or "(" not in text or len(text) > _LONGEST:
        return None
    match = _BRACKETED.fullmatch(text.removesuffix(")").removesuffix("\\right") + ")")
    if match is None:
        return None
    value, inside = _SPACING.sub("", match[1]), _SAYING.sub("", match[2])
    return (value, inside) if inside != match[2] or _REMARK.match(inside) else None
