"""Letters written together: ``mgh`` is a product and keeps its case, ``yes`` is a word.

Usage: ``is_product("kT")`` is True, ``is_product("Bob")`` False.
"""

from __future__ import annotations

import re
from typing import TypeGuard

from dftcore.grading.nodes import Mul, Node, Sym, Words
from dftcore.grading.vocabulary import words

_LONGEST = 6
_LETTERS = re.compile(r"(?<!\\)[A-Za-z]+")
_LONGEST_LABEL = 8
_VOWELS = frozenset("aeiouy")
_ROMAN, _SMALL_ROMAN = frozenset("IVXLCDM"), frozenset("ivx")
# Words of two letters, and those of three without a vowel between two consonants.
_SHORT_WORDS = words(
    "am an as at be by do go he hi if in is it me mr ms my no of oh ok on or pm so to up us we ada age ago aim air ale "
    "ali all amy and ann ant any ape arc are arm art ask ate ava eat egg ego elk end era eva eve fly dry cry try sky "
    "ian ice ill ink inn its ivy odd off oil old one our out own she shy spy ten the two uma una use yes"
)


def is_product(text: str | None) -> TypeGuard[str]:
    """Whether a text is a few letters that make no word: none that is short or has a vowel between consonants, and
    capitals in other places than a word has them."""
    if text is None or not 1 < len(text) <= _LONGEST or not (text.isalpha() and text.isascii()):
        return False
    if not (text.islower() or text.isupper() or text[1:].islower()):
        return True
    low = text.lower()
    if len(low) > 3:
        return not _VOWELS.intersection(low)
    return low not in _SHORT_WORDS and not (len(low) == 3 and low[1] in _VOWELS)


def labels_differ(left: str, right: str) -> bool:
    """Whether two texts of the same words write a label differently: ``ABCD`` names other points than ``abcd``."""
    first, second = _LETTERS.findall(left), _LETTERS.findall(right)
    return len(first) == len(second) and any(
        one.lower() == other.lower() and (_is_label(one, other) or _is_label(other, one))
        for one, other in zip(first, second, strict=True)
    )


def _is_label(capitals: str, small: str) -> bool:
    """Whether letters are a name of points in capitals, and so differ from the same in small letters. Such names take
    different letters without a gap in the alphabet; ``YES``, ``HEAD`` and ``DNE`` do not."""
    if not (capitals.isupper() and small.islower() and 1 < len(small) <= _LONGEST_LABEL):
        return False
    without_gap = ord(max(small)) - ord(min(small)) == len(small) - 1
    return without_gap and len(set(small)) == len(small) and small not in _SHORT_WORDS


def letters(text: str) -> Mul:
    """The product of the letters of a text."""
    return Mul(tuple(map(Sym, text)))


def as_written(text: str) -> Node:
    """The product of the letters, or the letters in their order where that may matter: ``HTH`` is a
    sequence, ``IV`` a numeral."""
    numeral = _ROMAN.issuperset(text) or _SMALL_ROMAN.issuperset(text)
    ordered = numeral or len(set(text)) < len(text) or (len(text) > 2 and text.isupper())
    return Words(text) if ordered else letters(text)
