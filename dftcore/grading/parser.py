"""The structural half of the parser: lists, tuples, intervals, sets, relations, ratios, units and matrices.

``parse`` turns one tidied answer into a node, or None when the text is not in the language of answers (it is then
compared as text). Nothing is evaluated and nothing is looked up outside the package.

Usage: ``parse(r"x \\in [0, \\frac{1}{2})", STRICT.limits, budget)``.
"""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise

from dftcore.grading.budget import Budget
from dftcore.grading.compounds import combined
from dftcore.grading.counting import ends_in_comparison, scale_of, states_more
from dftcore.grading.environments import Environments
from dftcore.grading.names import names
from dftcore.grading.nodes import (
    DOTS,
    EMPTY,
    SCALARS,
    Based,
    Const,
    Func,
    Items,
    Matrix,
    Node,
    Num,
    Quantity,
    Ratio,
    Relation,
    Seq,
    SetOf,
    SetOp,
    Sym,
    Words,
)  # fmt: skip
from dftcore.grading.operands import is_integer, multiply
from dftcore.grading.options import options
from dftcore.grading.policy import Limits
from dftcore.grading.respell import respell
from dftcore.grading.spoken import SPOKEN, all_but, saying, written_out
from dftcore.grading.textform import word_key
from dftcore.grading.tokens import Token, Unreadable, tokenize
from dftcore.grading.units import PERCENT_WORDS, is_unit_word
from dftcore.grading.vocabulary import (
    CONSTANTS,
    DOT_COMMANDS,
    FUNCTIONS,
    GREEK,
    NUMBER_SETS,
    RELATIONS,
    SET_OPERATORS,
)

_CLOSING = {"(": (")", "]"), "[": ("]", ")"), "\\{": ("\\}",), "{": ("}",), "langle": ("rangle",)}
_BASED = re.compile(
    r"\(?([0-9A-Fa-f]+)\)?\s*(?:_\s*\{?\s*(?:\\(?:text|mathrm)\s*\{)?\s*(?:base\s*\}?\s*)?|\s+(?:in\s+)?\(?base\s+)"
    r"([a-z]+|\d{1,2})[\s})]*"
)
_CLOCK = re.compile(r"^\d{1,2}:\d\d")
_TEMPERATURES = {"celsius": "celsius", "fahrenheit": "fahrenheit"}
_OF_AREAS = (["sq"], ["square"], ["cubic"], ["cu"])


