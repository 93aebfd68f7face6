"""The arithmetic half of the parser: sums, products and powers.

Precedence, loosest first: ``+ - \\pm``; ``* / \\cdot`` and juxtaposition; unary minus; ``^`` and the postfix ``! ' %
^\\circ``. ``1/2x`` is ``(1/2) x``.

Usage: ``Parser(tokens, limits, budget).additive()``.
"""

from __future__ import annotations

from fractions import Fraction

from dftcore.grading.counting import scale_word
from dftcore.grading.derivatives import over
from dftcore.grading.nodes import (
    DOTS,
    MINUS_ONE,
    PLUS_MINUS,
    Add,
    Const,
    Func,
    Matrix,
    Mul,
    Node,
    Num,
    Pow,
    Quantity,
    Seq,
    SetOf,
    Sym,
    negate,
)
from dftcore.grading.operands import MAX_EXPONENT, STARTING_COMMANDS, Operands, is_integer, multiply
from dftcore.grading.tokens import Token, Unreadable
from dftcore.grading.units import is_unit_symbol, is_unit_word
from dftcore.grading.vocabulary import CONSTANTS, DIVIDE, DOT_COMMANDS, FUNCTIONS, GREEK, NUMBER_SETS, TIMES, words

_OPENING = frozenset({"(", "[", "{", "\\{", "|", "langle", "lfloor", "lceil", "lvert", "lVert", "vert"})
_SEPARATORS = frozenset({"and", "or", "in"})
# The same, but only with a space before; and products of two one-letter units.
_SPACED_UNITS = words("pc AU")
_UNIT_PRODUCTS = frozenset({("N", "m"), ("J", "s"), ("A", "h"), ("W", "h")})
# Two-letter words that are a unit straight after a number, and hardly ever a product.
_SHORT_UNITS = words("sq cm mm km kg ft in yd lb oz hr mi Hz kW kJ mL nm eV cc")


def _is_vector(node: Node) -> bool:
    return isinstance(node, Sym) and node.name.startswith(("vec ", "overrightarrow "))


def _last(node: Node) -> Node:
    return node.factors[-1] if isinstance(node, Mul) else node


