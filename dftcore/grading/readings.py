"""What a parsed answer says: names before values, chains of equalities, plus-or-minus, ellipses, finite or not.

``x = 5`` names a value; ``x = 2+3 = 5 \\approx 5.0`` names its last exact member; ``2x + z = 1`` is an equation;
``3 \\pm 1`` is the list ``4, 2``; ``1, 2, \\ldots, 5`` is written out.

Usage: ``settle(parse(r"x = 3 \\pm 1", ...))``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product

from dftcore.grading.budget import Budget
from dftcore.grading.exact import PRIMES, Residues, TooLarge, Undefined, rational
from dftcore.grading.nodes import (
    DOTS,
    INFINITY,
    MINUS_ONE,
    ONE,
    PLUS_MINUS,
    SCALARS,
    ZERO,
    Add,
    Const,
    Func,
    Items,
    Matrix,
    Mul,
    Node,
    Num,
    Pow,
    Ratio,
    Relation,
    Seq,
    SetOf,
    Sym,
    Words,
    children,
    negate,
    rebuild,
    walk,
)  # fmt: skip
from dftcore.grading.numeric import constant_value, symbols
from dftcore.grading.policy import Limits
from dftcore.grading.vocabulary import FUNCTIONS, INVERSES

_KNOWN_FUNCTIONS = frozenset(FUNCTIONS.values()) | {"root", "sum", "prod", "int", "lim"}
_EVERYWHERE_DEFINED = frozenset({"sqrt", "root", "sin", "cos", "abs", "floor", "ceil", "max", "min"})
_COORDINATES = frozenset("xyz")
_MOST_WRITTEN_OUT = 400
_MOST_SIGNS = 4


@dataclass(frozen=True, slots=True)
class Named(Node):
    """``name = value``, with the relation it came from."""

    name: Node
    value: Node
    relation: Relation


def is_name(node: Node) -> bool:
    """Whether a side of an equation only names the other: a symbol, ``f(x)``, ``|AB|``, ``(x, y)``, ``A:B``."""
    if isinstance(node, (Sym, Words)):
        return True
    if isinstance(node, Func):
        if node.name == "abs":
            return _is_segment(node.args[0])
        if node.name == "derivative":
            return True
        plain = all(isinstance(arg, (Sym, Num, Const)) or not isinstance(arg, SCALARS) for arg in node.args)
        return node.name not in _KNOWN_FUNCTIONS and node.name != "residue" and plain
    if isinstance(node, (Seq, Ratio)):
        return all(is_name(item) for item in node.items)
    return _is_segment(node)


def _is_segment(node: Node) -> bool:
    """Products and quotients of capital letters (lengths such as ``AB`` or ``NO/BO``), ``m\\angle A``."""
    if isinstance(node, Pow) and node.exponent == MINUS_ONE:
        return _is_segment(node.base)
    if isinstance(node, Mul):
        if node.factors[0] == Sym("m") and len(node.factors) == 2:
            return isinstance(node.factors[1], Sym) and node.factors[1].name.startswith("angle")
        return all(_is_segment(factor) for factor in node.factors)
    return isinstance(node, Sym) and (node.name[0].isupper() or " " in node.name)


def _is_asked_for(node: Node) -> bool:
    """Whether a side of an equation is what a question asks for, rather than an equation's: a sum, a product or a
    quotient of different letters (``m+n``), a sum of lengths (``AB+BC``), a function of one letter
    (``\\sin\\theta``), a limit or an integral. Coordinates make equations, except as a quotient of two (``x/y``)."""
    if isinstance(node, Func) and node.name in ("lim", "int"):
        return True
    if isinstance(node, Func):
        return node.name in INVERSES and isinstance(node.args[0], Sym) and node.args[0].name not in _COORDINATES
    if not isinstance(node, (Add, Mul)):
        return False
    if isinstance(node, Add) and all(isinstance(term, Mul) and _is_segment(term) for term in node.terms):
        return True
    parts = node.terms if isinstance(node, Add) else node.factors
    names = [part.base if isinstance(part, Pow) and part.exponent == MINUS_ONE else part for part in parts]
    plain = isinstance(node, Mul) or names == list(parts)
    letters = {part.name for part in names if isinstance(part, Sym)}
    shares = isinstance(node, Mul) and names != list(parts)
    return plain and len(letters) == len(names) > 1 and (shares or not _COORDINATES & letters)


def settle(node: Node) -> Node:
    """The node with its relations and its lists resolved as the module says."""
    if isinstance(node, Relation):
        node = _resolved(node)
    if isinstance(node, Items):
        items = [settle(item) for item in _unequal_to_each(node.items)]
        flat = [part for item in items for part in (item.items if isinstance(item, Items) else (item,))]
        return Items(_written_out(tuple(flat)), node.joiner)
    if isinstance(node, SetOf):
        inside = settle(Items(node.items))
        return SetOf(inside.items if isinstance(inside, Items) else (inside,))
    if isinstance(node, Seq):
        node = Seq(node.opening, _written_out(node.items), node.closing)
    if isinstance(node, (Relation, Matrix)) or not any(part == PLUS_MINUS for part in walk(node)):
        return node
    return Items(tuple(_signed(node)))


def _unequal_to_each(items: tuple[Node, ...]) -> tuple[Node, ...]:
    """``x \\ne 0, 1`` denies both values."""
    first = items[0] if items else None
    if not isinstance(first, Relation) or first.ops != ("!=",) or not all(isinstance(item, Num) for item in items[1:]):
        return items
    return (first, *(Relation(("!=",), (first.args[0], item)) for item in items[1:]))


def _signed(node: Node) -> list[Node]:
    """Every choice of signs. Several ``\\pm`` in one value are free of each other; in a tuple, or beside ``\\mp``, they
    go together."""
    parts = list(walk(node))
    several = 1 < parts.count(PLUS_MINUS) <= _MOST_SIGNS and isinstance(node, SCALARS)
    if not several or any(isinstance(part, Mul) and part.factors[:2] == (MINUS_ONE, PLUS_MINUS) for part in parts):
        return [substitute(node, PLUS_MINUS, ONE), substitute(node, PLUS_MINUS, MINUS_ONE)]
    made = []
    for signs in product((ONE, MINUS_ONE), repeat=parts.count(PLUS_MINUS)):
        left = iter(signs)
        made.append(_sign_by_sign(node, left))
    return made


def _sign_by_sign(node: Node, signs: Iterator[Node]) -> Node:
    return next(signs) if node == PLUS_MINUS else rebuild(node, lambda part: _sign_by_sign(part, signs))


def substitute(node: Node, old: Node, new: Node) -> Node:
    return new if node == old else rebuild(node, lambda part: substitute(part, old, new))


def _resolved(node: Relation) -> Node:
    ops, args = node.ops, node.args
    if "~" in ops:
        cut = ops.index("~")
        if cut == 0 and is_name(args[0]) and len(ops) == 1:
            ops = ("=",)  # "x is about 3" gives x
        else:
            ops, args = ops[:cut], args[: cut + 1]
    if not ops:
        return settle(args[0])
    if len(ops) == 1 and ops[0] == "in" and is_name(args[0]):
        return Named(args[0], settle(args[1]), Relation(ops, args))
    if set(ops) != {"="}:
        return Relation(ops, args)
    ends = Relation(("=",), (args[0], args[-1]))
    if is_name(args[0]):
        return _named(args[0], args[-1], ends)
    if len(args) == 2 and is_name(args[1]):
        return _named(args[1], args[0], ends)
    if _is_asked_for(args[0]) and not symbols(*args[1:]):
        return _named(args[0], args[-1], ends)
    if len(args) > 2 and not symbols(args[-1], args[-2]) and symbols(args[0]):
        return Named(args[0], settle(args[-1]), ends)  # "x + y = 5 + 7 = 12" works a value out
    return ends if len(args) == 2 or any(isinstance(part, Sym) for part in walk(node)) else Relation(ops, args)


def _named(name: Node, value: Node, relation: Relation) -> Node:
    value = settle(value)
    if isinstance(value, Items):  # two signs, two solutions
        return Items(tuple(Named(name, item, Relation(("=",), (name, item))) for item in value.items), "or")
    return Named(name, value, relation)


def _written_out(items: tuple[Node, ...]) -> tuple[Node, ...]:
    """An ellipsis between members of an arithmetic progression of whole steps becomes those members."""
    if items.count(DOTS) != 1 or not 2 <= items.index(DOTS) < len(items) - 1:
        return items
    at = items.index(DOTS)
    near = (*items[:at], items[at + 1])
    if not all(isinstance(item, Num) for item in near):
        return items
    values = [item.value for item in near if isinstance(item, Num)]
    step = values[1] - values[0]
    gaps = {second - first for first, second in pairwise(values[:-1])}
    if step == 0 or gaps != {step}:
        return items
    count = (values[-1] - values[-2]) / step
    if count.denominator != 1 or not 1 <= count <= _MOST_WRITTEN_OUT:
        return items
    return items[:at] + tuple(Num(values[-2] + step * index) for index in range(1, int(count))) + items[at + 1 :]


def is_infinite(node: Node) -> int:
    """1 for plus infinity, -1 for minus infinity, else 0."""
    if node == INFINITY:
        return 1
    return -1 if node == negate(INFINITY) else 0


def is_finite(node: Node, limits: Limits, budget: Budget) -> bool:
    """False for nan, for a division by zero anywhere, and for infinities that cancel; ``\\pm\\infty`` alone is an
    answer. What is too large to compute counts as finite. Raises OutOfBudget."""
    if node == Const("nan"):
        return False
    if is_infinite(node) or not isinstance(node, SCALARS):
        return all(is_finite(part, limits, budget) for part in children(node) if part != INFINITY)
    if isinstance(node, Add) and sum(INFINITY in walk(term) for term in node.terms) > 1:
        return False
    if isinstance(node, Mul) and INFINITY in node.factors and ZERO in node.factors:
        return False
    parts = list(walk(node))
    if Const("nan") in parts:
        return False
    if not any(map(_may_be_undefined, parts)):
        return True
    try:
        if rational(node, limits, budget) is not None:
            return True
        if symbols(node):
            Residues(PRIMES[0], limits, budget).of(node)
        else:
            value = constant_value(node, budget)
            return bool(value == value and abs(value) != float("inf"))
    except Undefined:
        return False
    except (TooLarge, TypeError, ZeroDivisionError, KeyError, ValueError, OverflowError):
        return True
    return True


def _may_be_undefined(node: Node) -> bool:
    if isinstance(node, Pow):
        return not (isinstance(node.exponent, Num) and node.exponent.value > 0)
    return isinstance(node, Func) and node.name not in _EVERYWHERE_DEFINED


def quotient(top: Node, bottom: Node) -> Node:
    return Mul((top, Pow(bottom, MINUS_ONE)))


def difference(left: Node, right: Node) -> Node:
    return Add((left, negate(right)))


def scaled(node: Node, factor: Fraction) -> Node:
    """``factor`` times ``node``; a literal stays a literal and keeps its relative precision."""
    if isinstance(node, Num):
        place = node.unit_in_last_place
        return Num(node.value * factor, abs(place * factor) if place is not None else None)
    return node if factor == 1 else Mul((Num(factor), node))
