"""Exact arithmetic: rational values, and identity of rational functions in a finite field.

``rational`` computes a constant as a Fraction and refuses, by an estimate made first, what would be too large.
``Residues`` maps an expression into the integers modulo a prime: symbols, pi and e become random residues, i a square
root of -1, and other functions random values that depend on their arguments only. Equal expressions have equal
residues. Rational functions with equal residues at two primes are equal but for a chance near 1e-17, however large
their numbers are: ``2^{1000000}`` and ``2^{1000000}+1`` take microseconds.

Usage: ``rational(node, limits, budget)``; ``same_residues(left, right, limits, budget)``.
"""

from __future__ import annotations

import hashlib
import math
import os
from fractions import Fraction

from dftcore.grading.budget import Budget
from dftcore.grading.nodes import Add, Const, Func, Matrix, Mul, Node, Num, Pow, Quantity, Sym, walk
from dftcore.grading.policy import Limits


class Undefined(Exception):
    """The expression has no finite value: a division by zero or its like."""


class TooLarge(Exception):
    """The value is past the limits; nothing was computed."""


def rational(node: Node, limits: Limits, budget: Budget) -> Fraction | None:
    """The value of a rational constant, None when it is not known to be one. Raises Undefined or TooLarge."""
    budget.spend()
    if isinstance(node, Num):
        return node.value
    if isinstance(node, Add):
        total = Fraction(0)
        for term in node.terms:
            value = rational(term, limits, budget)
            if value is None:
                return None
            total += value
        return total
    if isinstance(node, Mul):
        result: Fraction | None = Fraction(1)
        for factor in node.factors:
            value = rational(factor, limits, budget)  # every factor is looked at: a later one may be undefined
            if value is None or result is None:
                result = None
                continue
            if result and _bits(result) + _bits(value) > limits.bits:
                raise TooLarge
            result *= value
        return result
    if isinstance(node, Pow):
        return _power(node, limits, budget)
    if isinstance(node, Quantity) and node.unit == "percent":
        value = rational(node.value, limits, budget)
        return None if value is None else value / 100
    if isinstance(node, Func):
        values = [rational(arg, limits, budget) for arg in node.args if not isinstance(arg, Matrix)]
        known = [value for value in values if value is not None]
        return _function(node.name, known, limits) if len(known) == len(values) > 0 else None
    return None


def _bits(value: Fraction) -> int:
    return value.numerator.bit_length() + value.denominator.bit_length()


def _power(node: Pow, limits: Limits, budget: Budget) -> Fraction | None:
    base = rational(node.base, limits, budget)
    exponent = rational(node.exponent, limits, budget)
    if base is None or exponent is None:
        return None
    if base == 0:
        if exponent <= 0:
            raise Undefined
        return Fraction(0)
    if exponent.denominator != 1:
        root = _root(base, exponent.denominator)
        return None if root is None else _power(Pow(Num(root), Num(Fraction(exponent.numerator))), limits, budget)
    if abs(base) == 1:
        return base if exponent.numerator % 2 else Fraction(1)
    if abs(exponent.numerator) * _bits(base) > limits.bits:
        raise TooLarge
    return base**exponent.numerator


def _root(value: Fraction, degree: int) -> Fraction | None:
    """The exact real root of a non-negative rational, if it is rational."""
    if value < 0 or degree > 64:
        return None
    top, bottom = _integer_root(value.numerator, degree), _integer_root(value.denominator, degree)
    return None if top is None or bottom is None else Fraction(top, bottom)


