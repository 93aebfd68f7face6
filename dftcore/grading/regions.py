"""Sets of real numbers: intervals, unions, inequalities in one variable and finite sets, brought to one form.

A region is a sorted tuple of disjoint pieces with open or closed ends; single points are closed pieces of no length.

Usage: ``region_of(node, limits, budget)`` is a Region, or None when the node is no such set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from dftcore.grading.budget import Budget
from dftcore.grading.exact import TooLarge, Undefined, rational
from dftcore.grading.nodes import (
    EMPTY,
    INFINITY,
    SCALARS,
    Const,
    Func,
    Items,
    Node,
    Num,
    Relation,
    Seq,
    SetOf,
    SetOp,
    Sym,
    negate,
)  # fmt: skip
from dftcore.grading.numeric import constant_value, symbols
from dftcore.grading.policy import Limits
from dftcore.grading.readings import Named, difference, is_infinite, is_name, substitute

_GRID = Fraction(1, 10**30)  # irrational ends are placed on this grid
_MIRROR = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!=", "=": "="}


@dataclass(frozen=True, slots=True)
class End:
    """One end of a piece: where it lies, for sorting, and what was written there."""

    place: Fraction | float
    node: Node


@dataclass(frozen=True, slots=True)
class Piece:
    low: End
    low_closed: bool
    high: End
    high_closed: bool

    def holds(self, place: Fraction | float) -> bool:
        above = self.low.place < place or (self.low_closed and self.low.place == place)
        return above and (place < self.high.place or (self.high_closed and self.high.place == place))


@dataclass(frozen=True, slots=True)
class Region:
    """``subject`` is what the inequalities were about, None for a set that names nothing."""

    pieces: tuple[Piece, ...]
    subject: Node | None = None

    def holds(self, place: Fraction | float) -> bool:
        return any(piece.holds(place) for piece in self.pieces)


LOWEST, HIGHEST = End(float("-inf"), negate(INFINITY)), End(float("inf"), INFINITY)
REALS = Region((Piece(LOWEST, False, HIGHEST, False),))


class _NoRegion(Exception):
    """The node is not a set of real numbers that this module can place."""


def region_of(node: Node, limits: Limits, budget: Budget) -> Region | None:
    """The region that a settled node describes. Raises OutOfBudget."""
    try:
        return _Builder(limits, budget).build(node)
    except (_NoRegion, Undefined, TooLarge, TypeError, KeyError, ZeroDivisionError, ValueError, OverflowError):
        return None


class _Builder:
    def __init__(self, limits: Limits, budget: Budget) -> None:
        self.limits = limits
        self.budget = budget

    def build(self, node: Node) -> Region:
        self.budget.spend()
        if node == EMPTY:
            return Region(())
        if node == Const("R"):
            return REALS
        if isinstance(node, Seq) and len(node.items) == 2:
            return self._interval(node)
        if isinstance(node, SetOf):
            return self._combine_all([self._point(item) for item in node.items], "union")
        if isinstance(node, SetOp):
            return self._combine(self.build(node.left), self.build(node.right), node.op)
        if isinstance(node, Named):
            single = isinstance(node.value, SCALARS) and node.value not in (EMPTY, Const("R"))
            inside = self._point(node.value) if single else self.build(node.value)
            return Region(inside.pieces, node.name)
        if isinstance(node, Relation):
            pairs = zip(node.args, node.ops, node.args[1:], strict=False)
            return self._combine_all([self._inequality(left, op, right) for left, op, right in pairs], "intersection")
        if isinstance(node, Items) and any(isinstance(item, (Relation, SetOp, Seq, Named)) for item in node.items):
            return self._list(node)
        raise _NoRegion

    def _list(self, node: Items) -> Region:
        parts = [self.build(item) for item in node.items]
        if node.joiner == "and" or (node.joiner == "," and all(map(_is_condition, node.items))):
            together = self._combine_all(parts, "intersection")
            if together.pieces or (node.joiner == "and" and all(map(_is_condition, node.items))):
                return together  # conditions joined by "and" that exclude each other hold nowhere
        if node.joiner == "," and any(isinstance(item, Seq) for item in node.items):
            raise _NoRegion  # a list of points of the plane
        return self._combine_all(parts, "union")

    def _end(self, node: Node) -> End:
        sign = is_infinite(node)
        if sign:
            return HIGHEST if sign > 0 else LOWEST
        if not isinstance(node, SCALARS) or symbols(node):
            raise _NoRegion
        value = rational(node, self.limits, self.budget)
        if value is not None:
            return End(value, node)
        real = constant_value(node, self.budget)
        if getattr(real, "imag", 0) != 0 or not abs(real) < 10**100:
            raise _NoRegion
        return End(round(Fraction(int(real * 10**45), 10**45) / _GRID) * _GRID, node)

    def _point(self, node: Node) -> Region:
        end = self._end(node)
        if end in (LOWEST, HIGHEST):
            raise _NoRegion
        return Region((Piece(end, True, end, True),))

    def _interval(self, node: Seq) -> Region:
        low, high = map(self._end, node.items)
        if not low.place < high.place and not (low.place == high.place and (node.opening, node.closing) == ("[", "]")):
            raise _NoRegion
        low_closed = node.opening == "[" and low != LOWEST
        return Region((Piece(low, low_closed, high, node.closing == "]" and high != HIGHEST),))

    def _inequality(self, left: Node, op: str, right: Node) -> Region:
        if op == "in":
            if not is_name(left):
                raise _NoRegion
            return Region(self.build(right).pieces, left)
        if op not in _MIRROR:
            raise _NoRegion
        if not symbols(left) and symbols(right):
            left, op, right = right, _MIRROR[op], left
        if symbols(right):
            left, right = difference(left, right), Num(Fraction(0))
        if is_name(left):
            return Region(self._ray(op, self._end(right)), left)
        if isinstance(left, Func) and left.name == "abs" and is_name(left.args[0]):
            return self._absolute(left.args[0], op, right)
        return self._linear(left, op, right)

    def _ray(self, op: str, end: End) -> tuple[Piece, ...]:
        if op == "=":
            return (Piece(end, True, end, True),)
        if op == "!=":
            return (Piece(LOWEST, False, end, False), Piece(end, False, HIGHEST, False))
        closed = op.endswith("=")
        return (Piece(LOWEST, False, end, closed),) if op[0] == "<" else (Piece(end, closed, HIGHEST, False),)

    def _absolute(self, subject: Node, op: str, bound: Node) -> Region:
        end = self._end(bound)
        if end.place < 0:
            raise _NoRegion
        mirrored = self._end(negate(bound))
        inside = self._combine(Region(self._ray("<=", end)), Region(self._ray(">=", mirrored)), "intersection")
        edges = self._combine(Region(self._ray("=", end)), Region(self._ray("=", mirrored)), "union")
        if op in ("=", "!="):
            region = edges if op == "=" else self._combine(REALS, edges, "difference")
        elif op[0] == "<":
            region = inside if op == "<=" else self._combine(inside, edges, "difference")
        else:
            region = self._combine(REALS, inside, "difference")
            region = self._combine(region, edges, "union") if op == ">=" else region
        return Region(region.pieces, subject)

    def _linear(self, left: Node, op: str, right: Node) -> Region:
        """``a x + b`` against a rational constant."""
        names = symbols(left)
        bound = rational(right, self.limits, self.budget)
        if len(names) != 1 or bound is None:
            raise _NoRegion
        name = Sym(names.pop())
        values = [
            rational(substitute(left, name, Num(Fraction(place))), self.limits, self.budget)
            for place in (0, 1, 2, 5, -7)
        ]
        if any(value is None for value in values):
            raise _NoRegion
        zero, one, two, five, minus = (value for value in values if value is not None)
        slope = one - zero
        if slope == 0 or two != zero + 2 * slope or five != zero + 5 * slope or minus != zero - 7 * slope:
            raise _NoRegion
        place = (bound - zero) / slope
        return Region(self._ray(op if slope > 0 else _MIRROR[op], End(place, Num(place))), name)

    def _combine_all(self, parts: list[Region], op: str) -> Region:
        if not parts:
            raise _NoRegion
        result = parts[0]
        for part in parts[1:]:
            result = self._combine(result, part, op)
        return result

    def _combine(self, left: Region, right: Region, op: str) -> Region:
        """Any set operation, by membership at every end and between neighbouring ends."""
        if left.subject is not None and right.subject is not None and left.subject != right.subject:
            raise _NoRegion
        keep: Callable[[bool, bool], bool] = {
            "union": lambda a, b: a or b, "intersection": lambda a, b: a and b, "difference": lambda a, b: a and not b,
        }[op]  # fmt: skip
        found = {end.place: end for piece in (*left.pieces, *right.pieces) for end in (piece.low, piece.high)}
        found |= {LOWEST.place: LOWEST, HIGHEST.place: HIGHEST}
        ends = [found[place] for place in sorted(found)]
        self.budget.spend(len(ends) * (len(left.pieces) + len(right.pieces) + 1))
        pieces: list[Piece] = []
        for index, end in enumerate(ends):
            if end not in (LOWEST, HIGHEST) and keep(left.holds(end.place), right.holds(end.place)):
                _append(pieces, Piece(end, True, end, True))
            if index + 1 < len(ends):
                middle = _between(end.place, ends[index + 1].place)
                if keep(left.holds(middle), right.holds(middle)):
                    _append(pieces, Piece(end, False, ends[index + 1], False))
        return Region(tuple(pieces), left.subject if left.subject is not None else right.subject)


def _is_condition(node: Node) -> bool:
    """An inequality, or ``x`` in some set."""
    return (
        isinstance(node, Relation)
        or (isinstance(node, Named) and not isinstance(node.value, SCALARS))
        or (isinstance(node, Named) and node.value == Const("R"))
    )


def _between(low: Fraction | float, high: Fraction | float) -> Fraction | float:
    if isinstance(low, Fraction) and isinstance(high, Fraction):
        return (low + high) / 2
    if isinstance(low, Fraction):
        return low + 1
    return high - 1 if isinstance(high, Fraction) else Fraction(0)


def _append(pieces: list[Piece], piece: Piece) -> None:
    """Add a piece, joined to the last one where they touch."""
    if pieces:
        last = pieces[-1]
        if last.high.place == piece.low.place and (last.high_closed or piece.low_closed):
            pieces[-1] = Piece(last.low, last.low_closed, piece.high, piece.high_closed)
            return
    pieces.append(piece)