class Parser(Environments):
    """Reads a whole answer."""

    def answer(self) -> Node:
        """Everything up to the end; a relation without a left side, as in ``= 5``, only points at its right side."""
        if self.at("=") or (self.next.kind == "cmd" and RELATIONS.get(self.next.text) == "~"):
            self.take()
        node = self.items(())
        if self.next.kind != "stop":
            raise Unreadable(f"{self.next.text} left over")
        return node

    def items(self, closing: tuple[str, ...]) -> Node:
        """Items up to ``closing``: one alone comes back as itself unless a separator followed it."""
        self.deeper()
        items: list[Node] = []
        joiner = ""
        while not (closing and self.at(*closing)) and self.next.kind not in ("stop", "end"):
            items.append(self.item())
            separator = self._separator()
            if separator is None:
                break
            joiner = separator if not joiner or separator != "," else joiner
        self.depth -= 1
        if len(items) == 1 and not joiner:
            return items[0]
        if not items and not closing:
            raise Unreadable("nothing")
        return Items(tuple(items), joiner or ",")

    def _separator(self) -> str | None:
        """A comma, semicolon, "and" or "or", in any of their mixtures."""
        joiner: str | None = None
        while True:
            if self.accept(",", ";", "\\"):
                joiner = joiner or ","
            elif self.next.kind == "word" and self.next.text in ("and", "or"):
                joiner = self.take().text
            elif self.at("wedge", "land", "vee", "lor"):
                joiner = "and" if self.take().text in ("wedge", "land") else "or"
            else:
                return joiner

    def item(self) -> Node:
        """A chain of relations between sets or scalars."""
        args = [self._set()]
        ops: list[str] = []
        while True:
            op = self._relation()
            if op is None:
                break
            ops.append(op)
            args.append(self._set())
        if self.accept("pmod"):
            args[-1] = _modulo(self.scalar(args[-1]), self._argument())
        return Relation(tuple(ops), tuple(args)) if ops else args[0]

    def _relation(self) -> str | None:
        token = self.next
        if token.kind == "word" and token.text == "in":
            self.take()
            return "in"
        if token.kind in ("op", "cmd") and token.text in RELATIONS:
            self.take()
            if token.text in ("<", ">") and self.accept("="):
                return token.text + "="
            return RELATIONS[token.text]
        if token.text == "not" and self.ahead(1).text == "=":
            self.take(), self.take()
            return "!="
        return None

    def _set(self) -> Node:
        left = self._measured()
        while (self.next.text in SET_OPERATORS and self.next.kind == "cmd") or (self.at("-") and _is_set(left)):
            left = SetOp(SET_OPERATORS.get(self.take().text, "difference"), left, self._measured())
        if self.next == ("word", "U", self.next.spaced):  # plain-text union
            self.take()
            left = SetOp("union", left, self._set())
        return left

    def _measured(self) -> Node:
        """A scalar with its unit, a ratio, or any bracketed value."""
        if self.next.kind == "text" and len(self.next.text) > 1:
            return self._words()
        if self.at(*DOT_COMMANDS, "...", "....") and self.ahead(1).text in (",", ";", ")", "\\}", "]", ""):
            self.take()
            return DOTS
        node = self.additive()
        if self.at(":") and not self.in_builder:
            return self._ratio(node)
        unit = self._unit(node)
        while unit and isinstance(node, (*SCALARS, Quantity)) and (scaled := scale_of(unit)) is not None:
            node, unit = _times(node, scaled[0]), scaled[1]
        return self._with_smaller_units(Quantity(self.scalar(node), unit)) if unit else node

    def _with_smaller_units(self, node: Quantity) -> Quantity:
        """``1 hour 30 minutes``: a number right after a unit goes on with the same quantity."""
        if self.next.kind != "num":
            return node
        whole = combined(node, self._measured())
        if whole is None:
            raise Unreadable("a number right after a unit")
        return whole

    def _ratio(self, first: Node) -> Node:
        items = [first]
        start = self.position - 1
        while self.accept(":"):
            items.append(self.additive())
        written = "".join(token.text for token in self.tokens[start : self.position])
        if _CLOCK.match(written[:5]) and written[-1:].isalpha():
            raise Unreadable("a time of day")
        return Ratio(tuple(map(self.scalar, items)), _CLOCK.fullmatch(written) is not None)

    def _words(self) -> Node:
        """Text where a value should be: words that name something, or an answer in words."""
        text = self.take().text
        if self.next.kind == "text":
            text += " " + self.take().text
        return Words(word_key(text))

    def _unit(self, node: Node) -> str:
        """What follows a scalar and is no more mathematics: ``\\text{ cm}^2``, ``miles per hour``, ``percent``."""
        parts: list[str] = []
        while True:
            token = self.next
            joins = token.text in ("and", "or", "U") or (token.text == "in" and not self._is_inches(node, parts))
            if token.kind == "text" or (token.kind == "word" and not joins):
                if not parts and token.kind == "word" and not self._may_be_unit(node, token):
                    raise Unreadable(f"word {token.text!r}")
                if states_more(token.text, not parts):
                    raise Unreadable("a statement, not a unit")
                parts.append(self.take().text)
            elif parts and self.at("/", "cdot"):
                parts.append(self.take().text)
            elif parts and self.at("^"):
                self.take()
                parts[-1] += "^" + self.raw_group()
            else:
                break
        unit = " ".join(parts).strip()
        if ends_in_comparison(unit):
            raise Unreadable("a comparison, not a unit")
        if unit.lower() in PERCENT_WORDS or unit.lower() == "per cent":
            return "percent"
        return _TEMPERATURES.get(unit.lower().removesuffix(".").removeprefix("degrees ").removeprefix("degree "), unit)

    def _is_inches(self, node: Node, parts: list[str]) -> bool:
        """``18 in`` and ``18 sq in``: nothing follows that the number could be in."""
        after = self.ahead(1)
        return parts in _OF_AREAS or (
            not parts and isinstance(node, Num) and (after.kind == "stop" or after.text == "^")
        )

    def _may_be_unit(self, node: Node, token: Token) -> bool:
        if self.is_unit_quotient(token, node):
            return True
        return isinstance(node, (*SCALARS, Quantity)) and (is_unit_word(token.text) or len(token.text) > 3)

    # -- brackets

    def bracket(self, opening: str) -> Node:
        """What a bracket, already opened, holds: a grouped scalar, a tuple, an interval, a set."""
        bars, self.bars = self.bars, 0
        builder, self.in_builder = self.in_builder, opening == "\\{"
        inside = self.items(_CLOSING[opening])
        if opening == "\\{" and self.at("|", "mid", ":", "vert"):
            self.take()
            self.in_builder = False
            condition = self.items(("\\}",))
            self.expect("\\}")
            if isinstance(inside, Relation):
                inside = Items((inside, condition), "and")
            else:
                inside = condition if isinstance(inside, Sym) else SetOp("such that", inside, condition)
            self.bars, self.in_builder = bars, builder
            return inside
        closing = self.expect(*_CLOSING[opening]).text
        self.bars, self.in_builder = bars, builder
        return self._closed(opening, inside, closing)

    def _closed(self, opening: str, inside: Node, closing: str) -> Node:
        several = isinstance(inside, Items)
        items = inside.items if isinstance(inside, Items) else (inside,)
        if opening == "\\{":
            return SetOf(items) if items else EMPTY
        if opening == "{":
            if not items:
                raise Unreadable("empty group")
            return SetOf(items) if several else inside
        if len(items) == 1 and isinstance(inside, Matrix):
            return inside  # brackets drawn around an array
        if opening == "(" and closing == ")" and (not several or (isinstance(inside, Items) and inside.joiner != ",")):
            return inside
        if (
            opening == "["
            and items
            and all(isinstance(item, Seq) and item.opening == "[" for item in items)
            and several
        ):
            return self.rows([item.items for item in items if isinstance(item, Seq)])
        return Seq("(" if opening == "langle" else opening, items, ")" if closing == "rangle" else closing)


