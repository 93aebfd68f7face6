"""Words around a value that deny it or make another one of it, and judgements in a word with their reasons.

Usage: ``is_changed("twice 5", 6, 7)`` is True; ``judgement("No, it is not.")`` is ``"No"``.
"""

from __future__ import annotations

import re

# Words right before a value that make another one of it: "not 5", "isn't $5$", "more than 5", "half of 5".
_REVERSING = re.compile(
    r"(?:\b(?:not|never|cannot|negative|minus|neither|nor|except|(?:anything|everything|all) but"
    r"|(?:more|less|fewer|greater|larger|smaller|higher|lower|other) than|exceeds?|exceeding"
    r"|(?:we|must|can|should|so|thus|therefore) (?:reject|exclude|ignore|discard)(?:\s+\$?[a-z]\s*=)?"
    r"|impossible to (?:get|have|reach|be)"
    r"|(?:wrong|incorrect|mistaken)(?:ly \w+| (?:answer|result|value|solution|guess)(?: is| was| of|:)?)"
    r"|(?:old|previous|initial|earlier) answer (?:is|was)|(?:one|some|none|each|any|most) of"
    r"|(?:^|[.!?:\n]\s*)(?:if|unless|suppose|assum(?:e|ing)|let|try)(?: that)?(?: it is| \$?[a-z]\s*=)?"
    r"|almost|nearly|hardly|(?:short|shy) of|(?:just|well) (?:over|under)"
    r"|plus|times|divided by|multiplied by|twice|thrice|double|triple|(?:half|third|quarter|thirds|quarters) of"
    r"|(?:sine?|cos(?:ine)?|tan(?:gent)?|log(?:arithm)?|ln|factorial|absolute value) of|power(?: of)?|for every"
    r"|(?:multiples?|divisors?|factors?|powers?|squares?|cubes?|square root|cube root|root|reciprocal|inverse) of"
    r"|\d less|(?:\d|\b[a-z]) to the"
    r"|divides|base"
    r"|(?:^|\b(?:is|are|be|gives?|get|equals?|answer|square|cube|fourth|[a-z\d]th)\s)roots?"
    r"|(?:(?:co)?prime|proportional|close|closer|next|prior|tends?) to"
    r"|(?:slightly|just|a (?:bit|little)) (?:below|under|over|above)"
    r"|(?:is|are|be|any|all|every|numbers?|integers?) up to"
    r"|(?:is|are|was|were|lies?|stays?|remains?) (?:above|below|under|over)"
    r"|(?:between|(?:sum|difference|product|quotient|average|mean|ratio) of) [^.\n]{1,30}? and"
    r"|(?:differ(?:ent|s)?|far|away|apart|distinct|distance) from|unequal to|function of|undefined (?:at|for|when x =)"
    r"|(?:half|quarter|minutes?|\d+|five|ten|twenty) (?:past|to)"
    r"|as (?:many|much|large|big|small|old|long|tall|high|far|fast) as|divisible by|modulo|mod)|n't)"
    r"(?:\s+(?:be|equal|equals|or|to|the|a))*[\s$\\(\[{*]*$",
    re.IGNORECASE,
)
# Words right after a value that deny it or make another one of it: "5 is not it", "5, but that is wrong".
_DENYING = re.compile(
    r"[\s$\\)\]}*]*(?:,?\s*(?:but|which|although|though)\s+)?(?:(?:that|this|it)\s+)?"
    r"(?:(?:is|are|was|were|does|do|did|will|would|can|could)(?:n't|\s+not|\s+never|not)\b"
    r"|(?:is|are|was|were)\s+(?:wrong|incorrect|false|impossible|excluded|rejected|discarded|extraneous|invalid"
    r"|inadmissible|spurious|too\s)|too\s|cannot\b|can't\b|won't\b"
    r"|fails?\b|divides\b|\?\s*$|(?:that|this|it)'s\s+(?:not|wrong|incorrect|false|impossible)\b"
    r"|(?:less|more|fewer|greater) than [a-z]\b"
    r"|(?:squared|cubed|factorial|(?:plus|minus|times)\s[a-z]|and (?:a |an |one )?half"
    r"|and (?:a|one|two|three) (?:thirds?|quarters?|fourths?)"
    r"|halves|thirds|fourths|fifths|sixths|sevenths|eighths|ninths|tenths|hundredths|thousandths"
    r"|or (?:more|less|fewer|greater|higher|lower))\b)",
    re.IGNORECASE,
)
# What a number only names: "by Lemma 5", "as in step 5", "see (5)".
_NAMING = re.compile(
    r"\b(?:theorem|lemma|corollary|proposition|definition|equation|eqn?\.|figure|fig\.|example|exercise|problem|question|step"
    r"|case|section|appendix|claim|remark)\s+(?:no\.\s*|number\s*|#)?\(?$|\b(?:see|from|by|using|in|of)\s+\($",
    re.IGNORECASE,
)
# Words after a stated answer that take it back.
_TAKEN_BACK = re.compile(
    r"[\s$\\)\]}*]*,?\s*(?:(?:but|which|although|though|and)\s+)?(?:(?:that|this|it)\s*)?(?:is|was|'s)\s+"
    r"(?:wrong|incorrect|false|excluded|rejected|extraneous|invalid|a mistake)\b",
    re.IGNORECASE,
)
# A bound is a value only where something is needed or possible: "he needs at least 5", but not "it is at least 5".
_BOUND = re.compile(r"\bat (?:least|most)(?:\s+(?:the|a))?[\s$\\({\[*]*$", re.IGNORECASE)
_OBLIGED = re.compile(r"\b(?:need|must|require|ha(?:s|ve|d) to|should|takes?\b|can\b|could|able)", re.IGNORECASE)
# "I do not think it is 5", "I doubt that it's 5".
_DOUBTED = re.compile(
    r"(?:(?:n't|\bnot|\bnever|\bcannot)\s+(?:think|believe|say|suppose|get|have|equal|find|mean|give|see)|\bdoubt)s?"
    r"(?:\s+(?:that|it|it's|is|be|to|the|answer|value|result|there|are|an?))*[\s$\\(\[{*]*$",
    re.IGNORECASE,
)
_SMALL = "one|two|three|four|five|six|seven|eight|nine|ten"
_HEDGED = re.compile(
    rf"(?:\d|\b(?:{_SMALL})\b)[)}}$%]*\s*([A-Za-z]*)[\s,]*\b(?:(?:and/)?(or)|to|(?:or\s)?(maybe|perhaps|possibly))\s*$"
)
_GUESS = r"\b(?:maybe|perhaps|possibly|(?:could|might|may)\s(?:also\s)?be)\s+(?:it's\s|it\sis\s)?"
_GUESSED = re.compile(rf"{_GUESS}[-$\\(]*\d.*{_GUESS}[$\\(]*$", re.IGNORECASE | re.DOTALL)
_NEXT_WORD = re.compile(r"[\s$\\)\]}*]*([A-Za-z]*)")
_REACH = 40
_JUDGED = re.compile(r"\s*(?:\*\*)?(yes|no)(?:\*\*)?\s*[,.;:!–—]\s*(?:\*\*)?\s*(.+)", re.IGNORECASE | re.DOTALL)
_DOUBTING = re.compile(
    r"\b(?:yes|no|but|however|although|wait|actually|unless|except|if|only|or|sure|maybe|perhaps|sometimes|answer|true"
    r"|false|wrong|incorrect|correct|correction|mistake\w*|error|untrue|opposite|kidding|mean|back|holds|fails)\b"
    r"|[.!?;:]\s*\S",
    re.IGNORECASE,
)
_REASON = re.compile(r"(?:because|since|as)\s", re.IGNORECASE)
_AFFIRMED = re.compile(
    r"(?:it|they|he|she|this|that|there|we|you|one) (?:is|are|was|were|does|do|did|can|could|will|would|has|have)\W*",
    re.IGNORECASE,
)
_DENIAL = re.compile(r"\b(?:not|cannot|never)\b|n't\b", re.IGNORECASE)
_VALUE = re.compile(r"[\d\\$^=<>{}]")
_LONGEST = 500


