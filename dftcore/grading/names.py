"""Lists of words: ``Alice, Bob``, ``red and blue``, ``Yes, no``. No letter of theirs is a factor.

Usage: ``names("Alice and Bob")`` is ``Items((Words("alice"), Words("bob")), "and")``.
"""

from __future__ import annotations

import re

from dftcore.grading.letters import as_written, is_product
from dftcore.grading.nodes import Items, Node, Words
from dftcore.grading.spoken import SPOKEN, saying
from dftcore.grading.units import is_unit_word
from dftcore.grading.vocabulary import CONSTANTS, FUNCTIONS, GREEK

_SEPARATOR = re.compile(r"\s*,\s*(?:(and|or)\s+)?|\s+(and|or)\s+")
_WORD = re.compile(r"[A-Za-z]+")
_LONGEST = 400
_VERDICTS = frozenset(map(Words, ("yes", "no", "true", "false", "always", "sometimes", "never")))


def names(text: str, written: str) -> Items | None:
    """The list of single words that a text, folded by ``word_key`` from what was written, is; None for any other."""
    if len(text) > _LONGEST or not text.replace(",", "").replace(" ", "").isalpha() or not text.isascii():
        return None
    members, joiner, at = [], "", 0
    for match in _SEPARATOR.finditer(text):
        members.append(text[at : match.start()])
        joiner = match[1] or match[2] or joiner or ","
        at = match.end()
    members.append(text[at:])
    cased = dict(zip(_WORD.findall(text), _WORD.findall(written), strict=False)) if written.lower() == text else {}
    if len(members) < 2 or not all(_is_name(member) or _is_sequence(cased.get(member)) for member in members):
        return None
    return Items(tuple(saying(member) or Words(member) for member in members), joiner)


def _is_name(word: str) -> bool:
    known = word in FUNCTIONS or word in GREEK or word in CONSTANTS or word in SPOKEN or is_unit_word(word)
    return len(word) > 1 and word.isalpha() and not known and not is_product(word)


def _is_sequence(word: str | None) -> bool:
    """Whether letters without a word in them keep their order: ``HHT``."""
    return is_product(word) and isinstance(as_written(word), Words)


def are_verdicts(items: tuple[Node, ...]) -> bool:
    """Whether a list is one of judgements, each about a statement of its own, so that their order tells."""
    return len(items) > 1 and _VERDICTS.issuperset(items)