def parse(text: str, limits: Limits, budget: Budget, thousands: bool = True) -> Node | None:
    """The node that ``text`` (one tidied answer) stands for, or None. Raises only OutOfBudget."""
    if not text or len(text) > limits.chars:
        return None
    option = options(text, lambda content: parse(content, limits, budget))
    if option is not None:
        return option
    words = word_key(text)
    said = saying(words)
    if said is not None:
        return said
    if (listed := names(words, text)) is not None:
        return listed
    if len(words) > 1 and words.isalpha() and words.isascii() and words not in SPOKEN and not _is_symbolic(text):
        return Words(words)
    excluded = all_but(words) if words.endswith(tuple("0123456789)")) and "real" in words else None
    text = respell(written_out(text))
    if "_" in text or "base" in text:
        based = _in_base(text)
        if based is not None:
            return based
    try:
        tokens = tokenize(text if excluded is None else excluded, limits, thousands)
        node = None if _is_prose(tokens) else Parser(tokens, limits, budget).answer()
    except (Unreadable, RecursionError, ValueError, OverflowError):
        return None
    if excluded is None or node is None:
        return node
    return SetOp("difference", Const("R"), SetOf(node.items if isinstance(node, Items) else (node,)))


def _in_base(text: str) -> Based | Num | None:
    """``1011_2``, ``1011 base 2`` and, where letters are digits, ``2A7_{16}``; None for a letter with a subscript.
    What is said to be in base ten is the number itself."""
    match = _BASED.fullmatch(text)
    if match is None:
        return None
    digits, name = match.group(1).upper(), match.group(2)
    base = int(SPOKEN.get(name, name if name.isdigit() else 0))
    lettered = not digits[0].isdigit() and (len(digits) == 1 or base < 11)
    if lettered or not 2 <= base <= 36 or any(int(digit, 36) >= base for digit in digits):
        return None
    return Num(Fraction(int(digits))) if base == 10 else Based(digits, base)


def _modulo(value: Node, modulus: Node) -> Node:
    """The class of ``value``: whole numbers by their remainder, so that -1 is 3 modulo 4."""
    if is_integer(value) and is_integer(modulus) and isinstance(value, Num) and isinstance(modulus, Num):
        value = Num(value.value % modulus.value) if modulus.value > 0 else value
    return Func("residue", (value, modulus))


def _times(node: Node, scale: Fraction) -> Node:
    """``3 million`` and ``\\$3 million``: the number is scaled and the unit before it stays."""
    if isinstance(node, Quantity):
        return Quantity(_times(node.value, scale), node.unit)
    if isinstance(node, Num):
        place = node.unit_in_last_place
        return Num(node.value * scale, place * scale if place is not None else None)
    return multiply(node, Num(scale))


def _is_set(node: Node) -> bool:
    return isinstance(node, SetOp) or (isinstance(node, Const) and node.name in NUMBER_SETS)


def _is_prose(tokens: list[Token]) -> bool:
    """Whether two words stand side by side, which mathematics does not have."""
    return any(_is_plain_word(first) and _is_plain_word(second) for first, second in pairwise(tokens))


def _is_plain_word(token: Token) -> bool:
    word = token.text
    known = _is_symbolic(word) or word in ("and", "or", "in") or is_unit_word(word)
    return token.kind == "word" and len(word) > 1 and not known


def _is_symbolic(word: str) -> bool:
    return word in FUNCTIONS or word in GREEK or word in CONSTANTS
