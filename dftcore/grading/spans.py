r"""Delimited mathematics in a text, ``$...$``, ``\(...\)`` and ``\[...\]``, and which of it makes one list.

Usage: ``[span.inside for span in spans_of("from $a$ to $b$")]`` is ``["a", "b"]``.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple


class Span(NamedTuple):
    """Delimited mathematics: where it starts and ends with its delimiters, and what is inside."""

    start: int
    end: int
    inside: str
    dollar: bool


_OPEN = re.compile(r"\$\$|\\\[|\\\(|(?<!\\)\$")
_CLOSE = {"\\[": "\\]", "\\(": "\\)"}
_BETWEEN = (",", "and", "or", ", and", ", or")
_SEVERAL = re.compile(r"\b(?:are|were)\s*:?\s*$")
_NAMED = re.compile(r"\s*([A-Za-z](?:_\{?\w+\}?)?)\s*=")
_NUMBER = re.compile(r"\s*-?[\d.,/]+\s*")
_JOINED = re.compile(r"(?:[<>≤≥≠+×÷^/]|[\d$)]\s*(?:to|over|by|of|out of|choose|(?<=\s)[-−*]))\s*$")
_CONDITION = re.compile(r"\b(?:if|when|since|because|given|as|for|with|where|whenever|suppose)\s*$", re.IGNORECASE)


def spans_of(text: str) -> list[Span]:
    """Delimited mathematics from left to right, in linear time: a delimiter without its partner is passed over."""
    found: list[Span] = []
    missing: set[str] = set()
    at = 0
    while match := _OPEN.search(text, at):
        opening = match.group()
        closing = _CLOSE.get(opening, opening)
        end = -1 if closing in missing else text.find(closing, match.end())
        while end > 0 and closing == "$" and text[end - 1] == "\\":
            end = text.find(closing, end + 1)
        if end < 0:
            missing.add(closing)
        if end <= match.end():
            at = match.end()
            continue
        at = end + len(closing)
        found.append(Span(match.start(), at, text[match.end() : end], opening == "$"))
    return found


def leading_spans(sentence: str) -> str:
    """``$3$ and $5$ as wanted`` begins with two values; ``$x$ where $y$...`` with one."""
    end = 0
    for span in spans_of(sentence):
        between = sentence[end : span.start].strip()
        if end and between not in _BETWEEN:
            break
        end = span.end
    return sentence[:end]


def goes_on_from_before(text: str, start: int) -> bool:
    """Whether delimited mathematics goes on with what stands before it: ``$3$ to $4$``, ``x > $4$``."""
    return _JOINED.search(text, max(start - 20, 0), start) is not None


def list_start(spans: list[Span], text: str) -> int:
    """Where the list begins that ends in the last value, as in ``... are $-2$ and $5$``, ``$x = 3$ or $4$`` and
    ``$x = 3$, $x = 4$``; where the last value does when nothing tells that several are meant."""
    first = len(spans) - 1
    while first > 0 and text[spans[first - 1].end : spans[first].start].strip() in _BETWEEN:
        first -= 1
    if first == len(spans) - 1:
        return spans[-1].start
    before = text[max(spans[first].start - 20, 0) : spans[first].start]
    between = {text[one.end : other.start].strip(" ,") for one, other in pairwise(spans[first:])}
    several = _SEVERAL.search(before) or "or" in between or _are_stated(spans[first:], before, "and" in between)
    return spans[first if several else -1].start


def _are_stated(spans: list[Span], before: str, joined: bool) -> bool:
    """Whether values are stated side by side, not one of them the condition of another: ``when $x = 3$, $y = 4$``."""
    names = [_NAMED.match(span.inside) for span in spans]
    numbers = [_NUMBER.fullmatch(span.inside) is not None for span in spans]
    if all(numbers):
        return joined
    if all(names) and len({name[1] for name in names if name}) == 1:
        return True
    values = all(names) or (names[0] is not None and all(numbers[1:]))
    return values and not _CONDITION.search(before)
