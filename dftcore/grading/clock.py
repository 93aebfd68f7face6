"""Times of day: ``3:30 PM``, ``15:30``, ``7 p.m.``, ``noon``; and when two of them are the same.

A time without a.m. or p.m. may be either half of the day, as a unit may be left out; one from 13:00 on is afternoon.

Usage: ``time_of_day("3:30 p.m")`` is ``"3:30 pm"``; ``same_time("3:30 pm", shown)`` is True where ``shown`` is 15:30.
"""

from __future__ import annotations

import re
from fractions import Fraction

from dftcore.grading.nodes import Num, Ratio

_TIME = re.compile(
    r"(\d{1,2})(:\d\d)?\s*(?:([ap])\.?\s*m\.?|in the (morning|afternoon|evening)|(noon|midnight))(?:\s*sharp)?"
)
_SAID = re.compile(r"(\d{1,2}):(\d\d) ([ap])m")


def time_of_day(text: str) -> str | None:
    """One spelling for a time with its half of the day, folded by ``word_key``; None for any other text."""
    if text in ("noon", "midnight"):
        return "12:00 pm" if text == "noon" else "12:00 am"
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hour, minutes, half, said, twelve = match.groups()
    if not 1 <= int(hour) <= 12 or int((minutes or ":0")[1:]) > 59:
        return None
    if twelve and (int(hour) != 12 or minutes not in (None, ":00")):
        return None
    half = half or ("a" if said == "morning" or twelve == "midnight" else "p")
    return f"{int(hour)}{minutes or ':00'} {half}m"


def same_time(said: str, shown: Ratio) -> bool:
    """Whether a time in the spelling of ``time_of_day`` is what a clock shows."""
    match = _SAID.fullmatch(said)
    if match is None:
        return False
    hour = int(match[1])
    of_day = hour % 12 + (12 if match[3] == "p" else 0)
    return shown.items in {(_number(hour), _number(int(match[2]))), (_number(of_day), _number(int(match[2])))}


def _number(value: int) -> Num:
    return Num(Fraction(value))
