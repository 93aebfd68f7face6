"""Matrix expressions worked out to one matrix of scalars: sums, products, multiples, small powers.

Usage: ``as_matrix(node, budget)`` is a Matrix, or None when the node is not matrix-valued or shapes do not fit.
"""

from __future__ import annotations

from fractions import Fraction

from dftcore.grading.budget import Budget
from dftcore.grading.nodes import SCALARS, Add, Const, Matrix, Mul, Node, Num, Pow, Seq, Sym, rebuild, walk

_LARGEST_POWER = 12


class _Mismatch(Exception):
    """Shapes do not fit, or an operation that matrices do not have."""


def as_matrix(node: Node, budget: Budget) -> Matrix | None:
    """Raises OutOfBudget."""
    if isinstance(node, Matrix):
        return node
    if not isinstance(node, (Add, Mul, Pow)) or not any(isinstance(part, Matrix) for part in walk(node)):
        return None
    try:
        value = _value(node, budget)
    except _Mismatch:
        return None
    return value if isinstance(value, Matrix) else None


def as_vector(node: Node, beside: Node) -> Node:
    """``2i - j + 3k`` as a column when it stands beside a vector of two or three entries; any other node unchanged."""
    if isinstance(beside, Matrix):
        size = max(len(beside.rows), len(beside.rows[0])) if 1 in (len(beside.rows), len(beside.rows[0])) else 0
    else:
        size = len(beside.items) if isinstance(beside, Seq) else 0
    if size not in (2, 3) or not isinstance(node, (Add, Mul, Sym, Const)) or not any(map(_is_unit_vector, walk(node))):
        return node
    cells = tuple((_component(node, letter),) for letter in "ijk"[:size])
    return Matrix(tuple(zip(*cells, strict=True)) if isinstance(beside, Matrix) and len(beside.rows) == 1 else cells)


def _is_unit_vector(node: Node) -> bool:
    return isinstance(node, (Sym, Const)) and node.name.removeprefix("hat ").removeprefix("vec ") in ("i", "j", "k")


def _component(node: Node, letter: str) -> Node:
    """The coefficient of one unit vector: the node with that vector 1 and the others 0."""
    if _is_unit_vector(node) and isinstance(node, (Sym, Const)):
        return Num(Fraction(node.name.endswith(letter)))
    return rebuild(node, lambda part: _component(part, letter))


def _value(node: Node, budget: Budget) -> Node:
    budget.spend()
    if isinstance(node, Add):
        values = [_value(term, budget) for term in node.terms]
        total = values[0]
        for value in values[1:]:
            total = _added(total, value)
        return total
    if isinstance(node, Mul):
        product: Node = Num(Fraction(1))
        for factor in node.factors:
            product = _multiplied(product, _value(factor, budget), budget)
        return product
    if isinstance(node, Pow) and isinstance(base := _value(node.base, budget), Matrix):
        if not isinstance(node.exponent, Num) or node.exponent.value not in range(1, _LARGEST_POWER + 1):
            raise _Mismatch
        result: Node = base
        for _ in range(int(node.exponent.value) - 1):
            result = _multiplied(result, base, budget)
        return result
    if isinstance(node, (*SCALARS, Matrix)):
        return node
    raise _Mismatch


def _added(left: Node, right: Node) -> Node:
    if isinstance(left, Matrix) and isinstance(right, Matrix):
        if len(left.rows) != len(right.rows) or len(left.rows[0]) != len(right.rows[0]):
            raise _Mismatch
        return Matrix(
            tuple(
                tuple(Add((first, second)) for first, second in zip(above, below, strict=True))
                for above, below in zip(left.rows, right.rows, strict=True)
            )
        )
    if isinstance(left, Matrix) or isinstance(right, Matrix):
        raise _Mismatch
    return Add((left, right))


def _multiplied(left: Node, right: Node, budget: Budget) -> Node:
    if isinstance(left, Matrix) and isinstance(right, Matrix):
        if len(left.rows[0]) != len(right.rows):
            raise _Mismatch
        columns = list(zip(*right.rows, strict=True))
        budget.spend(len(left.rows) * len(columns) * len(right.rows))
        return Matrix(
            tuple(
                tuple(Add(tuple(Mul(pair) for pair in zip(row, column, strict=True))) for column in columns)
                for row in left.rows
            )
        )
    if isinstance(left, Matrix):
        return Matrix(tuple(tuple(Mul((right, cell)) for cell in row) for row in left.rows))
    if isinstance(right, Matrix):
        return Matrix(tuple(tuple(Mul((left, cell)) for cell in row) for row in right.rows))
    return Mul((left, right))
