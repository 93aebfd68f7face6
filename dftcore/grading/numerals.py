"""Numbers in running text: which digits are a number by themselves, and which belong to a longer token.

Usage: ``last_numeral("on 2020-03-02 he sold 7").group()`` is ``"7"``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_NUMERAL = (
    r"(?<![\w.^])(?:(?<![\d)\]}])[-+−])?[$€£]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.\d+|(?<=\d))(?:[eE][+-]?\d+)?"
    r"(?:\s*(?:\\times|\\cdot|[x×*])\s*10\s*\^\s*\{?-?\d+\}?)?(?:\s*/\s*\d+(?:\.\d+)?)?(?:\s*\\?%)?"
)
# Digits that are no number by themselves: dates, ranges, versions and identifiers (2020-03-02, 555-1234, 2–3,
# 12/25/2020, 1.2.3, COVID-19), not 12-inch nor n-1.
_COMPOUND = (
    r"(?<![\w.\\–-])[-+−]?[$€£]?(?:(?:\d+(?:,\d{3})*(?:\.\d+)?|[A-Za-z]{2}\w*)(?:[-–]\w+)*[-–][$€£]?\d\w*"
    r"|\d+(?:/\d+){2,}|\d+(?:\.\d+){2,})(?:[-–/:.]\w+)*"
)
# One value of several numbers: a ratio or a time of day.
_COLONS = r"(?<![\w.:^])\d+(?:\.\d+)?(?::\d+(?:\.\d+)?)+(?:\s*[ap]\.?m\b)?"
_TOKEN = re.compile(rf"(?P<compound>{_COMPOUND})|{_COLONS}|{_NUMERAL}", re.IGNORECASE)
_MEMBER = r"\s*[-+−]?(?:\d{1,20}(?:\.\d{1,20}|/\d{1,20})?|∞)(?:\\?%)?\s*"
_POINT = rf"[\[(]{_MEMBER}(?:,{_MEMBER}){{1,20}}[\])]"
_POINTS = re.compile(rf"(?<![\w\\)]){_POINT}(?:\s*(?:,|and|or|, and|, or)\s*{_POINT})*")
# Only what such a word announces: "the values are 1, 2 and 4", "either 3 or 4", "two solutions: 3, 4".
_ANNOUNCED = r"(?:(?<=\bis )|(?<=\bare )|(?<=\bboth )|(?<=\beither )|(?<=\bsolutions: )|(?<=\broots: ))(?=[-+−\d])"
_SEVERAL = rf"{_ANNOUNCED}{_MEMBER}(?:,{_MEMBER})*(?:,{_MEMBER}|,?\s(?:and|or)\s{_MEMBER})(?![.,]*\w)"
_VALUES = (_POINTS, re.compile(_SEVERAL, re.IGNORECASE))
_BEGINNING = re.compile(rf"(?:{_MEMBER},)*{_MEMBER}(?:(?<=\s)|,\s)(?:and|or)\s{_MEMBER}(?![.,]*\w)", re.IGNORECASE)
_ANY = re.compile(_NUMERAL)


def numerals(text: str) -> Iterator[re.Match[str]]:
    """Every number, ratio and time of day of a text from left to right, in linear time; no part of a compound."""
    return (match for match in _TOKEN.finditer(text) if match.group() and match["compound"] is None)


def leading_numeral(text: str) -> str | None:
    """The number that a text begins with."""
    match = _TOKEN.match(text)
    return match.group() or None if match and match["compound"] is None else None


def leading_list(text: str) -> str | None:
    """The list of numbers, the last one after "and" or "or", that a text begins with."""
    match = _BEGINNING.match(text)
    return match.group().strip() if match else None


def last_numeral(text: str) -> re.Match[str] | None:
    last = None
    for match in numerals(text):
        last = match
    return last


def digits_as_written(text: str) -> list[str]:
    """Every run of digits read as a number, those of dates and identifiers too: to tell one wording from another."""
    return [match.group().strip() for match in _ANY.finditer(text) if match.group()]


def values_with(text: str, at: int) -> re.Match[str] | None:
    """The tuple or the list of numbers in which the number at this place stands: ``(3, 4)``, ``1, 2 and 4``."""
    matches = (match for pattern in _VALUES for match in pattern.finditer(text))
    return next((match for match in matches if match.start() <= at < match.end()), None)
