"""Operands of the parser: numerals, mixed numbers, symbols, groups, roots, functions and their arguments.

``2\\frac{1}{3}`` and ``2 1/3`` are mixed numbers, ``4 10/3`` is unreadable; ``f(x+1)``, ``u(t)`` and ``I(0)`` are
functions applied, ``n(n+1)`` is a product.

Usage: the base of ``Expressions``.
"""

from __future__ import annotations

from fractions import Fraction

from dftcore.grading.derivatives import over
from dftcore.grading.nodes import (
    DOTS,
    INFINITY,
    MINUS_ONE,
    SCALARS,
    Add,
    Based,
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
)
from dftcore.grading.reader import Reader
from dftcore.grading.spoken import SPOKEN
from dftcore.grading.tokens import Token, Unreadable
from dftcore.grading.vocabulary import (
    ADORNMENTS,
    CONSTANTS,
    DOT_COMMANDS,
    FUNCTIONS,
    GREEK,
    INVERSES,
    NEEDS_BRACKET,
    NUMBER_SETS,
    SHAPES,
)

_FRACTIONS = frozenset({"frac", "dfrac", "tfrac", "cfrac"})
_BINOMIALS = frozenset({"binom", "dbinom", "tbinom"})
_BIG_OPERATORS = frozenset({"sum", "prod", "int", "lim"})
_CALLED = frozenset("fghFGH")  # letters that are functions even before a compound argument
MAX_EXPONENT = 5_000
STARTING_COMMANDS = (
    frozenset({"sqrt", "surd", "angle", "triangle", "boxed", "fbox"})
    | _FRACTIONS | _BINOMIALS | _BIG_OPERATORS | GREEK | ADORNMENTS | DOT_COMMANDS | set(FUNCTIONS) | set(CONSTANTS)
) - {"emptyset", "varnothing"}  # fmt: skip


def numeral(text: str) -> Num:
    """A numeral token as a number that remembers its precision."""
    mantissa, _, exponent = text.lower().partition("e")
    power = int(exponent or 0)
    if abs(power) > MAX_EXPONENT:
        raise Unreadable("exponent")
    whole, point, decimals = mantissa.partition(".")
    value = Fraction(int((whole + decimals) or 0)) * Fraction(10) ** (power - len(decimals))
    if not point and not exponent:
        return Num(value)
    return Num(value, Fraction(10) ** (power - len(decimals)))


def multiply(left: Node, right: Node) -> Node:
    factors = (*(left.factors if isinstance(left, Mul) else (left,)), right)
    return Mul(factors)


def is_integer(node: Node) -> bool:
    return isinstance(node, Num) and node.unit_in_last_place is None and node.value.denominator == 1


def _is_letters(word: str) -> bool:
    """Whether small and capital letters alternate as in no word: ``GMmr`` is a product."""
    return len(word) < 7 and not (word.islower() or word.isupper() or word[1:].islower())


