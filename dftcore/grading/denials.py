"""Words around a value that deny it or make another one of it, and judgements in a word with their reasons.

Usage: ``is_changed("twice 5", 6, 7)`` is True; ``judgement("No, it is not.")`` is ``"No"``.
"""

from __future__ import annotations

import re

# Words right before a value that make another one of it: "not 5", "isn't $5$", "more than 5", "half of 5".
_REVERSING = re.compile(
    r"(?:\b(?:not|never|cannot|negative|minus|neither|nor|except|(?:anything|everything|all) but"
    r"|(?:more|less|fewer|greater|larger|smaller|higher|lower|other) than|exceeds?|exceeding"
    r"|plus|times|divided by|multiplied by|twice|thrice|double|triple|(?:half|third|quarter|thirds|quarters) of"
    r"|(?:multiples?|divisors?|factors?|powers?|squares?|cubes?|square root|cube root|root|reciprocal|inverse) of"
    r"|as (?:many|much|large|big|small|old|long|tall|high|far|fast) as|divisible by|modulo|mod)|n't)"
    r"(?:\s+(?:be|equal|equals|to|the|a))*[\s$\\(\[{*]*$",
    re.IGNORECASE,
)
# Words right after a value that deny it or make another one of it: "5 is not it", "5, but that is wrong".
_DENYING = re.compile(
    r"[\s$\\)\]}*]*(?:,?\s*(?:but|which|although|though)\s+)?(?:(?:that|this|it)\s+)?"
    r"(?:(?:is|are|was|were|does|do|did|will|would|can|could)(?:n't|\s+not|\s+never|not)\b"
    r"|(?:is|are|was|were)\s+(?:wrong|incorrect|false|impossible|excluded|rejected|too\s)|cannot\b|can't\b|won't\b"
    r"|fails?\b|(?:squared|cubed|factorial|or (?:more|less|fewer|greater|higher|lower))\b)",
    re.IGNORECASE,
)
_REACH = 40
_JUDGED = re.compile(r"\s*(?:\*\*)?(yes|no)(?:\*\*)?\s*[,.;:!–—]\s*(?:\*\*)?\s*(.+)", re.IGNORECASE | re.DOTALL)
_DOUBTING = re.compile(
    r"\b(?:yes|no|but|however|although|wait|actually|unless|except|if|only|or|sure|maybe|perhaps|sometimes|answer|true"
    r"|false|wrong|incorrect|correct|correction|mistake\w*|error|untrue|opposite|kidding|mean|back|holds|fails)\b"
    r"|[.!?;:]\s*\S",
    re.IGNORECASE,
)
_REASON = re.compile(r"(?:because|since|as)\s", re.IGNORECASE)
_DENIAL = re.compile(r"\b(?:not|cannot|never)\b|n't\b", re.IGNORECASE)
_VALUE = re.compile(r"[\d\\$^=<>{}]")
_LONGEST = 500


def is_changed(text: str, start: int, end: int) -> bool:
    """Whether the words right before or right after a value make the text say something else than it."""
    before, after = text[max(start - _REACH, 0) : start], text[end : end + _REACH]
    return _REVERSING.search(before) is not None or _DENYING.match(after) is not None


def judgement(text: str) -> str | None:
    """The "yes" or "no" that a text begins with, when one clause with its reason or, after "no", a denial is all that
    follows; else None."""
    match = _JUDGED.fullmatch(text) if len(text) < _LONGEST else None
    if match is None or _DOUBTING.search(match[2]):
        return None
    reason, denied = _REASON.match(match[2]) is not None, _DENIAL.search(match[2]) is not None
    if match[1].lower() == "yes":
        return match[1] if reason and not denied else None
    return match[1] if reason or (denied and not _VALUE.search(match[2])) else None
