"""Words after a number: those that scale it, and those that make a statement of it rather than say what it counts.

``7 dozen`` is 84. In ``7 red apples`` the words only name what is counted and may be left out; ``7 at least``,
``7 minus 2`` and ``7 (mod 5)`` say something else than 7. Nouns are without number, so the rule names what no noun
phrase holds: digits, numbers, variables, and words of the closed classes that relate one quantity to another.

Usage: ``scale_of("millions of people")`` is ``(Fraction(10**6), "of people")``.
"""

from __future__ import annotations

import re
from fractions import Fraction

from dftcore.grading.spoken import SPOKEN
from dftcore.grading.units import SCALE_WORDS, is_unit_symbol, is_unit_word
from dftcore.grading.vocabulary import CONSTANTS, FUNCTIONS, GREEK, words

_PHRASES = {"basis point": Fraction(1, 10_000), "per mille": Fraction(1, 1_000), "per mil": Fraction(1, 1_000)}
_PHRASE = re.compile(r"(basis point|per mille?)s?\b\s*(.*)", re.IGNORECASE | re.DOTALL)
# Words that start a condition or a remark, so what precedes is not a quantity with a unit.
_REMARKS = words(
    "if where for when with such is are not otherwise only while since as because no none wrong incorrect false than "
    "below mod modulo base minimum maximum least most plus minus"
)
# Words that cannot start what is counted: they relate the number to another one.
_RELATING = words("at below above under over less fewer greater to out beyond past until from than up down into")
# Words that turn a difference round when they close it: "3 cm less" is no 3 cm.
_LESSENING = words(
    "less fewer lower smaller shorter younger earlier slower lighter cheaper colder narrower below under behind down "
    "ago"
)
# Words that make another number of the one before them.
_COMPUTING = words(
    "squared cubed factorial halves thirds doubled tripled quadrupled halved inverse reciprocal negative inverted mil"
)
_REJECTED = words("rejected discarded excluded eliminated extraneous invalid impossible")  # in brackets
_ORDINALS = re.compile(
    r"(?:n|four|fif|six|seven|eigh|nin|ten|eleven|twelf|[a-z]+teen|[a-z]+tie|hundred|thousand|[a-z]*illion)ths"
)
_NUMERAL = re.compile(r"(?<![\w^{-])\d")
_CONTRASTED = re.compile(r"\(not [^()]*\)")
_IN_ALL = frozenset({"in total", "in all", "to go", "in number"})


def scale_word(word: str) -> int | None:
    """The factor of ``million``, ``millions`` and their kin."""
    low = word.lower()
    return SCALE_WORDS.get(low) or (SCALE_WORDS.get(low[:-1]) if low.endswith("s") else None)


def scale_of(unit: str) -> tuple[Fraction, str] | None:
    """The factor that the first words of a unit are, and the rest of it."""
    phrase = _PHRASE.match(unit)
    if phrase:
        return _PHRASES[phrase[1].lower()], phrase[2]
    first, _, rest = unit.partition(" ")
    factor = scale_word(first)
    return (Fraction(factor), rest.strip()) if factor else None


def states_more(text: str, first: bool) -> bool:
    """Whether a text after a number is no unit; ``first`` when it stands right after the number."""
    text = _CONTRASTED.sub("", text)
    found = [word.strip(".,()").lower() for word in text.split()]
    if first and " ".join(found) in _IN_ALL:
        return False
    if first and found and (found[0] in _RELATING or found[0] in _COMPUTING or _computes(found[0])):
        return True
    if "(" in text and _REJECTED.intersection(found):
        return True
    if first and len(found) == 1 and _is_mathematics(found[0]):
        return True
    return any(map(_is_statement, found)) or "\\pmod" in text or _NUMERAL.search(text) is not None


def ends_in_comparison(unit: str) -> bool:
    """Whether the words after a number end in one that makes a difference of it, in the lesser direction."""
    return unit.rpartition(" ")[2].strip(".,()").lower() in _LESSENING


def _is_mathematics(word: str) -> bool:
    """Whether a word alone is a fraction, a function or a Greek letter: ``7 theta``; others may follow ``prime``."""
    named = word in FUNCTIONS or word in GREEK
    return (named and not is_unit_word(word)) or word in ("half", "third") or _computes(word + "s")


def _computes(word: str) -> bool:
    return _ORDINALS.fullmatch(word.rpartition("-")[2]) is not None


def _is_statement(word: str) -> bool:
    """Whether a word is a remark, a number, a constant or a variable."""
    if len(word) == 1 and word.isalpha():
        return word != "a" and not is_unit_symbol(word) and not is_unit_symbol(word.upper())
    return word in _REMARKS or word in SPOKEN or word.removesuffix("s") in SPOKEN or word in CONSTANTS