class Operands(Reader):
    """Reads one operand. Sums, products and brackets inside it are read by the classes built on this one."""

    def additive(self) -> Node:
        raise NotImplementedError

    def product(self) -> Node:
        raise NotImplementedError

    def power(self) -> Node:
        raise NotImplementedError

    def starts_factor(self, token: Token, left: Node) -> bool:
        raise NotImplementedError

    def script(self) -> Node:
        raise NotImplementedError

    def bracket(self, opening: str) -> Node:
        raise NotImplementedError

    def matrix(self, name: str) -> Node:
        raise NotImplementedError

    def scalar(self, node: Node) -> Node:
        """``node`` as an operand: single brackets open up; collections, words and relations do not compute."""
        if isinstance(node, Seq) and len(node.items) == 1 and (node.opening, node.closing) == ("[", "]"):
            node = node.items[0]
        if isinstance(node, (*SCALARS, Quantity, Matrix)):
            return node
        raise Unreadable(f"arithmetic on {type(node).__name__}")

    def primary(self) -> Node:
        self.budget.spend()
        token = self.take()
        if token.kind == "num":
            return self._number(token)
        if token.kind == "word" or (token.kind == "text" and len(token.text) == 1):
            return self._word(token)
        if token.kind == "begin":
            return self.matrix(token.text)
        if token.kind in ("op", "cmd"):
            name = token.text
            if name == "{":
                return self.group(may_be_set=True)
            if name in ("|", "lvert", "vert", "lVert"):
                return self._absolute()
            if name in ("(", "[", "\\{", "langle"):
                return self.bracket(name)
            if token.kind == "cmd":
                return self._command(name)
            if name in ("\\$", "$"):
                return Quantity(self.scalar(self.power()), "dollar")
        raise Unreadable(f"{token.text or 'end'} where a value should be")

    def _number(self, token: Token) -> Node:
        value = numeral(token.text)
        after = self.next
        if "." in token.text and self.at("overline", "bar") and self.ahead(2).kind == "num":
            return self._repeating(token.text)
        if not is_integer(value):
            return value
        if after.kind == "cmd" and after.text in _FRACTIONS:
            start = self.position
            self.take()
            top, bottom = self._argument(), self._argument()
            if is_integer(top) and is_integer(bottom):
                return self._mixed(value, top, bottom)
            self.position = start
        elif after.kind == "num" and after.spaced and self.ahead(1).text == "/" and self.ahead(2).kind == "num":
            top = numeral(self.take().text)
            self.take()
            return self._mixed(value, top, numeral(self.take().text))
        return value

    def _repeating(self, start: str) -> Num:
        """``0.1\\overline{6}`` is exactly 1/6."""
        self.take()
        block = self.raw_group()
        decimals = len(start.partition(".")[2])
        if not block.isdigit():
            raise Unreadable("repeating decimals")
        tail = Fraction(int(block), (10 ** len(block) - 1) * 10**decimals)
        return Num(numeral(start).value + tail)

    def _mixed(self, whole: Num, top: Node, bottom: Node) -> Node:
        proper = isinstance(top, Num) and isinstance(bottom, Num) and 0 < top.value < bottom.value
        if proper and is_integer(top) and is_integer(bottom) and isinstance(top, Num) and isinstance(bottom, Num):
            return Num(whole.value + top.value / bottom.value)
        raise Unreadable("not a mixed number")

    def _word(self, token: Token) -> Node:
        word = token.text
        if word in CONSTANTS:
            return INFINITY if CONSTANTS[word] == "infinity" else Const(CONSTANTS[word])
        if word in FUNCTIONS and (word not in NEEDS_BRACKET or self.at("(", "{", "[")):
            return self.function(FUNCTIONS[word])
        if word in ("e", "i"):
            return Const(word)
        if len(word) == 1 or word in GREEK:
            return self._symbol(word)
        for cut in range(1, min(4, len(word))):
            if word[cut:] in FUNCTIONS and len(word) - cut > 1:
                self.push(*(Token("word", char, False) for char in word[:cut]), Token("word", word[cut:], False))
                return self._word(self.take())
        if len(word) <= 3 or _is_letters(word):
            self.push(*(Token("word", char, False) for char in word))
            return self._word(self.take())
        return Sym(word)

    def _symbol(self, name: str) -> Node:
        """A variable, or an unknown function applied: ``f(x+1)``, ``u(t)``, ``I(0)``, but ``n(n+1)`` is a product."""
        node: Node = Sym(name)
        if name in _CALLED and [self.ahead(step).text for step in range(6)] == ["^", "{", "-", "1", "}", "("]:
            self.position += 5
            node = Sym(name + "^-1")
        while self.at("_", "'"):
            node = self.subscripted(node) if self.at("_") else self.renamed(node, self.take().text)
        if not self.at("("):
            return node
        start, bars, depth = self.position, self.bars, self.depth
        self.take()
        argument = self.bracket("(")
        args = argument.items if isinstance(argument, Seq) else (argument,)
        simple = all(isinstance(arg, (Sym, Const)) or is_integer(arg) or not isinstance(arg, SCALARS) for arg in args)
        round_ = not isinstance(argument, Seq) or argument.closing == ")"
        if round_ and isinstance(node, Sym) and (simple or len(args) > 1 or name in _CALLED):
            return Func(node.name, args)
        self.position, self.bars, self.depth = start, bars, depth
        return node

    def _absolute(self) -> Node:
        self.bars += 1
        inside = self.additive()
        self.expect("|", "rvert", "vert", "rVert")
        self.bars -= 1
        return Func("det" if isinstance(inside, Matrix) else "abs", (self.scalar(inside),))

    def group(self, may_be_set: bool = False) -> Node:
        """The inside of braces, whose opening is already taken."""
        bars, self.bars = self.bars, 0
        inside = self.bracket("{") if may_be_set else self.additive()
        if not may_be_set:
            self.expect("}")
        self.bars = bars
        return inside

    def _argument(self) -> Node:
        """A LaTeX argument: a group, or one digit or letter."""
        if self.accept("{"):
            return self.scalar(self.group())
        if self.next.kind in ("num", "word") and len(self.next.text) > 1:
            token = self.take()
            self.push(token._replace(text=token.text[0]), Token(token.kind, token.text[1:], False))
            first = self.take()
            return numeral(first.text) if first.kind == "num" else self._word(first)
        return self.scalar(self.primary())

    def _command(self, name: str) -> Node:
        if name in _FRACTIONS:
            top, bottom = self._argument(), self._argument()
            return over(top, bottom)
        if name in _BINOMIALS:
            return Func("binom", (self._argument(), self._argument()))
        if name in ("sqrt", "surd"):
            return self._root()
        if name in CONSTANTS:
            return Const(CONSTANTS[name])
        if name in FUNCTIONS and (name not in NEEDS_BRACKET or self.at("(", "{", "[", "\\{", "_")):
            return self.function(FUNCTIONS[name])
        if name in ("lfloor", "lceil"):
            inside = self.scalar(self.additive())
            self.expect("rfloor" if name == "lfloor" else "rceil")
            return Func("floor" if name == "lfloor" else "ceil", (inside,))
        if name in _BIG_OPERATORS:
            return self._big_operator(name)
        if name in ("boxed", "fbox") and self.accept("{"):
            return self.group()
        if name in ("angle", "triangle"):
            return Sym(name + " " + (self.take().text if self.next.kind == "word" else self.raw_group()))
        if name in ADORNMENTS:
            return self._symbol(name + " " + self.raw_group())
        if name == "Delta" and self.next.kind == "word" and len(self.next.text) == 1:
            return self._symbol("Delta" + self.take().text)
        if name in GREEK:
            return self._symbol(SHAPES.get(name, name))
        if name in DOT_COMMANDS:
            return DOTS
        if name.startswith("set:") and name[4:] in NUMBER_SETS:
            if self.at("^", "_"):
                raise Unreadable("a power of a set")
            return Const(name[4:])
        raise Unreadable(f"\\{name}")

    def _root(self) -> Node:
        index: Node | None = None
        if self.accept("["):
            index = self.scalar(self.additive())
            self.expect("]")
        inside = self.scalar(self.group() if self.accept("{") else self.primary())
        return Func("sqrt", (inside,)) if index is None else Func("root", (inside, index))

    def function(self, name: str) -> Node:
        """A known function: its scripts, then a bracketed or a bare argument."""
        power: Node | None = None
        base: Node | None = None
        while self.at("^", "_", "**"):
            if self.take().text == "_":
                base = self.scalar(self.script())
            else:
                power = self.scalar(self.script())
        if power == MINUS_ONE and name in INVERSES:
            name, power = INVERSES[name], None
        if name == "sqrt":
            result: Node = self._root()
        else:
            result = self._applied(name, self._arguments(), base)
        return result if power is None else Pow(result, power)

    def _applied(self, name: str, args: tuple[Node, ...], base: Node | None) -> Node:
        if name == "exp" and len(args) == 1:
            return Pow(Const("e"), args[0])
        if name == "cis" and len(args) == 1:
            return Add((Func("cos", args), Mul((Const("i"), Func("sin", args)))))
        if name == "cbrt" and len(args) == 1:
            return Func("root", (args[0], Num(Fraction(3))))
        if base is not None:
            args = (*args, base)
        return Func(name, args)

    def _arguments(self) -> tuple[Node, ...]:
        if self.at("(", "\\{", "["):
            inside = self.bracket(self.take().text)
            if isinstance(inside, (Seq, SetOf)):
                return tuple(map(self.scalar, inside.items))
            return (self.scalar(inside),)
        if self.accept("{"):
            return (self.scalar(self.group()),)
        node = self.scalar(self.power())
        while self.starts_factor(self.next, node) and not self._starts_function():
            node = multiply(node, self.scalar(self.power()))
        return (node,)

    def _starts_function(self) -> bool:
        return (self.next.text in FUNCTIONS and self.next.text not in NEEDS_BRACKET) or self.at("(", "[", "begin")

    def _big_operator(self, name: str) -> Node:
        """Sums and products keep their bounds; integrals and limits keep everything under their sign as one name."""
        low: Node | None = None
        variable, high, under = "", None, ""
        while self.at("^", "_"):
            if self.take().text == "^":
                high = self.scalar(self.script())
            elif name in ("sum", "prod") and self.at("{"):
                self.take()
                variable = self.take().text
                self.expect("=")
                low = self.scalar(self.additive())
                self.expect("}")
            else:
                under = self.raw_group()
        body = self.scalar(self.product())
        if low is not None and high is not None:
            return Func(name, (Sym(variable), low, high, body))
        return Func(name, (Sym(under or name), body) if high is None else (Sym(under or name), high, body))

    # -- names

    def subscripted(self, node: Node) -> Node:
        self.expect("_")
        script = self.raw_group()
        if isinstance(node, Num) and is_integer(node):
            base = str(SPOKEN.get(script, script))
            if not base.isdigit() or len(base) > 3:
                raise Unreadable("base")
            return node if int(base) == 10 else Based(str(node.value), int(base))
        return self.renamed(node, "_" + script)

    def renamed(self, node: Node, suffix: str) -> Node:
        if isinstance(node, Const) and len(node.name) == 1:
            node = Sym(node.name)
        if isinstance(node, Sym):
            return Sym(node.name + suffix)
        if isinstance(node, Func) and suffix == "'":
            return Func(node.name + "'", node.args)
        raise Unreadable("script on a compound expression")
