"""The whole expression or list of which a number in running text is a part, so that no fragment is taken for a value.

The last number of ``so it is 3 * 4`` is a factor, that of ``x > 4`` a bound, that of ``x = 3 or x = 4`` one of two. A
number is followed to its left and to its right through operators, relations, functions, brackets and letters; what is
left of an equality sign belongs to the value only where it names it in a list. Words end an expression, so that
``she has 4 apples`` and ``4x as many`` stay 4.

Usage: ``whole_value("so it is 3 * 4.", 13, 14)`` is ``(9, 14)``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dftcore.grading.units import is_unit_symbol, is_unit_word
from dftcore.grading.vocabulary import CONSTANTS, FUNCTIONS, GREEK, NEEDS_BRACKET, RELATIONS, TEXT_COMMANDS, words

_REACH = 240
_TOKEN = re.compile(
    r"(?P<space>(?:[ \t~]|\\[,;:! ])+)"
    r"|(?P<stop>>>|<<|[-=]+>|[→⇒\n]|\\[()\[\]])"
    r"|(?P<relation>>=|<=|!=|[<>≤≥≠∈|])"
    r"|(?P<equals>==?|:=|≈)"
    r"|(?P<number>[$€£]?\d+(?:[.,]\d+)*|[½⅓⅔¼¾∞])"
    r"|(?P<word>[A-Za-z]{2,}(?:['’][a-z]+)?)|(?P<letter>[A-Za-zπθ])|(?P<command>\\[A-Za-z]+|[√∛])"
    r"|(?P<operator>\+/[-−]|\*\*|[-+−–*/^_×÷·⋅:±])|(?P<comma>[,;])|(?P<opening>[(\[{])|(?P<closing>[)\]}])|(?P<after>[!%°])"
    r"|(?P<other>.)",
    re.DOTALL,
)
_OPERANDS = frozenset({"number", "letter", "command", "closing", "after"})
# Operators that a dash, an emphasis or a colon of the text may look like, unless the blanks on both sides agree.
_AMBIGUOUS = frozenset("-−–*:") | {"**"}
# Between two numbers these make another value: "3 out of 4", "3 to 4".
_JOINING_WORDS = words("over by of to in choose per vs versus")
_JOINING_AFTER = re.compile(r"\s+(?:over|out\s+of|to|choose)\s+(?=\d)")
# Words that no quantity is called by, as in "price * 4".
_NO_NAMES = words("is are was were be get gets gives equals to of and or so than by at")
_COPULAS = words("is are was were be equals equal")
_PLUS_MINUS = frozenset({"±", "+/-", "+/−"})
_BARE = frozenset(FUNCTIONS) - NEEDS_BRACKET - words("sec floor ceil ceiling factorial exp binomial cis")
_COMMANDS = GREEK | frozenset(FUNCTIONS) | frozenset(CONSTANTS) | words("frac dfrac tfrac binom") | {""}  # of √
_CONDITIONS = words("if when since because given as for with where whenever suppose")
_REJECTING = words("reject discard exclude ignore rejecting discarding excluding ignoring")
# After the x of "4x as many", which says how many times.
_MULTIPLYING = re.compile(r"\s+(?:as|more|the|larger|bigger|faster|longer|greater|higher|taller|older|his|her|their)\b")
_SUFFIXES = words("st nd rd th am pm hrs mins secs pcs pts")
_NOT_LETTERS = frozenset("aAI")


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


def _tokens(text: str, start: int, end: int) -> list[_Token]:
    found = []
    for match in _TOKEN.finditer(text, start, end):
        kind, name = match.lastgroup or "", match.group()
        if kind == "command" and name[1:] in RELATIONS:
            kind = "equals" if RELATIONS[name[1:]] in "=~" else "relation"
        elif kind == "command" and name in ("\\times", "\\cdot", "\\div"):
            kind = "operator"
        elif kind == "word" and name in CONSTANTS:
            kind = "letter"
        found.append(_Token(kind, name, match.start(), match.end()))
    return found


def whole_value(text: str, start: int, end: int) -> tuple[int, int]:
    """Where the expression or the list begins and ends in which the number at these places stands."""
    if text[start - 2 : start] == "+/":
        start -= 2  # the number has taken the second sign
    low = max(start - _REACH, 0)
    if low and (blank := text.find(" ", low, start)) >= 0:
        low = blank
    left = _Left(_tokens(text, low, start))
    first = left.expression(len(left.tokens))
    right = _tokens(text, end, min(end + _REACH, len(text)))
    inside = [token.text for token in left.tokens[first:]]
    last = _rightward(text, right, sum(map(inside.count, "([{")) - sum(map(inside.count, ")]}")))
    first = left.balanced(first, right[:last])
    first = left.equated(left.listed(first))
    begin = left.tokens[first].start if first < len(left.tokens) else start
    stop = right[last - 1].end if last else end
    return (start, end) if text[begin:stop].strip("()[]{} ") == text[start:end].strip() else (begin, stop)


class _Left:
    """The tokens before a number, read backwards. Places are those of the first token that belongs to the value."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = tokens

    def _before(self, place: int) -> tuple[int, bool]:
        """The place of the token before, blanks passed over, and whether there were any; -1 for none."""
        place -= 1
        gap = place >= 0 and self.tokens[place].kind == "space"
        return place - gap, gap

    def _kind(self, place: int) -> str:
        return self.tokens[place].kind if place >= 0 else "stop"

    def _glued(self, place: int) -> int:
        """Back over what is written together before this place: the 2 of ``2x``, the ``sqrt`` of ``sqrt(``."""
        while self._kind(place - 1) in _OPERANDS or self._is_function(place - 1):
            place = self._opening(place - 1) if self._kind(place - 1) == "closing" else place - 1
        return place

    def _is_function(self, place: int) -> bool:
        return self._kind(place) == "word" and self.tokens[place].text in FUNCTIONS

    def _opening(self, place: int) -> int:
        """The partner of a closing bracket, or the bracket itself."""
        depth = 0
        for at in range(place, -1, -1):
            depth += (self._kind(at) == "closing") - (self._kind(at) == "opening")
            if depth == 0:
                return at
        return place

    def _negates(self, at: int) -> bool:
        """Whether a sign apart from its number belongs to it: ``it is - 4``."""
        before, gap = self._before(at)
        copula = self._kind(before) == "equals" or (before >= 0 and self.tokens[before].text in ("is", "are", "equals"))
        return self.tokens[at].text in ("-", "−") and gap and copula

    def _is_modulo(self, at: int) -> bool:
        """Whether a percent sign with blanks about it stands after a number, in a text where a number follows it."""
        before, gap = self._before(at)
        return self._kind(at) == "after" and self.tokens[at].text == "%" and gap and self._kind(before) == "number"

    def _enclosing(self, place: int) -> int | None:
        """The bracket that is open around a sign: ``C(7, 4)``, ``(x, 4)``, ``P(X = 4)``; None for one between words."""
        depth = 0
        for at in range(place, -1, -1):
            depth += (self._kind(at) == "closing") - (self._kind(at) == "opening")
            if depth < 0:
                return at
            if self._kind(at) in ("word", "stop", "other"):
                return None
        return None

    def expression(self, place: int) -> int:
        """The beginning of the expression of which an operand begins here."""
        while True:
            at, gap = self._before(place)
            kind = self._kind(at)
            if kind == "opening":
                place = self._glued(at)
            elif kind == "number" and gap:
                place = at
            elif gap and self._is_modulo(at):
                place = self._glued(self._before(at)[0] + 1)
            elif kind == "closing" and not gap:
                place = self._glued(self._opening(at))
            elif self._applies(at, gap):
                place = self._glued(at)
            elif kind in ("comma", "equals") and (opening := self._enclosing(at)) is not None:
                place = self._glued(opening)
            elif kind in ("operator", "relation") or (kind in ("word", "letter") and self._joins(at, gap)):
                operand = self._operand(at, gap)
                if operand is None:
                    bound = (kind == "relation" and at > 0) or self.tokens[at].text in _PLUS_MINUS
                    return at if bound or self._negates(at) else place
                place = operand
            else:
                return place

    def _applies(self, at: int, gap: bool) -> bool:
        """Whether a function stands before its argument: ``log 4``, ``\\sqrt 4``."""
        if self._kind(at) == "command":
            return self.tokens[at].text[1:] not in TEXT_COMMANDS
        return (self._kind(at) == "word" and self.tokens[at].text in _BARE) or (not gap and self._is_function(at))

    def _joins(self, at: int, gap: bool) -> bool:
        """Whether a word between two values makes one of them: ``3 out of 4``, ``3 x 4``."""
        return self.tokens[at].text in _JOINING_WORDS or (gap and self.tokens[at].text in ("x", "X"))

    def _operand(self, at: int, gap: bool) -> int | None:
        """Where the operand left of an operator begins; None when there is none, and the sign is a dash or a bullet."""
        sign = self.tokens[at].text
        before, gap_before = self._before(at)
        if sign == "of" and before >= 0 and self.tokens[before].text == "out":
            before, gap_before = self._before(before)
        kind, agrees = self._kind(before), gap == gap_before
        if sign in "+-−" and not gap and kind in ("operator", "opening"):
            return at  # the sign of an exponent or a factor
        if sign in _JOINING_WORDS or sign in "xX":
            joined = kind in ("number", "after") or (kind == "letter" and sign == "over")
            return self._glued(before) if joined else None
        if (sign in _AMBIGUOUS and not agrees) or (sign == ":" and not gap):
            return None
        if kind == "word":
            named = gap and agrees and sign not in "-−–:" and sign not in _PLUS_MINUS
            return before if named and self.tokens[before].text.lower() not in _NO_NAMES else None
        if kind not in _OPERANDS or (kind == "letter" and gap and self.tokens[before].text in _NOT_LETTERS):
            return None
        return self._glued(self._opening(before) if kind == "closing" else before)

    def balanced(self, first: int, right: list[_Token]) -> int:
        """The beginning after the last bracket that never closes and is no function's: ``(see 3 + 4``."""
        opened = [at for at in range(first, len(self.tokens)) if self._kind(at) == "opening"]
        closed = sum(self._kind(at) == "closing" for at in range(first, len(self.tokens)))
        closed += sum(token.kind == "closing" for token in right)
        spare = len(opened) - closed
        return opened[spare - 1] + 1 if spare > 0 and self._glued(opened[spare - 1]) == opened[spare - 1] else first

    def equated(self, place: int) -> int:
        """The beginning of the equation that a value ends when it says no variable's own value: ``2x = 4``,
        ``x^2 = 4``, but ``the area is s^2 = 4`` says the area."""
        at, _ = self._before(place)
        if self._kind(at) != "equals":
            return place
        at, _ = self._before(at)
        begin = at
        while begin > 0 and self._kind(begin - 1) in ("number", "letter", "operator"):
            begin -= 1
        found = self.tokens[begin : at + 1] if at >= 0 else []
        kinds, last = [token.kind for token in found], found[-1].text if found else ""
        multiple = kinds == ["number", "letter"] and not is_unit_symbol(last)
        power = kinds == ["letter", "operator", "number"] and found[1].text in ("^", "**")
        before, _ = self._before(begin)
        said = before >= 0 and (self.tokens[before].text in _COPULAS or self.tokens[before].text == ":")
        return begin if (multiple or power) and not said else place

    # -- lists

    def _named(self, place: int) -> int | None:
        """Where the ``x =`` of a value begins, or of a chain of equalities that ends in it; None for neither."""
        for _ in range(4):
            at, _ = self._before(place)
            if self._kind(at) != "equals":
                return None
            at, _ = self._before(at)
            if self._kind(at) not in _OPERANDS:
                return None
            place = self.expression(self._glued(self._opening(at) if self._kind(at) == "closing" else at))
            name = [token.kind for token in self.tokens[place : at + 1]]
            if name == ["letter"] or (name[:2] == ["letter", "operator"] and self.tokens[place + 1].text == "_"):
                return place
        return None

    def listed(self, first: int) -> int:
        """The beginning of the list that ends in the value beginning here."""
        members, commas, begin = [first], 0, first
        joiner_seen = ""
        while True:
            name = self._named(members[-1])
            start = members[-1] if name is None else name
            at, _ = self._before(start)
            joiner = ""
            while self._kind(at) == "comma" or (at >= 0 and self.tokens[at].text in ("and", "or")):
                joiner = "," if self._kind(at) == "comma" and not joiner else joiner or self.tokens[at].text
                at, _ = self._before(at)
            if not joiner or self._kind(at) not in _OPERANDS or self.tokens[at].text in _NOT_LETTERS:
                break
            operand = self._glued(self._opening(at) if self._kind(at) == "closing" else at)
            previous = self.expression(operand)
            other = self._named(previous)
            joiner_seen = joiner if joiner != "," else joiner_seen
            named = name is not None and other is not None
            if named and self._is_condition(other, start):
                break
            plain = name is None and self._kind(at) == "number"
            if plain and other is not None and self._is_condition(other, len(self.tokens)):
                break
            stated = other is not None or self._kind(self._before(previous)[0]) == "equals"
            if joiner == "or" or named or (plain and (joiner_seen or stated)):
                begin = previous if other is None else other
            elif not (plain and joiner == ","):
                break
            commas += joiner == ","
            members.append(previous)
        if begin == first and commas > 1:
            return members[-1]
        return begin

    def _is_condition(self, place: int | None, other: int) -> bool:
        """Whether an equation is what another one, or a number, depends on: ``when x = 3, y = 4``."""
        if place is None:
            return False
        at, _ = self._before(place)
        word = self.tokens[at].text.lower() if self._kind(at) == "word" else ""
        differ = other == len(self.tokens) or self.tokens[place].text != self.tokens[other].text
        return word in _REJECTING or (differ and word in _CONDITIONS)


