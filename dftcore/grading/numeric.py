"""High-precision evaluation at points: the test of identity for roots, transcendental functions and their like.

Values carry 50 digits, and more where an addition would swallow a term: every sum records how far apart its terms
are, and the evaluation is repeated with enough digits to see the smallest. Magnitudes are estimated before a power or
a factorial is taken. mpmath is loaded on first use, in a context of its own per thread.

Usage: ``same_values(left, right, budget)`` is True, False or None (not decided).
"""

from __future__ import annotations

import hashlib
import math
import random
import threading
from fractions import Fraction
from typing import Any

from dftcore.grading.budget import Budget
from dftcore.grading.exact import TooLarge, Undefined
from dftcore.grading.nodes import Add, Const, Func, Matrix, Mul, Node, Num, Pow, Quantity, Sym, rebuild, walk
from dftcore.grading.vocabulary import INVERSES

_DIGITS = 50
_MOST_DIGITS = 1_500
_GUARD = 15  # digits at the end that may be rounding
_MAX_LOG2 = 2.0**40
_INTEGER_FUNCTIONS = frozenset({"floor", "ceil", "gcd", "lcm"})
# Where symbols are sampled, in units of a random number in (0.1, 0.9): within the unit interval twice, then further
# out on both sides, where only real values are compared.
_SCALES = (1, 1, 3, 40, -1, -7)
_WHOLE_POINTS = 40
_COUNTERS = frozenset("ijkmnKMN")
_HYPERBOLIC = frozenset(name for name in INVERSES if name.endswith("h"))
_WITH_POLES = frozenset({"tan", "cot", "sec", "csc"})
_local = threading.local()


def context() -> Any:
    """This thread's own mpmath context."""
    if not hasattr(_local, "context"):
        import mpmath

        _local.context = mpmath.MPContext()
    return _local.context


