"""Equality of two scalars: exact first, residues next, high-precision values last; then the policy's tolerance.

Usage: ``same_scalars(left, right, policy, budget)`` is the name of the rule that makes them equal, or None.
"""

from __future__ import annotations

import math
from fractions import Fraction

from dftcore.grading.budget import Budget
from dftcore.grading.exact import TooLarge, Undefined, rational, same_residues
from dftcore.grading.nodes import Node, Num
from dftcore.grading.numeric import constant_value, context, same_values, symbols
from dftcore.grading.policy import Policy
from dftcore.grading.readings import is_infinite

_FLOAT_DIGITS = 15  # a binary double is good to this many digits


def same_scalars(left: Node, right: Node, policy: Policy, budget: Budget) -> str | None:
    """The rule by which two scalars are the same, or None. Raises OutOfBudget."""
    if is_infinite(left) or is_infinite(right):
        return "infinity" if is_infinite(left) == is_infinite(right) else None
    try:
        first, second = _exact(left, policy, budget), _exact(right, policy, budget)
        if first is not None and second is not None:
            if first == second:
                return "exact value"
            return _near(left, first, right, second, policy)
        same = same_residues(left, right, policy.limits, budget)
        if same:
            return "algebraic identity"
        if same is None:
            try:
                if same_values(left, right, budget):
                    return "numeric identity"
            except TooLarge:
                return None
        return _near_constants(left, first, right, second, policy, budget)
    except (Undefined, TooLarge, TypeError, KeyError, ZeroDivisionError, OverflowError, ValueError):
        return None


def _exact(node: Node, policy: Policy, budget: Budget) -> Fraction | None:
    try:
        return rational(node, policy.limits, budget)
    except TooLarge:
        return None


def _near_constants(
    left: Node, first: Fraction | None, right: Node, second: Fraction | None, policy: Policy, budget: Budget
) -> str | None:
    """Tolerance where at least one side is irrational."""
    loose = policy.relative_tolerance is not None or policy.decimal_places is not None
    if not (is_decimal(left) or is_decimal(right) or loose) or symbols(left, right):
        return None
    first = _fraction(left, budget) if first is None else first
    second = _fraction(right, budget) if second is None else second
    return None if first is None or second is None else _near(left, first, right, second, policy)


def _fraction(node: Node, budget: Budget) -> Fraction | None:
    """A real irrational constant to 50 digits; None when it is complex or out of range."""
    value = constant_value(node, budget)
    if getattr(value, "imag", 0) != 0 or abs(_magnitude(value)) > 10_000:
        return None
    sign, mantissa, exponent, _ = value.real._mpf_
    magnitude = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
    return -magnitude if sign else magnitude


def _magnitude(value: object) -> float:
    size = context().mag(value)
    return float(size) if size == size and abs(size) < 1e9 else 0.0 if value == 0 else 1e9


def is_decimal(node: Node) -> bool:
    return isinstance(node, Num) and node.unit_in_last_place is not None


def _near(left: Node, first: Fraction, right: Node, second: Fraction, policy: Policy) -> str | None:
    """The tolerance of the policy's docstring, for two values that are not equal."""
    if policy.relative_tolerance is not None and _relatively_near(first, second, policy):
        return "relative tolerance"
    if policy.decimal_places is not None:
        place = Fraction(10) ** -policy.decimal_places
        if round(first / place) == round(second / place):
            return "decimal places"
    places = [
        node.unit_in_last_place
        for node in (left, right)
        if isinstance(node, Num) and node.unit_in_last_place is not None
    ]
    if not places or first == 0 or second == 0:
        return None
    gap = abs(first - second)
    larger = max(abs(first), abs(second))
    if len(places) == 1:
        exact = second if is_decimal(left) else first
        if exact.denominator == 1:
            return None
        if gap <= larger / 10**_FLOAT_DIGITS and places[0] <= larger / 10**_FLOAT_DIGITS:
            return "decimal precision"
    tolerance = min(max(places) / 2, Fraction(10) ** (_log10(larger) - policy.min_significant + 1) / 2)
    return "decimal precision" if gap <= tolerance else None


def _relatively_near(first: Fraction, second: Fraction, policy: Policy) -> bool:
    scales = (1, 100, Fraction(1, 100)) if policy.percent == "scale" else (1,)
    allowed = Fraction(policy.relative_tolerance or 0)
    return any(abs(first * scale - second) <= allowed * max(abs(first * scale), abs(second)) for scale in scales)


def _log10(value: Fraction) -> int:
    """The exponent of the leading decimal digit of a positive value."""
    guess = math.floor((value.numerator.bit_length() - value.denominator.bit_length()) * 0.30103)
    while Fraction(10) ** guess > value:
        guess -= 1
    while Fraction(10) ** (guess + 1) <= value:
        guess += 1
    return guess
