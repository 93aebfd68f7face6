"""What counts as the same answer, and how much work one comparison may take: one frozen dataclass, three presets.

Tolerance, the only place it is stated. A *decimal* is a literal with a point or an exponent (``0.083``, ``3.8e35``,
``3.8\\times 10^{35}``); everything else (``1/12``, ``\\sqrt{2}``, ``15625``) is *exact*.

    exact against exact     equal as numbers, nothing less
    decimal against exact   the exact value, rounded to the digits that the decimal shows, is the decimal; an exact
                            integer must be met exactly; float noise past the 15th digit is forgiven
    decimal against decimal equal at the coarser of the two precisions
    always                  never looser than ``min_significant`` significant digits

Usage: ``check(gold, prediction, policy=PRESETS["qwen-compatible"])``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on one comparison; past any of them the text is only compared as text, or the status says ``limit``."""

    chars: int = 8_000  # longest text that is parsed
    depth: int = 48  # deepest nesting
    digits: int = 2_000  # longest numeral
    bits: int = 200_000  # largest exact integer that is computed
    steps: int = 60_000  # units of work of one comparison
    seconds: float = 0.4  # processor time of one comparison; ten times that on the clock


@dataclass(frozen=True, slots=True)
class Policy:
    """Every choice that changes a verdict.

    ``relative_tolerance``: two numbers this close are equal (None: the digits shown decide, as above).
    ``decimal_places``: numbers equal after rounding to this many places are equal (None: not used).
    ``percent``: ``"optional"`` lets a percent sign be left out (``28\\%`` is 28 or 0.28); ``"exact"`` reads it as
    /100 only; ``"scale"`` also takes a number for 100 times or a hundredth of it.
    ``units``: ``"optional"`` lets one side leave its unit out, and two stated units must agree; ``"ignore"`` drops
    them; ``"required"`` needs the same on both sides.
    ``ordered_lists``: bare lists (``1, 2``) compare in order.
    ``tuples_as_sets``: ``(1,3)`` may equal ``\\{3,1\\}``.
    ``decimal_comma``: ``1,22`` may be read as 1.22.
    ``last_number``: a completion without box or anchor yields its last number, whatever mathematics it holds.
    """

    name: str = "strict"
    min_significant: int = 3
    relative_tolerance: float | None = None
    decimal_places: int | None = None
    percent: str = "optional"
    units: str = "optional"
    ordered_lists: bool = False
    tuples_as_sets: bool = False
    decimal_comma: bool = False
    last_number: bool = False
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        choices = {"percent": ("optional", "exact", "scale"), "units": ("optional", "ignore", "required")}
        for field, allowed in choices.items():
            value = getattr(self, field)
            if value not in allowed:
                raise ValueError(f"policy {field}={value!r}: choose one of {', '.join(allowed)}")


STRICT = Policy()
PolicyName = Literal["strict", "qwen-compatible", "math-verify-compatible"]
PRESETS: dict[PolicyName, Policy] = {
    "strict": STRICT,
    # Only to compare with figures published with the Qwen2.5-Math grader.
    "qwen-compatible": Policy(
        name="qwen-compatible", relative_tolerance=1e-4, percent="scale", units="ignore", last_number=True
    ),
    # Only to compare with figures published with Math-Verify.
    "math-verify-compatible": Policy(
        name="math-verify-compatible", decimal_places=6, units="ignore", tuples_as_sets=True, decimal_comma=True
    ),
}


def policy_named(policy: Policy | str | None) -> Policy:
    """The policy itself, the preset of that name, or the strict default for None; ValueError names the presets."""
    if policy is None:
        return STRICT
    if isinstance(policy, Policy):
        return policy
    if policy not in PRESETS:
        raise ValueError(f"unknown policy {policy!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[policy]
