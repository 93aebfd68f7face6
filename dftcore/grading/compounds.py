"""Quantities said in two units or more: ``1 hour 30 minutes``, ``5 ft 10 in``, ``5'10"``, ``2 kg, 300 g``.

Only units of one kind add up, the larger first, each number smaller than one unit of the part before it; anything
else stays what it was, so that ``3 km, 2000 m`` is a list of two.

Usage: ``combined(Quantity(Num(1), "hour"), Quantity(Num(30), "minutes"))`` is 90 minutes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise

from dftcore.grading.nodes import Mul, Node, Num, Quantity, Sym
from dftcore.grading.units import is_known_unit, unit

_FEET_AND_INCHES = re.compile(
    r"(\d+)\s*(?:'|\^\s*\{?\s*\\prime\s*\}?|\\prime|\s*f(?:oo|ee)?t\.?)\s*"
    r"(\d{1,2}(?:\.\d+)?)\s*(?:\"|''|\^\s*\{\s*\\prime\s*\\prime\s*\}|\s*in(?:ch(?:es)?)?\.?)"
)
_HOURS = re.compile(r"(\d+)\s*h(?:\s+|\s*(?=\d))(\d{1,2})\s*m(?:in)?\.?(?:\s*(\d{1,2})\s*s(?:ec)?\.?)?")
_PART = r"\d[\d,]{0,12}(?:\.\d+)?\s*[A-Za-z]{1,12}\b\.?"
_RUN = re.compile(rf"(?<![\w.,$:/^-]){_PART}(?:(?:,?\s+and\s+|,?\s+){_PART})+")
_FARTHEST = 80
_SINGLE = re.compile(r"(\d[\d,]*)(\.\d+)?\s*([A-Za-z]+)")


def combined(larger: Node | None, smaller: Node | None) -> Quantity | None:
    """Both parts in the smaller unit; None when they do not make one quantity."""
    smaller = _with_unit(smaller)
    if not (isinstance(larger, Quantity) and isinstance(smaller, Quantity)):
        return None
    first, second = larger.value, smaller.value
    if not (isinstance(first, Num) and isinstance(second, Num)) or first.value.denominator != 1 or first.value < 0:
        return None
    per_larger = _parts_of(larger.unit, smaller.unit)
    if per_larger is None or not 0 <= second.value < per_larger:
        return None
    return Quantity(Num(first.value * per_larger + second.value, second.unit_in_last_place), smaller.unit)


def _with_unit(node: Node | None) -> Node | None:
    """``300 g`` after kilograms: the letter is a unit there."""
    if isinstance(node, Mul) and len(node.factors) == 2 and isinstance(node.factors[1], Sym):
        return Quantity(node.factors[0], node.factors[1].name)
    return node


def _parts_of(larger: str, smaller: str) -> int | None:
    """How many of the smaller unit make one larger; None unless it is a whole number of one kind of thing."""
    if not (is_known_unit(larger) and is_known_unit(smaller)):
        return None
    (kind, size), (other, part) = unit(larger), unit(smaller)
    ratio = size / part
    plain = kind == other and len(kind) == 1 and kind[0][1] == 1
    return ratio.numerator if plain and ratio.denominator == 1 and ratio > 1 else None


def added_up(items: Sequence[Node]) -> Quantity | None:
    """``1 hour and 30 minutes``, read as a list, as one quantity."""
    last: Node | None = items[-1] if items else None
    total = reduce(lambda smaller, larger: combined(larger, smaller), items[-2::-1], last)
    return total if len(items) > 1 and isinstance(total, Quantity) else None


def spelled_out(text: str) -> str:
    """``5'10"`` and ``1h 30m`` with their units in words; any other text as it is."""
    if (height := _FEET_AND_INCHES.fullmatch(text)) and float(height[2]) < 12:
        return f"{height[1]} feet {height[2]} inches"
    if time := _HOURS.fullmatch(text):
        return f"{time[1]} hours {time[2]} minutes" + (f" {time[3]} seconds" if time[3] else "")
    return text


def leading_compound(text: str) -> str | None:
    """The quantity in several units that a text begins with."""
    match = _RUN.match(text)
    return match.group() if match and _is_compound(match.group()) else None


def compound_with(text: str, at: int) -> re.Match[str] | None:
    """The quantity in several units of which the number at this place is a part."""
    found = (match for match in _RUN.finditer(text, max(at - _FARTHEST, 0)) if match.start() <= at < match.end())
    match = next(found, None)
    return match if match and _is_compound(match.group()) else None


def _is_compound(text: str) -> bool:
    parts = [(int(whole.replace(",", "")), decimals, name) for whole, decimals, name in _SINGLE.findall(text)]
    for (_, decimals, larger), (count, _, smaller) in pairwise(parts):
        per_larger = _parts_of(larger, smaller)
        if decimals or per_larger is None or count >= per_larger:
            return False
    return True
