"""Numbers and expressions with or without units, percents, degrees and ratios: the last rules of a comparison.

Usage: the base of ``Comparison``.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from dftcore.grading.budget import Budget
from dftcore.grading.exact import rational
from dftcore.grading.nodes import SCALARS, Const, Func, Mul, Node, Num, Pow, Quantity, Ratio, Sym, rebuild, walk
from dftcore.grading.policy import Policy
from dftcore.grading.readings import quotient, scaled
from dftcore.grading.scalars import same_scalars
from dftcore.grading.units import agree, is_known_unit

_UNIT_VECTORS: dict[str, Node] = {"hat i": Const("i"), "hat j": Sym("j"), "hat k": Sym("k")}
_UNIT_LETTERS = {"Omega": "ohm", "mu": "µ"}
_TEN = Num(Fraction(10))


class Measures:
    """Compares scalars under one policy, paid from one budget; ``rule`` is the name of the one that decided."""

    def __init__(self, policy: Policy, budget: Budget) -> None:
        self.policy = policy
        self.budget = budget
        self.rule = "different"

    def _decide(self, verdict: bool, rule: str) -> bool:
        if verdict or self.rule == "different":
            self.rule = rule
        return verdict

    def _measured(self, left: Node, right: Node) -> bool:
        first, first_unit = (left.value, left.unit) if isinstance(left, Quantity) else (left, "")
        second, second_unit = (right.value, right.unit) if isinstance(right, Quantity) else (right, "")
        if not isinstance(first, (*SCALARS, Quantity)) or not isinstance(second, (*SCALARS, Quantity)):
            return self._decide(False, "different kinds")
        if first_unit == second_unit:
            return self._scalars(first, second) or (not first_unit and self._units_in_letters(first, second))
        if "percent" in (first_unit, second_unit):
            return self._percent(first, first_unit, second, second_unit)
        if "degree" in (first_unit, second_unit):
            if self._degrees(left, first, first_unit, right, second, second_unit):
                return True
            if not (first_unit and second_unit) and _multiple_of_pi(first) and _multiple_of_pi(second):
                return self._decide(False, "degrees and radians")
        if self.policy.units == "ignore":
            return self._scalars(first, second)
        if not first_unit or not second_unit:
            return self._unit_left_out(first, second, first_unit or second_unit)
        factor = agree(first_unit, second_unit)
        if factor is None:
            return self._decide(False, "different units")
        return self._decide(self._scalars(scaled(first, factor), second), "units")

    def _unit_left_out(self, first: Node, second: Node, unit: str) -> bool:
        """One side alone states a unit: the other leaves it out, or writes it as letters, as in ``2.5 g``. A word
        after a bare letter (``n odd``) is a condition on it, no unit."""
        if isinstance(first, Sym) and not is_known_unit(unit):
            return self._decide(False, "words left out")
        if self.policy.units == "optional" and self._scalars(first, second):
            return self._decide(True, "unit left out")
        for one, other in ((first, second), (second, first)):
            for value, letters in _lettered(one):
                factor = agree(letters, unit)
                if factor is not None and self._scalars(scaled(value, factor), other):
                    return self._decide(True, "units")
        return self._decide(False, "different values")

    def _units_in_letters(self, first: Node, second: Node) -> bool:
        """``2 k\\Omega`` against ``2000 \\Omega``: both sides write another unit of one kind in letters."""
        for value, letters in _lettered(first):
            for other, more in _lettered(second):
                factor = agree(letters, more)
                if factor not in (None, 1) and self._scalars(scaled(value, factor or Fraction(1)), other):
                    return self._decide(True, "units")
        return False

    def _percent(self, left: Node, left_unit: str, right: Node, right_unit: str) -> bool:
        percent, number, unit = (left, right, right_unit) if left_unit == "percent" else (right, left, left_unit)
        if unit:
            return self._decide(False, "different units")
        if self._scalars(scaled(percent, Fraction(1, 100)), number):
            return self._decide(True, "percent")
        left_out = self.policy.percent != "exact" and self._sign_left_out(percent, number)
        return self._decide(left_out, "percent sign left out")

    def _sign_left_out(self, percent: Node, number: Node) -> bool:
        """Whether a number is a percentage without its sign. One up to 1 is a share already: 0.5 is 50 %, not 0.5 %."""
        if self.policy.percent == "scale":
            return self._scalars(percent, number)
        if same_scalars(percent, number, self.policy, self.budget) != "exact value":
            return False
        value = rational(number, self.policy.limits, self.budget)
        return value is not None and abs(value) > 1

    def _degrees(self, left: Node, first: Node, first_unit: str, right: Node, second: Node, second_unit: str) -> bool:
        """Degrees against an angle in radians, which shows a pi or an inverse function, or against a sum of degrees."""
        other, unit = (second, second_unit) if first_unit == "degree" else (first, first_unit)
        if unit not in ("", "radian", "radians", "rad", "rads") or not any(map(_shows_radians, walk(other))):
            return False
        return self._scalars(left if first_unit == "degree" else first, right if second_unit == "degree" else second)

    def _scalars(self, left: Node, right: Node) -> bool:
        rule = same_scalars(left, right, self.policy, self.budget)
        if rule is None and _logs_base_ten(left) != _logs_base_ten(right):
            rule = same_scalars(_base_ten(left), _base_ten(right), self.policy, self.budget)
        if rule is None and (_is_shorthand(left) or _is_shorthand(right)):
            rule = same_scalars(_in_full(left), _in_full(right), self.policy, self.budget)
        return self._decide(rule is not None, rule or "different values")

    def _ratio(self, left: Ratio, right: Node) -> bool:
        if isinstance(right, Ratio):
            if len(left.items) != len(right.items):
                return False
            if all(self._scalars(first, second) for first, second in zip(left.items, right.items, strict=True)):
                return True
            if left.clock or right.clock:
                return False
            parts = zip(left.items[1:], right.items[1:], strict=True)
            return all(
                self._scalars(quotient(left.items[0], first), quotient(right.items[0], second))
                for first, second in parts
            )
        if len(left.items) != 2 or left.clock or not isinstance(right, SCALARS):
            return False
        return self._scalars(quotient(*left.items), right)


def _shows_radians(node: Node) -> bool:
    if isinstance(node, Quantity):
        return node.unit == "degree"
    return node == Const("pi") or (isinstance(node, Func) and node.name.startswith("arc"))


def _multiple_of_pi(node: Node) -> bool:
    return node == Const("pi") or (isinstance(node, Mul) and any(map(_multiple_of_pi, node.factors)))


def _lettered(node: Node) -> Iterator[tuple[Node, str]]:
    """Readings of a product as a number with a unit in letters: ``2.5 m s^{-1}``, and ``25 m g`` as milligrams."""
    if not isinstance(node, Mul) or not isinstance(node.factors[0], Num):
        return
    parts: list[str] = []
    for factor in _flat(node.factors[1:]):
        base, power = _base_and_power(factor)
        if not isinstance(base, Sym) or power.denominator != 1:
            return
        name = _UNIT_LETTERS.get(base.name, base.name)
        parts.append(name if power == 1 else f"{name}^{power}")
    for letters in (" ".join(parts), "".join(parts)):
        if is_known_unit(letters):
            yield node.factors[0], letters


def _base_and_power(node: Node) -> tuple[Node, Fraction]:
    if not isinstance(node, Pow) or not isinstance(node.exponent, Num):
        return node, Fraction(1)
    base, power = _base_and_power(node.base)
    return base, power * node.exponent.value


def _flat(factors: tuple[Node, ...]) -> Iterator[Node]:
    for factor in factors:
        if isinstance(factor, Mul):
            yield from _flat(factor.factors)
        else:
            yield factor


def _is_shorthand(node: Node) -> bool:
    return any(_in_full(part) != part for part in walk(node) if isinstance(part, (Func, Sym)))


def _in_full(node: Node) -> Node:
    """``C(n, k)`` read as a binomial coefficient, ``\\hat{j}`` as the unit vector ``j``."""
    if isinstance(node, Sym) and node.name in _UNIT_VECTORS:
        return _UNIT_VECTORS[node.name]
    node = rebuild(node, _in_full)
    return Func("binom", node.args) if isinstance(node, Func) and node.name == "C" and len(node.args) == 2 else node


def _logs_base_ten(node: Node) -> bool:
    return any(isinstance(part, Func) and part.name == "log" and part.args[1:] == (_TEN,) for part in walk(node))


def _base_ten(node: Node) -> Node:
    """Logarithms without a base read as decimal, as a side that writes its base 10 out suggests."""
    node = rebuild(node, _base_ten)
    return (
        Func("log", (*node.args, _TEN))
        if isinstance(node, Func) and node.name == "log" and len(node.args) == 1
        else node
    )