class Evaluator:
    """Values of scalars at one point. ``lost`` is the widest gap, in digits, between terms that were added."""

    def __init__(self, point: dict[str, Fraction], budget: Budget, digits: int = _DIGITS) -> None:
        self.mp = context() if hasattr(_local, "context") else budget.uncounted(context)
        self.mp.dps = digits
        self.digits = digits
        self.point = point
        self.budget = budget
        self.lost = 0.0
        self.largest: Any = self.mp.zero

    def of(self, node: Node) -> Any:
        """The value as an mpf or mpc. Raises Undefined, TooLarge or TypeError (no scalar)."""
        self.budget.spend(self.digits // 25)
        mp = self.mp
        if isinstance(node, Num):
            return mp.mpf(node.value.numerator) / node.value.denominator
        if isinstance(node, Sym):
            value = self.point[node.name]
            return mp.mpf(value.numerator) / value.denominator
        if isinstance(node, Add):
            return self._sum([self.of(term) for term in node.terms])
        if isinstance(node, Mul):
            result = mp.one
            for factor in node.factors:
                result *= self.of(factor)
            return result
        if isinstance(node, Pow):
            return self.power(self.of(node.base), self.of(node.exponent))
        if isinstance(node, Const) and node.name in ("pi", "e", "i"):
            return {"pi": +mp.pi, "e": +mp.e, "i": mp.mpc(0, 1)}[node.name]
        if isinstance(node, Quantity) and node.unit in ("percent", "degree"):
            return self.of(node.value) * (mp.mpf(1) / 100 if node.unit == "percent" else mp.pi / 180)
        if isinstance(node, Func):
            return self._function(node)
        raise TypeError(type(node).__name__)

    def _sum(self, terms: list[Any]) -> Any:
        sizes = [self.mp.mag(term) for term in terms if term != 0]
        if sizes:
            self.lost = max(self.lost, float(max(sizes) - min(sizes)) * 0.30103)
            self.largest = max(self.largest, *(abs(term) for term in terms))
        return self.mp.fsum(terms)

    def power(self, base: Any, exponent: Any) -> Any:
        if base == 0:
            if self.mp.re(exponent) <= 0:
                raise Undefined
            return self.mp.zero
        if abs(exponent) * (abs(self.mp.mag(base)) + 2) > _MAX_LOG2:
            raise TooLarge
        return self.mp.power(base, exponent)

    def _function(self, node: Func) -> Any:
        if not node.args:  # "cos()"
            raise Undefined
        if node.name in ("sum", "prod") and len(node.args) == 4:
            return self._series(node)
        if node.name == "det" and isinstance(node.args[0], Matrix):
            return self._determinant([[self.of(cell) for cell in row] for row in node.args[0].rows])
        args = [self.of(arg) for arg in node.args]
        known = getattr(self, "_" + node.name, None)
        try:
            if known is not None:
                return known(*args)
            if node.name in ("sin", "cos") and (quarter := self._quarter(args[0])) is not None:
                return self.mp.mpf((0, 1, 0, -1)[(quarter + (node.name == "cos")) % 4])
            plain = _SAME_NAME.get(node.name)
            if plain is not None and len(args) == 1:
                self._count_turns(node.name, args[0])
                value = getattr(self.mp, plain)(args[0])
                beyond = node.name in _WITH_POLES and abs(value) > self.mp.mpf(10) ** (self.digits - _GUARD)
                if beyond or not self.mp.isfinite(value):
                    raise Undefined  # at a pole, but for rounding
                return value
        except (ZeroDivisionError, ValueError):
            raise Undefined from None
        return self.opaque(node.name, args)

    def _quarter(self, angle: Any) -> int | None:
        """How many right angles a real angle is, to its last digits: their sines are exact, and leave no rounding."""
        if self.mp.im(angle) != 0 or not abs(angle) < 10**_GUARD:
            return None
        turns = 2 * self.mp.re(angle) / self.mp.pi
        nearest = int(self.mp.nint(turns))
        return nearest if nearest and abs(turns - nearest) < self.mp.mpf(10) ** (2 * _GUARD - self.digits) else None

    def _count_turns(self, name: str, angle: Any) -> None:
        """What repeats or grows with its argument loses the digits that stand before the argument's point."""
        size = self.mp.mag(angle) if angle != 0 else 0
        if name not in INVERSES or size <= 0:
            return
        before = float(size) * 0.30103
        grows = name in _HYPERBOLIC or self.mp.im(angle) != 0
        if before > _MOST_DIGITS or (grows and size > math.log2(_MAX_LOG2)):
            raise TooLarge
        self.lost = max(self.lost, before)

    def opaque(self, name: str, args: list[Any]) -> Any:
        """A function without a definition: a value as good as random that depends on the arguments only."""
        shown = "".join(self.mp.nstr(self.mp.mpc(arg), 25) + ";" for arg in args)
        digest = hashlib.blake2b((name + ":" + shown).encode(), digest_size=8).digest()
        return self.mp.mpf(int.from_bytes(digest, "big")) / 2**63 + self.mp.mpf(1) / 3

    def _real(self, value: Any) -> Any:
        if self.mp.im(value) != 0:
            raise Undefined
        return self.mp.re(value)

    def _integer(self, value: Any) -> int:
        real = self._real(value)
        if real != self.mp.floor(real) or abs(real) > 10**9:
            raise Undefined
        return int(real)

    def _sqrt(self, value: Any) -> Any:
        return self.mp.sqrt(value)

    def _root(self, value: Any, degree: Any) -> Any:
        if self.mp.im(value) == 0 and self.mp.re(value) < 0 and self._real(degree) % 2 == 1:
            return -self.power(-self.mp.re(value), 1 / degree)  # the real root, as school reads it
        return self.power(value, 1 / degree)

    def _abs(self, value: Any) -> Any:
        return abs(value)

    def _ln(self, value: Any, base: Any = None) -> Any:
        if value == 0 or base == 1 or base == 0:
            raise Undefined
        return self.mp.log(value) if base is None else self.mp.log(value) / self.mp.log(base)

    _log = _ln

    def _lg(self, value: Any) -> Any:
        return self._ln(value, self.mp.mpf(10))

    def _factorial(self, value: Any) -> Any:
        return self._gamma(value + 1)

    def _gamma(self, value: Any) -> Any:
        if abs(value) > 1e9:
            raise TooLarge
        self.budget.spend(self.digits)
        return self.mp.gamma(value)

    def _binom(self, count: Any, chosen: Any) -> Any:
        if max(abs(count), abs(chosen)) > 1e9:
            raise TooLarge
        self.budget.spend(self.digits)
        return self.mp.binomial(count, chosen)

    def _floor(self, value: Any) -> Any:
        return self.mp.floor(self._real(value))

    def _ceil(self, value: Any) -> Any:
        return self.mp.ceil(self._real(value))

    def _max(self, *values: Any) -> Any:
        return max(map(self._real, values))

    def _min(self, *values: Any) -> Any:
        return min(map(self._real, values))

    def _gcd(self, *values: Any) -> Any:
        return self.mp.mpf(math.gcd(*map(self._integer, values)))

    def _lcm(self, *values: Any) -> Any:
        return self.mp.mpf(math.lcm(*map(self._integer, values)))

    def _series(self, node: Func) -> Any:
        """A finite sum or product term by term; one whose bounds stay unknown is opaque in bounds and body."""
        variable, low, high, body = node.args
        name = variable.name if isinstance(variable, Sym) else "?"
        first, last = self.of(low), self.of(high)
        outer = self.point.get(name)
        try:
            if first != self.mp.floor(self._real(first)) or last != self.mp.floor(self._real(last)):
                self.point[name] = Fraction(7, 13)
                return self.opaque(node.name, [first, last, self.of(_as_symbol(body, name))])
            if last - first > 2_000:
                raise TooLarge
            body = _as_symbol(body, name)
            terms = []
            for index in range(int(first), int(last) + 1):
                self.point[name] = Fraction(index)
                terms.append(self.of(body))
        finally:
            if outer is None:
                self.point.pop(name, None)
            else:
                self.point[name] = outer
        return self._sum(terms) if node.name == "sum" else self.mp.fprod(terms)

    def _determinant(self, rows: list[list[Any]]) -> Any:
        size = len(rows)
        if any(len(row) != size for row in rows):
            raise Undefined
        result = self.mp.one
        for column in range(size):
            self.budget.spend(size * size)
            pivot = max(range(column, size), key=lambda row: abs(rows[row][column]))
            if rows[pivot][column] == 0:
                return self.mp.zero
            if pivot != column:
                rows[pivot], rows[column] = rows[column], rows[pivot]
                result = -result
            result *= rows[column][column]
            for row in range(column + 1, size):
                scale = rows[row][column] / rows[column][column]
                rows[row] = [below - scale * above for below, above in zip(rows[row], rows[column], strict=True)]
        return result


_SAME_NAME = {
    **{name: name for name in INVERSES},
    **{inverse: "a" + name for name, inverse in INVERSES.items()},
    "sgn": "sign", "arg": "arg",
}  # fmt: skip


def _as_symbol(body: Node, name: str) -> Node:
    """Inside ``\\sum_{i=1}^{n}`` the letter i counts; it is not the imaginary unit."""
    if name not in ("i", "e"):
        return body
    return Sym(name) if body == Const(name) else rebuild(body, lambda part: _as_symbol(part, name))


def constant_value(node: Node, budget: Budget, digits: int = _DIGITS) -> Any:
    """The value of an expression without symbols. Raises what ``Evaluator.of`` raises."""
    return Evaluator({}, budget, digits).of(node)


def symbols(*nodes: Node) -> set[str]:
    return {part.name for node in nodes for part in walk(node) if isinstance(part, Sym)}


def _whole(name: str, index: int, alone: bool, source: random.Random) -> Fraction:
    """A sample for a letter where floors or signs ask for whole numbers. Letters that usually count are whole; the
    others are whole and broken by turns, and negative at times: a real x tells x from its floor and ``\\lfloor x
    \\rfloor + 1`` from its ceiling. One letter alone runs through numbers, since floors may differ at few of them."""
    number = index + 1 if alone else source.randint(1, 3 + index)
    if name[0] in _COUNTERS:
        return Fraction(number)
    return Fraction(number // 2 - 4) + (Fraction(0), Fraction(1, 7), Fraction(5, 7))[index % 3]


def points(*nodes: Node) -> list[dict[str, Fraction]]:
    """Deterministic sample points for the symbols of ``nodes``: integers where the expressions ask for them."""
    names = sorted(symbols(*nodes))
    source = random.Random(20_241 + len(names))
    counting = any(
        (isinstance(part, Func) and part.name in _INTEGER_FUNCTIONS)
        or (isinstance(part, Pow) and isinstance(part.base, Num) and part.base.value < 0 and symbols(part.exponent))
        for node in nodes
        for part in walk(node)
    )
    if counting:
        return [
            {name: _whole(name, index, len(names) == 1, source) for name in names} for index in range(_WHOLE_POINTS)
        ]
    made: list[dict[str, Fraction]] = []
    for scale in _SCALES if names else (1,):
        point = {name: Fraction(source.randint(10_000, 90_000), 100_003) * abs(scale) for name in names}
        if scale < 0:
            point = {name: value * source.choice((-1, -1, 1)) for name, value in point.items()}
        made.append(point)
    return made


def same_at(left: Node, right: Node, point: dict[str, Fraction], budget: Budget, real_only: bool) -> bool | None:
    """Whether the values agree at one point; None where one has no (real) value there.

    A difference that is rounding shrinks when digits are added; a real one stays.
    """
    digits, before = _DIGITS, None
    while True:
        evaluator = Evaluator(dict(point), budget, digits)
        mp = evaluator.mp
        try:
            first, second = evaluator.of(left), evaluator.of(right)
        except (Undefined, ZeroDivisionError):
            return None
        if not (mp.isfinite(first) and mp.isfinite(second)):
            return None
        complex_sides = _is_complex(mp, first, digits) + _is_complex(mp, second, digits)
        if point and complex_sides and (real_only or complex_sides == 1):
            return None  # outside the domain of one side, or on another branch of a root
        gap = abs(first - second)
        if evaluator.lost < digits - 2 * _GUARD:
            tiny = mp.mpf(10) ** (2 * _GUARD - digits)  # of this size beside zero: rounding, if it shrinks
            if gap > max(max(abs(first), abs(second)) * mp.mpf(10) ** -_GUARD, tiny) and evaluator.lost < _GUARD:
                return False
            if before is not None:
                scale = max(abs(first), abs(second), evaluator.largest, 0 if before == mp.inf else 1)
                return bool(gap <= before * mp.mpf(10) ** -_GUARD and gap <= scale * mp.mpf(10) ** (_GUARD - digits))
            before = gap if gap else mp.inf
            digits += 2 * _GUARD
        else:
            digits = int(evaluator.lost) + 3 * _GUARD + 5
        if digits > _MOST_DIGITS:
            raise TooLarge


def _is_complex(mp: Any, value: Any, digits: int) -> bool:
    return bool(abs(mp.im(value)) > abs(value) * mp.mpf(10) ** (_GUARD - digits))


def same_values(left: Node, right: Node, budget: Budget) -> bool | None:
    """Whether two scalars agree wherever they are sampled: fully inside the unit interval, as reals elsewhere (so
    that ``\\sqrt{1/n}`` is ``1/\\sqrt{n}`` but ``|x|`` is not ``x``). None when no point decides."""
    sampled = points(left, right)
    decided = 0
    for index, point in enumerate(sampled):
        try:
            same = same_at(left, right, point, budget, real_only=bool(point) and index >= 2)
        except TooLarge:
            same = None
        if same is False:
            return False
        decided += same is True
    return True if decided >= min(2, len(sampled)) else None
