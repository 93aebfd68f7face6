"""Matrix expressions worked out to one matrix of scalars: sums, products, multiples, small powers.

Usage: ``as_matrix(node, budget)`` is a Matrix, or None when the node is not matrix-valued or shapes do not fit.
"""

from __future__ import annotations

from fractions import Fraction

from dftcore.grading.budget import Budget
from dftcore.grading.nodes import SCALARS, Add, Matrix, Mul, Node, Num, Pow, walk

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
