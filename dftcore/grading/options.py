"""Lettered options: ``(B)``, ``\\textbf{(C)}\\ 12``, ``B. 12 cm``, ``Option D``, and lists such as ``(A) and (C)``.

What follows a letter is that option's content only as long as it denies nothing, names no other option and goes on
with no operator: ``(C) is wrong``, ``(C)(D)`` and ``(A)^2`` are no option C or A.

Usage: ``options(r"\\textbf{(B)}\\ 12", read)`` is a Choice, where ``read`` parses the content.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from dftcore.grading.nodes import Choice, Items, Node, Words
from dftcore.grading.textform import text_key, word_key
from dftcore.grading.vocabulary import words

_LETTER = r"[A-J]"
_UNWRAPPED = re.compile(
    r"\\(?:text|textbf|mathrm|mathbf|textrm|mbox|bf|rm|textit)\s*\{\s*("
    rf"\(?{_LETTER}\)?(?=[.:]?\s*\}})|\(?{_LETTER}(?:\)|[.:]\s)[^{{}}]*|(?:[Oo]ption|[Cc]hoice)\s+\(?{_LETTER}\)?"
    r"|,?\s*(?:and|or)\s*|,\s*)[.:]?\s*\}|\\[, ~;:!]"
)
_FIRST = re.compile(
    rf"(?:\(?({_LETTER})\)[.:]?|({_LETTER})[.:](?=\s)|(?:[Oo]ption|[Cc]hoice)\s+\(?({_LETTER})(?:\)|(?![\w(])))\s*"
)
_JOINED = re.compile(
    r"\s{0,4}((?:[,;/]|\\?&|\b(?:and|or)\b)(?:[\s,]|\b(?:and|or)\b){0,6})(?:[Oo]ption\s+|[Cc]hoice\s+)?"
    rf"(?:\(?({_LETTER})\)|({_LETTER})(?=\s*(?:$|[,;/&]|and\b|or\b)))\.?\s*"
)
_LABEL = re.compile(rf"(?<![\w\\^_(]){_LETTER}\)|(?<!\w)\({_LETTER}\)")
# A reason, or the option that the one before is told from.
_CONTRASTED = re.compile(
    r"(?<=\))(?:\s+and|,?\s+(?:because|since)\b.*"
    rf"|,?\s+(?:not|rather than|instead of)\s+(?:[Oo]ption\s+)?\({_LETTER}\))$",
    re.DOTALL,
)
_DOTTED = re.compile(rf":|(?<!\w){_LETTER}\.\s")  # a ratio, or a second option, after a letter without brackets
_OPERATOR = re.compile(
    r"[-+*/^_=<>!',;:&~%]|\\(?:cdot|times|cup|cap|setminus|div|pm|mp|in|le|leq|ge|geq|ne|neq|to|wedge|vee|land|lor|&|%)"
    r"(?![A-Za-z])"
)
_SPACED = re.compile(r"[\d$\\]")  # what may follow a label without a space between
_WORD = re.compile(r"(?<!\\)[a-z]+(?:'[a-z]+)?")
# Words that say something of the option, when they come first or, the second kind, anywhere.
_STATING = words(
    "and or nor but is isn't are aren't was were be can cannot can't could may might must should would does doesn't "
    "has seems looks only"
)
_DENYING = words(
    "not isn't aren't wasn't wrong incorrect cannot can't doesn't rejected eliminated excluded maybe perhaps possibly"
)
_UNDECIDED = words("determined enough")  # "cannot be determined", "not enough information" are contents of an option


def options(text: str, read: Callable[[str], Node | None]) -> Choice | Items | None:
    """The option, or the list of options, that a whole answer is; None when it is something else."""
    text = _UNWRAPPED.sub(lambda match: f"{match[1]} " if match[1] else " ", text).strip()
    text = _CONTRASTED.sub("", text)
    first = _FIRST.match(text)
    if first is None:
        return None
    dotted = first[2] is not None
    if dotted and _DOTTED.search(text, first.end()):
        return None
    found: list[Choice] = []
    letter, start, joiner = first[1] or first[2] or first[3], first.end(), ""
    for match in _JOINED.finditer(text, first.end()):
        choice = _option(letter, text, start, match.start(), read)
        if choice is None:
            return None
        found.append(choice)
        letter, start = match[2] or match[3], match.end()
        joiner = next((word for word in ("or", "and") if word in match[1]), joiner or ",")
    last = _option(letter, text, start, len(text), read)
    if last is None or (dotted and (found or last.content is None)):
        return None
    return Items((*found, last), joiner) if found else last


def _option(letter: str, text: str, start: int, end: int, read: Callable[[str], Node | None]) -> Choice | None:
    """One option and the content written between two places; None when that is more than a content."""
    content = text[start:end].strip()
    if not content or not text_key(content):
        return Choice(letter)
    spaced = text[start - 1].isspace()
    minus = spaced and content[0] == "-"
    if (_OPERATOR.match(content) and not minus) or not (spaced or _SPACED.match(content)) or _LABEL.search(content):
        return None
    if _FIRST.match(content):
        return None  # an option within an option
    said = _WORD.findall(content.lower())
    if said and content[0].isalpha() and said[0] in _STATING and not _UNDECIDED.intersection(said):
        return None
    if _DENYING.intersection(said) and not _UNDECIDED.intersection(said):
        return None
    return Choice(letter, read(content) or Words(word_key(content)))