class Expressions(Operands):
    """Reads scalars (and sums and products of matrices). Brackets are read by the other half."""

    # -- sums and products

    def additive(self) -> Node:
        self.deeper()
        terms: list[Node] = []
        sign = self.sign()
        terms.append(self._signed(sign, self.product()))
        while True:
            if len(terms) == 1 and isinstance(terms[0], Const) and terms[0].name in NUMBER_SETS:
                break
            if self.at("+", "-", "pm", "mp"):
                sign = self.sign()
                terms.append(self._signed(sign, self.product()))
            elif self.at(*DOT_COMMANDS) and self.ahead(1).text in ("+", "-"):
                self.take()
                terms.append(DOTS)
            else:
                break
        node = terms[0] if len(terms) == 1 else Add(tuple(map(self.scalar, terms)))
        if self.at("over", "choose"):  # these split everything around them, sums included
            name = self.take().text
            below = self.scalar(self.additive())
            node = multiply(self.scalar(node), Pow(below, MINUS_ONE)) if name == "over" else self._chosen(node, below)
        self.depth -= 1
        return node

    def _chosen(self, count: Node, chosen: Node) -> Node:
        return Func("binom", (self.scalar(count), chosen))

    def sign(self) -> Node | None:
        """A run of signs: None for plus."""
        sign: Node | None = None
        while self.at("+", "-", "pm", "mp"):
            text = self.take().text
            if text == "-":
                sign = negate(sign) if sign else MINUS_ONE
            elif text in ("pm", "mp"):
                sign = PLUS_MINUS if text == "pm" else negate(PLUS_MINUS)
            elif self.at("/") and self.ahead(1).text == "-":  # plain "+/-"
                self.take(), self.take()
                sign = PLUS_MINUS
        return sign

    def _signed(self, sign: Node | None, node: Node) -> Node:
        if sign is None:
            return node
        if sign == MINUS_ONE:
            return negate(self.scalar(node))
        return multiply(sign, self.scalar(node))

    def product(self) -> Node:
        result = self.power()
        while True:
            self.budget.spend()
            token = self.next
            if self._is_times(token):
                self.take()
                result = self._times(token.text, self.scalar(result), self.scalar(self._factor()))
            elif token.text in DIVIDE and token.kind in ("op", "cmd"):
                self.take()
                result = over(self.scalar(result), self.scalar(self._divisor()))
            elif self.starts_factor(token, result):
                if token.kind == "num" and not isinstance(_last(result), Func) and _last(result) != Const("i"):
                    raise Unreadable("a number right after a value")
                right = self.power()
                result = multiply(self.scalar(result), self.scalar(right))
            else:
                return result

    def _factor(self) -> Node:
        """The operand after ``*`` or ``/``, which may carry its own sign."""
        return self._signed(self.sign(), self.power())

    def _divisor(self) -> Node:
        """The operand after ``/``; letters written together, as in ``t/RC``, divide together."""
        token = self.next
        together = token.kind == "word" and 1 < len(token.text) < 4
        if not together or token.text in FUNCTIONS or token.text in GREEK or token.text in CONSTANTS:
            return self._factor()
        node = self._factor()
        for _ in token.text[1:]:
            node = multiply(self.scalar(node), self.scalar(self.power()))
        return node

    def _is_times(self, token: Token) -> bool:
        if token.kind in ("op", "cmd"):
            return token.text in TIMES
        if token.text not in ("x", "X") or self.ahead(1).kind != "num":
            return False
        before = self.tokens[self.position - 1]
        numeral_before = before.kind == "num" and (before.text != "0" or token.spaced)  # 0x10 is hexadecimal
        return numeral_before or (self.ahead(1).text == "10" and self.ahead(2).text in ("^", "**"))

    def _times(self, sign: str, left: Node, right: Node) -> Node:
        """A product; that of two vectors is a dot or a cross product, and the latter turns sign with its order."""
        if not (_is_vector(left) and _is_vector(right)):
            return self._scientific(left, right)
        first, second = sorted((left, right), key=str)
        if sign == "cdot":
            return Func("dot", (first, second))
        product = Func("cross", (first, second))
        return product if first == left else negate(product)

    def _scientific(self, left: Node, right: Node) -> Node:
        """``3.8 * 10^{35}`` is one decimal literal, not a product."""
        negative = isinstance(left, Mul) and len(left.factors) == 2 and left.factors[0] == MINUS_ONE
        mantissa = left.factors[1] if negative and isinstance(left, Mul) else left
        if isinstance(mantissa, Num) and isinstance(right, Pow) and right.base == Num(Fraction(10)):
            power = right.exponent
            if is_integer(power) and isinstance(power, Num) and abs(power.value) <= MAX_EXPONENT:
                scale = Fraction(10) ** int(power.value)
                place = mantissa.unit_in_last_place
                folded = Num(mantissa.value * scale, place * scale if place is not None else None)
                return negate(folded) if negative else folded
        return multiply(left, right)

    def starts_factor(self, token: Token, left: Node) -> bool:
        """Whether ``token``, right after ``left``, begins a factor; collections are not multiplied."""
        if isinstance(left, SetOf) or (isinstance(left, Seq) and len(left.items) != 1):
            return False
        if token.kind == "num":
            return True
        if token.kind == "word":
            return token.text not in _SEPARATORS and not self._is_unit(token, left)
        if token.kind == "begin":
            return True
        if token.kind == "text" and len(token.text) == 1:  # an upright variable, as in 3\text{i}, unless it is a unit
            return token.text.islower() and not is_unit_symbol(token.text)
        if token.text in ("|", "vert") and (self.bars or (self.in_builder and self._bar_separates())):
            return False
        if token.kind == "op":
            closes = token.text == "[" and isinstance(left, Matrix)
            return token.text in _OPENING and not closes
        if token.kind != "cmd":
            return False
        return token.text in STARTING_COMMANDS or token.text in _OPENING

    def _bar_separates(self) -> bool:
        """Whether the next bar has no partner before its set closes."""
        bars = 0
        for token in self.tokens[self.position :]:
            if token.text == "\\}":
                break
            bars += token.text in ("|", "vert")
        return bars % 2 == 1

    def _is_unit(self, token: Token, left: Node) -> bool:
        if isinstance(left, Sym):
            return False
        if self.is_unit_quotient(token, left) or scale_word(token.text):
            return True
        if len(token.text) > 3 and isinstance(left, Num) and token.text.islower() and not self._is_mathematics(token):
            return True
        short = token.text in _SHORT_UNITS or token.text[0] == "µ"
        spaced = token.spaced and token.text in _SPACED_UNITS
        return is_unit_word(token.text) and (len(token.text) > 2 or short or spaced)

    def is_unit_quotient(self, token: Token, left: Node) -> bool:
        """``9.8 m/s``: one-letter units only with a space before and a quotient of units, or a known product."""
        below = self.ahead(2)
        if self.ahead(1).text == "cdot" and (token.text, below.text) in _UNIT_PRODUCTS:
            return token.spaced and isinstance(left, Num)
        if not (token.spaced and isinstance(left, Num) and self.ahead(1).text == "/" and below.kind == "word"):
            return False
        return token.kind == "word" and is_unit_symbol(token.text) and is_unit_symbol(below.text)

    def _is_mathematics(self, token: Token) -> bool:
        """Whether a word is, or ends in, the name of a function or a letter."""
        word = token.text
        return any(word[cut:] in FUNCTIONS or word[cut:] in GREEK or word[cut:] in CONSTANTS for cut in range(4))

    # -- powers and what follows an operand

    def power(self) -> Node:
        self.deeper()
        if self.at("+", "-", "pm", "mp"):
            node = self._signed(self.sign(), self.power())
        else:
            node = self._postfix(self.primary())
        self.depth -= 1
        return node

    def _postfix(self, node: Node) -> Node:
        while True:
            self.budget.spend()
            if self.accept("'"):
                node = self.renamed(node, "'")
            elif self.at("_"):
                node = self.subscripted(node)
            elif self.accept("!"):
                name = "double factorial" if self.accept("!") else "factorial"
                node = Func(name, (self.scalar(node),))
            elif self.accept("%"):
                node = Quantity(self.scalar(node), "percent")
            elif self.accept("\\$"):
                node = Quantity(self.scalar(node), "dollar")
            elif self.accept("degree"):
                node = Quantity(self.scalar(node), "degree")
            elif self.at("^", "**"):
                self.take()
                node = self._raised(node)
            else:
                return node

    def _raised(self, node: Node) -> Node:
        if self.accept("circ") or self._accept_braced("circ"):
            unit = {"C": "celsius", "F": "fahrenheit"}.get(self.next.text, "degree")
            if unit != "degree":
                self.take()
            return Quantity(self.scalar(node), unit)
        if self.accept("prime") or self._accept_braced("prime"):
            return self.renamed(node, "'")
        exponent = self.scalar(self.script())
        if self.at("_"):
            node = self.subscripted(node)
        if self.at("^", "**"):
            self.take()
            exponent = self._raised(exponent)
        return Pow(self.scalar(node), exponent)

    def _accept_braced(self, name: str) -> bool:
        if self.at("{") and self.ahead(1).text == name and self.ahead(2).text == "}":
            self.position += 3
            return True
        return False

    def script(self) -> Node:
        """What stands after ``^``: a group, or one signed operand."""
        if self.accept("{"):
            return self.group()
        if self.at("(", "["):
            return self.primary()
        if self.at("-", "+"):
            return self._signed(self.sign(), self.script())
        if self.next.kind == "word" and len(self.next.text) > 1 and self.next.text not in CONSTANTS:
            word = self.take()
            self.push(Token("word", word.text[0], False), Token("word", word.text[1:], False))
        node = self.primary()
        return Func("factorial", (node,)) if self.at("!") and self.take() else node
