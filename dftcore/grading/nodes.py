"""The typed values that an answer is read as: a small frozen syntax tree, compared and hashed by value.

Scalars: Num, Sym, Const, Add, Mul, Pow, Func. Around them: Quantity (a scalar with a unit), Based, Ratio, Seq (tuple,
interval or bracketed list), SetOf, Items (a bare list), SetOp, Matrix, Relation, Words, Choice.

Usage: ``Mul((Num(Fraction(2)), Sym("x")))`` is 2x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Node:
    """Base of every value."""


@dataclass(frozen=True, slots=True)
class Num(Node):
    """A rational literal; ``unit_in_last_place`` is set for decimals and says how precise the literal is."""

    value: Fraction
    unit_in_last_place: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Sym(Node):
    """A variable; adornments and subscripts are part of its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Const(Node):
    """pi, e, i, infinity, nan, pm (plus or minus one), dots, or a set: R, Z, N, Q, C, empty."""

    name: str


@dataclass(frozen=True, slots=True)
class Add(Node):
    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Mul(Node):
    factors: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Pow(Node):
    base: Node
    exponent: Node


@dataclass(frozen=True, slots=True)
class Func(Node):
    """A known function by its name, or an unknown one (``f``), applied to arguments."""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Quantity(Node):
    """A scalar with a unit: ``percent``, ``degree``, a currency, a physical unit or any word."""

    value: Node
    unit: str


@dataclass(frozen=True, slots=True)
class Based(Node):
    """Digits in a stated base: ``52_8``."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Ratio(Node):
    """``3:2``; ``clock`` when it may be a time of day."""

    items: tuple[Node, ...]
    clock: bool = False


@dataclass(frozen=True, slots=True)
class Seq(Node):
    """Ordered items in brackets: a tuple, a vector, a list, or an interval when there are two."""

    opening: str
    items: tuple[Node, ...]
    closing: str


@dataclass(frozen=True, slots=True)
class SetOf(Node):
    """``{a, b}``."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Items(Node):
    """``a, b`` or ``a and b`` without brackets; ``joiner`` is ``","``, ``"and"`` or ``"or"``."""

    items: tuple[Node, ...]
    joiner: str = ","


@dataclass(frozen=True, slots=True)
class SetOp(Node):
    """``union``, ``intersection`` or ``difference`` of two sets; ``such that`` for a form and its condition."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Matrix(Node):
    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Relation(Node):
    """A chain: ``args[0] ops[0] args[1] ops[1] ...`` with ops among = < <= > >= != ~ in."""

    ops: tuple[str, ...]
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Words(Node):
    """An answer in words, folded to lower case with single spaces."""

    text: str


@dataclass(frozen=True, slots=True)
class Choice(Node):
    """A lettered option, perhaps with what it says: ``(B) 12``."""

    letter: str
    content: Node | None = None


SCALARS = (Num, Sym, Const, Add, Mul, Pow, Func)
ZERO, ONE, MINUS_ONE = Num(Fraction(0)), Num(Fraction(1)), Num(Fraction(-1))
INFINITY, PLUS_MINUS, DOTS, EMPTY = Const("infinity"), Const("pm"), Const("dots"), Const("empty")


def children(node: Node) -> Iterator[Node]:
    """The nodes directly inside ``node``."""
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            for item in value:
                if isinstance(item, Node):
                    yield item
                elif isinstance(item, tuple):
                    yield from item


def walk(node: Node) -> Iterator[Node]:
    """``node`` and everything inside it."""
    stack = [node]
    while stack:
        top = stack.pop()
        yield top
        stack.extend(children(top))


def rebuild(node: Node, change: Callable[[Node], Node]) -> Node:
    """A copy of ``node`` with ``change`` applied to each direct child."""

    def renew(value: object) -> object:
        if isinstance(value, Node):
            return change(value)
        return tuple(renew(item) for item in value) if isinstance(value, tuple) else value

    return type(node)(*(renew(getattr(node, field.name)) for field in fields(node)))


def negate(node: Node) -> Node:
    """``-node``, folding literals so that ``-0.5`` stays a decimal literal."""
    if isinstance(node, Num):
        return Num(-node.value, node.unit_in_last_place)
    if isinstance(node, Quantity):
        return Quantity(negate(node.value), node.unit)
    return Mul((MINUS_ONE, node))