def _rightward(text: str, tokens: list[_Token], opened: int) -> int:
    """How many tokens after a number belong to its expression, of which so many brackets are open."""
    place = 0
    while place < len(tokens):
        at = place
        gap = tokens[at].kind == "space"
        at += gap
        if at == len(tokens):
            break
        kind, name = tokens[at].kind, tokens[at].text
        after = tokens[at + 1] if at + 1 < len(tokens) else _Token("stop", "", 0, 0)
        if (kind == "closing" and opened > 0) or (kind == "opening" and not gap):
            opened += 1 if kind == "opening" else -1
        elif joined := _JOINING_AFTER.match(text, tokens[place].start):
            while at + 1 < len(tokens) and tokens[at + 1].start <= joined.end():
                at += 1
        elif kind == "letter" or kind == "word":
            if not _multiplies(name, gap, after.text, text[tokens[at].end : tokens[at].end + 12]):
                break
        elif kind == "command":
            if name[1:] not in _COMMANDS:
                break
        elif kind == "after" and name == "!" and not gap:
            pass
        elif kind in ("operator", "relation") and (count := _operand_after(tokens, at, gap)):
            at += count
            opened += tokens[at].kind == "opening"
        elif not (opened and kind in ("number", "comma", "operator")):
            break
        place = at + 1
    return place