def is_changed(text: str, start: int, end: int) -> bool:
    """Whether the words right before or right after a value make the text say something else than it."""
    before, after = text[max(start - _REACH, 0) : start], text[end : end + _REACH]
    if _REVERSING.search(before) or _DENYING.match(after) or _DOUBTED.search(before) or _NAMING.search(before):
        return True
    if _BOUND.search(before):
        return _OBLIGED.search(before) is None
    return _GUESSED.search(before) is not None or _is_hedged(before, after)


def is_taken_back(rest: str) -> bool:
    """Whether what follows a stated answer says that it is wrong: ``5, which is wrong``."""
    return _TAKEN_BACK.match(rest) is not None


def _is_hedged(before: str, after: str) -> bool:
    """Whether another value comes before an "or" or a "to": ``3 or 5``, ``3 cm or 5 cm``, ``3 cm to 5 cm``, but not
    ``240 minutes or 4 hours``."""
    other, word = _HEDGED.search(before), _NEXT_WORD.match(after)
    if other is None or word is None:
        return False
    if word[1] and word[1] == other[1]:
        return True
    return (other[2] or other[3]) is not None and (not other[1] or not word[1])


def judgement(text: str) -> str | None:
    """The "yes" or "no" that a text begins with, when one clause with its reason or, after "no", a denial is all that
    follows; else None."""
    match = _JUDGED.fullmatch(text) if len(text) < _LONGEST else None
    if match is None or _DOUBTING.search(match[2]):
        return None
    reason, denied = _REASON.match(match[2]) is not None, _DENIAL.search(match[2]) is not None
    if match[1].lower() == "yes":
        affirmed = _AFFIRMED.fullmatch(match[2]) is not None
        return match[1] if (reason or affirmed) and not denied else None
    return match[1] if reason or (denied and not _VALUE.search(match[2])) else None
