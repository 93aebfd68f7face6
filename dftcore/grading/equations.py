"""Relations as conditions: two equations with the same solutions by a constant factor, two inequalities likewise.

``2x+4y-3=0`` is ``y = -x/2 + 3/4``; ``x^2+y^2=1`` is not ``x^2-y^2=1``. Only a constant factor is looked for, so that
equations with different solutions are never the same.

Usage: ``same_relations(left, right, policy, budget)``.
"""

from __future__ import annotations

from typing import Any

from dftcore.grading.budget import Budget
from dftcore.grading.exact import TooLarge, Undefined
from dftcore.grading.nodes import SCALARS, Node, Relation
from dftcore.grading.numeric import Evaluator, points, symbols
from dftcore.grading.policy import Policy
from dftcore.grading.readings import difference
from dftcore.grading.scalars import same_scalars

_MIRROR = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_SAME_DIGITS = 35


def same_relations(left: Relation, right: Relation, policy: Policy, budget: Budget) -> bool:
    """Whether the two say the same of their symbols. Raises OutOfBudget."""
    left, right = _rightward(left), _rightward(right)
    if left.ops != right.ops:
        return False
    if all(_same_side(first, second, policy, budget) for first, second in zip(left.args, right.args, strict=True)):
        return True
    turned = reversed(right.args)
    if left.ops in (("=",), ("!=",)) and all(
        _same_side(*sides, policy, budget) for sides in zip(left.args, turned, strict=True)
    ):
        return True
    if len(left.ops) != 1 or not all(isinstance(arg, SCALARS) for arg in (*left.args, *right.args)):
        return False
    if left.ops[0] not in ("=", "!=", "<", "<="):
        return False
    factor = _factor(difference(*left.args), difference(*right.args), budget)
    return factor is not None and (left.ops[0] in ("=", "!=") or factor > 0)


def _rightward(relation: Relation) -> Relation:
    """Chains of ``>`` turned round into chains of ``<``."""
    if relation.ops and all(op in (">", ">=", "=") for op in relation.ops) and set(relation.ops) != {"="}:
        return Relation(tuple(_MIRROR.get(op, op) for op in reversed(relation.ops)), tuple(reversed(relation.args)))
    return relation


def _same_side(left: Node, right: Node, policy: Policy, budget: Budget) -> bool:
    if left == right:
        return True
    if not isinstance(left, SCALARS) or not isinstance(right, SCALARS):
        return False
    return same_scalars(left, right, policy, budget) is not None


def _factor(left: Node, right: Node, budget: Budget) -> Any:
    """The non-zero real constant ``left / right`` as an mpf; None when the quotient is not constant."""
    if symbols(left) != symbols(right) or not symbols(left):
        return None
    ratios: list[Any] = []
    for point in points(left, right):
        evaluator = Evaluator(dict(point), budget)
        try:
            top, bottom = evaluator.of(left), evaluator.of(right)
        except (Undefined, TooLarge, TypeError, KeyError, ZeroDivisionError, ValueError, OverflowError):
            continue
        tiny = max(evaluator.largest, 1) * evaluator.mp.mpf(10) ** -_SAME_DIGITS
        if abs(bottom) < tiny or abs(top) < tiny:
            if abs(bottom) < tiny and abs(top) < tiny:
                continue
            return None
        ratios.append(top / bottom)
        mp = evaluator.mp
        if abs(ratios[-1] - ratios[0]) > abs(ratios[0]) * mp.mpf(10) ** -_SAME_DIGITS or abs(mp.im(ratios[0])) > tiny:
            return None
    return ratios[0].real if len(ratios) >= 2 else None