def _integer_root(value: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(value)
    elif value.bit_length() > 1_000:
        return None
    else:
        root = 1 << -(-value.bit_length() // degree)
        while value and (better := ((degree - 1) * root + value // root ** (degree - 1)) // degree) < root:
            root = better
        root = root if value else 0
    return root if root**degree == value else None


def _function(name: str, args: list[Fraction], limits: Limits) -> Fraction | None:
    integers = all(arg.denominator == 1 for arg in args)
    first = args[0]
    if name == "factorial" and integers:
        if first < 0:
            raise Undefined
        count = first.numerator
        if count * max(count.bit_length(), 1) > limits.bits:
            raise TooLarge
        return Fraction(math.factorial(count))
    if name == "double factorial" and integers and first >= 0:
        count = first.numerator
        if count * max(count.bit_length(), 1) > limits.bits:
            raise TooLarge
        return Fraction(math.prod(range(count, 0, -2)))
    if name == "binom" and integers and len(args) == 2 and first >= 0 <= args[1]:
        count, chosen = first.numerator, args[1].numerator
        if min(chosen, abs(count - chosen)) * count.bit_length() > limits.bits:
            raise TooLarge
        return Fraction(math.comb(count, chosen))
    if name in ("gcd", "lcm") and integers:
        whole = [arg.numerator for arg in args]
        return Fraction(math.gcd(*whole) if name == "gcd" else math.lcm(*whole))
    if name in ("max", "min"):
        return max(args) if name == "max" else min(args)
    if name == "abs":
        return abs(first)
    if name in ("floor", "ceil"):
        return Fraction(math.floor(first) if name == "floor" else math.ceil(first))
    if name == "sqrt":
        return _root(first, 2)
    if name == "root" and args[1].denominator == 1 and args[1] > 0:
        degree = args[1].numerator
        if first < 0 and degree % 2:
            root = _root(-first, degree)
            return None if root is None else -root
        return _root(first, degree)
    return None


_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)  # decide primality below 3.3e24 (Sorenson and Webster 2015)


def _is_prime(number: int) -> bool:
    """Miller-Rabin, certain for the sizes used here."""
    twos = ((number - 1) & (1 - number)).bit_length() - 1
    for witness in _WITNESSES:
        power = pow(witness, (number - 1) >> twos, number)
        if power not in (1, number - 1) and all(
            (power := power * power % number) != number - 1 for _ in range(twos - 1)
        ):
            return False
    return True


def _random_prime() -> int:
    """Of 62 bits and the form 4k + 1, so that -1 has a square root."""
    while not _is_prime(number := 1 << 61 | int.from_bytes(os.urandom(8), "big") >> 5 << 2 | 1):
        pass
    return number


# Drawn anew in every process: a text made to coincide modulo known primes would pass for any other.
PRIMES = (_random_prime(), _random_prime())


def _digest(*parts: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=16).digest(), "big")


class Residues:
    """Values modulo one prime. ``opaque`` tells whether a function stood in that arithmetic alone cannot decide."""

    def __init__(self, prime: int, limits: Limits, budget: Budget) -> None:
        self.prime = prime
        self.limits = limits
        self.budget = budget
        self.opaque = False
        self.i = next(
            root for base in range(2, 50) if (root := pow(base, (prime - 1) // 4, prime)) ** 2 % prime == prime - 1
        )

    def free(self, *key: object) -> int:
        """A residue as good as random, the same for the same key."""
        return _digest(self.prime, *key) % (self.prime - 2) + 1

    def of(self, node: Node) -> int:
        """The residue of a scalar. Raises Undefined, TooLarge or TypeError (not a scalar)."""
        self.budget.spend()
        prime = self.prime
        if isinstance(node, Num):
            return node.value.numerator * self.inverse(node.value.denominator) % prime
        if isinstance(node, Sym):
            return self.free("symbol", node.name)
        if isinstance(node, Add):
            return sum(map(self.of, node.terms)) % prime
        if isinstance(node, Mul):
            result = 1
            for factor in node.factors:
                result = result * self.of(factor) % prime
            return result
        if isinstance(node, Pow):
            return self._power(node)
        if isinstance(node, Const) and node.name in ("pi", "e", "i"):
            return self.i if node.name == "i" else self.free("constant", node.name)
        if isinstance(node, Quantity) and node.unit in ("percent", "degree"):
            scale = self.inverse(100) if node.unit == "percent" else self.free("constant", "pi") * self.inverse(180)
            return self.of(node.value) * scale % prime
        if isinstance(node, Func):
            value = rational(node, self.limits, self.budget) if not _has_symbols(node) else None
            if value is not None:
                return self.of(Num(value))
            self.opaque = True
            return self.free(node.name, *map(self._argument, node.args))
        raise TypeError(type(node).__name__)

    def _argument(self, node: Node) -> object:
        return tuple(tuple(map(self.of, row)) for row in node.rows) if isinstance(node, Matrix) else self.of(node)

    def inverse(self, value: int) -> int:
        if value % self.prime == 0:
            raise Undefined
        return pow(value, -1, self.prime)

    def _power(self, node: Pow) -> int:
        base = self.of(node.base)
        exponent = rational(node.exponent, self.limits, self.budget)
        if exponent is not None and exponent.denominator == 1:
            if base == 0 and exponent <= 0:
                raise Undefined
            power = exponent.numerator
            return (
                pow(self.inverse(base) if power < 0 else base, abs(power) % (self.prime - 1), self.prime) if base else 0
            )
        self.opaque = True
        return self.free("power", base, exponent if exponent is not None else self.of(node.exponent))


def _has_symbols(node: Node) -> bool:
    return any(isinstance(part, Sym) for part in walk(node))


def same_residues(left: Node, right: Node, limits: Limits, budget: Budget) -> bool | None:
    """True or False when residues decide, None when functions or roots are involved and they differ."""
    for prime in PRIMES:
        field = Residues(prime, limits, budget)
        if field.of(left) != field.of(right):
            return None if field.opaque else False
    return True
