"""Answers in English words: numbers, dates, times, ratios and set phrases, as the mathematics that they say.

Usage: ``written_out("twenty-five percent")`` is ``"25 percent"``; ``saying("all real numbers")`` is ``Const("R")``.
"""

from __future__ import annotations

import re
from fractions import Fraction

from dftcore.grading.clock import time_of_day
from dftcore.grading.nodes import EMPTY, INFINITY, Const, Node, Num, Words, negate
from dftcore.grading.units import SCALE_WORDS

SPOKEN = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50,
    "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_PARTS = {
    "half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10, "twelfth": 12, "hundredth": 100,
}  # fmt: skip
_PARTS |= {word + "s": value for word, value in _PARTS.items()} | {"halves": 2}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 10**6}
_NUMBER_WORD = "|".join(sorted((*SPOKEN, *_SCALES), key=len, reverse=True))
_SPOKEN = re.compile(
    rf"\s*(?:\\text\s*\{{\s*)?(negative |minus )?((?:{'|'.join(SPOKEN)})(?:(?:[\s-]+|\s+and\s+)(?:{_NUMBER_WORD}))*)"
    rf"(?:[\s-]+({'|'.join(_PARTS)}))?(?![A-Za-z-])(.*)",
    re.IGNORECASE | re.DOTALL,
)
# "five and a half", "5 and three quarters"
_AND_PART = re.compile(
    rf"\s*(\d+|{'|'.join(SPOKEN)}) and (an?|one|two|three|four|five|seven)[\s-]({'|'.join(_PARTS)})\b(.*)",
    re.IGNORECASE | re.DOTALL,
)
_SIGN_WORD = re.compile(r"\s*(?:\\text\s*\{\s*)?(?:negative|minus)\s*\}?\s+(?=[\d.\\$])", re.IGNORECASE)
_MONTH = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    "|nov(?:ember)?|dec(?:ember)?"
)
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"
_DATE = re.compile(rf"(?:({_MONTH})\.? {_DAY}|{_DAY} (?:of )?({_MONTH})\.?)(?:,? ?(\d{{4}}))?")
_EXCEPT = re.compile(
    r"(?:the set of )?(?:all )?reals?(?: numbers?)?(?: x)?,? (?:except|other than|excluding)(?: for)?(?: x ?=)? ?"
    r"((?:[^a-z]|and\b|or\b)+)"
)
_TO = re.compile(
    r"\s*(\d+)(?:\s+to\s+|\s*\\text\s*\{\s*to\s*\}\s*)(\d+)\s*(?:(?:to|\\text\s*\{\s*to\s*\})\s*(\d+)\s*)?"
)
_ARTICLE = re.compile(r"(?:a|an|the) (?!(?:and|or)\b)(?=[a-z]{3})")


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


# What a whole answer in words stands for.
_SAYINGS: dict[str, Node] = {
    "half": Num(Fraction(1, 2)),
    **{f"{_article(word)} {word}": Num(Fraction(1, value)) for word, value in _PARTS.items() if not word.endswith("s")},
    **{f"{_article(word)} {word}": Num(Fraction(value)) for word, value in (SCALE_WORDS | _SCALES).items()},
    **dict.fromkeys(("all real numbers", "all reals", "the set of all real numbers", "all real numbers x"), Const("R")),
    **dict.fromkeys(
        ("empty set", "the empty set", "no solution", "no solutions", "no real solutions", "no real solution"), EMPTY
    ),
    **dict.fromkeys(("dne", "does not exist"), Words("does not exist")),
    **dict.fromkeys(
        ("infinitely many", "infinitely many solutions", "infinite solutions"), Words("infinitely many solutions")
    ),
    **dict.fromkeys(("infinity", "positive infinity", "plus infinity"), INFINITY),
    **dict.fromkeys(("negative infinity", "minus infinity"), negate(INFINITY)),
}


def written_out(text: str) -> str:
    """``text`` with the number, the sign or the ratio that it begins with in digits and signs."""
    if " and " in text and (mixed := _AND_PART.fullmatch(text)):
        whole, count, part = (group.lower() for group in mixed.groups()[:3])
        return f"{SPOKEN.get(whole, whole)} {SPOKEN.get(count, 1)}/{_PARTS[part]}{mixed[4]}"
    if not text[:1].isalpha() and not text.startswith("\\text"):
        ratio = _TO.fullmatch(text) if "to" in text else None
        return ":".join(filter(None, ratio.groups())) if ratio else text
    signed = _SIGN_WORD.match(text)
    if signed:
        return "-" + text[signed.end() :] if signed.group().count("{") == signed.group().count("}") else text
    spoken = _SPOKEN.fullmatch(text)
    if spoken is None:
        return text
    sign, number, part, rest = spoken.groups()
    value = _value(re.split(r"[\s-]+", number.lower()))
    if value is None or (rest.strip() and not (rest[0].isspace() or rest.startswith("}"))):
        return text
    if text.lstrip().startswith("\\text"):
        before, _, after = rest.partition("}")
        rest = (rf"\text{{{before}}}" if before.strip() else "") + after
    return f"{'-' if sign else ''}{value}{f'/{_PARTS[part.lower()]}' if part else ''}{rest}"


def _value(parts: list[str]) -> int | None:
    """The number that words make; None for words that make none, such as ``three five``."""
    total, current, last = 0, 0, 10**9
    for word in parts:
        if word == "and":
            continue
        if word in _SCALES:
            scale = _SCALES[word]
            current = max(current, 1) * scale
            if scale > 100:
                total, current = total + current, 0
            last = 10**9
            continue
        value = SPOKEN[word]
        if last < 20 or (last < 100 and value > 9):
            return None
        current, last = current + value, value
    return total + current


def is_date(text: str) -> bool:
    """Whether a whole text is a calendar date."""
    return (
        len(text) < 30 and _DATE.fullmatch(text.lower().rstrip(".").replace(",", ", ").replace("  ", " ")) is not None
    )


def saying(text: str) -> Node | None:
    """What a whole answer in words, folded by ``word_key``, stands for; None when it is no set phrase."""
    if text in _SAYINGS:
        return _SAYINGS[text]
    if (time := time_of_day(text)) is not None:
        return Words(time)
    if (date := _DATE.fullmatch(text)) is not None:
        month, day = date.group(1) or date.group(4), date.group(2) or date.group(3)
        return Words(f"{month[:3]} {int(day)} {date.group(5) or ''}".strip())
    if text.isascii() and text.replace(" ", "").isalpha() and (article := _ARTICLE.match(text)):
        return Words(text[article.end() :])
    return None


def all_but(text: str) -> str | None:
    """The excluded values of ``all real numbers except 2``, as text."""
    match = _EXCEPT.fullmatch(text)
    return match.group(1).strip() if match else None