def _multiplies(name: str, gap: bool, after: str, rest: str) -> bool:
    """Whether a letter or a word after a number multiplies it, rather than being a unit or a word of the sentence."""
    if name in FUNCTIONS or name in GREEK or name in CONSTANTS:
        return not is_unit_word(name) and (name in CONSTANTS or name in GREEK or name in _BARE)
    if len(name) == 1 and gap:
        hyphened = after == "-" and rest[1:2].isalpha()  # "4 x-ray machines"
        variable = name.islower() and name != "a" and not is_unit_symbol(name)
        return variable and not hyphened and after not in (".", "'", "’")
    if len(name) == 1:
        return not is_unit_symbol(name) and not (name in "xX" and _MULTIPLYING.match(rest))
    return not gap and len(name) < 4 and name.lower() not in _SUFFIXES and not is_unit_word(name)


def _operand_after(tokens: list[_Token], at: int, gap: bool) -> int:
    """How many tokens follow an operator up to and with its operand; 0 when none follows."""
    sign, step = tokens[at].text, 1
    gap_after = at + 1 < len(tokens) and tokens[at + 1].kind == "space"
    step += gap_after
    if at + step >= len(tokens) or (sign in _AMBIGUOUS and gap != gap_after) or sign == ":":
        return 0
    kind, name = tokens[at + step].kind, tokens[at + step].text
    if kind == "letter":
        return 0 if name in _NOT_LETTERS or (sign == "/" and is_unit_symbol(name)) else step
    function = kind == "word" and name in FUNCTIONS
    return step if kind in ("number", "command", "opening") or function else 0
