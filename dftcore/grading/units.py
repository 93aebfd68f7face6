"""Units of measure: what they measure and how large they are, so that two stated units can be compared.

Usage: ``unit("square feet") == unit("ft^2")``; an unknown word is its own dimension.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

Unit = tuple[tuple[tuple[str, int], ...], Fraction]

_PREFIXES = {
    "kilo": 3,
    "centi": -2,
    "milli": -3,
    "micro": -6,
    "nano": -9,
    "mega": 6,
    "giga": 9,
    "pico": -12,
    "deci": -1,
}
_SHORT_PREFIXES = {"k": 3, "c": -2, "m": -3, "n": -9, "M": 6, "G": 9, "p": -12, "d": -1}
_LONG = {"meter": "m", "metre": "m", "gram": "g", "second": "s", "liter": "L", "litre": "L", "joule": "J", "watt": "W",
         "newton": "N", "volt": "V", "ampere": "A", "hertz": "Hz", "pascal": "Pa", "mole": "mol", "electronvolt": "eV",
         "ohm": "ohm", "farad": "F", "coulomb": "C", "tesla": "T", "kelvin": "K", "calorie": "cal", "parsec": "pc"}  # fmt: skip
_SHORT = {"m": ("length", 1), "g": ("mass", 1), "s": ("time", 1), "L": ("volume", 1), "J": ("energy", 1),
          "W": ("power", 1), "N": ("force", 1), "V": ("voltage", 1), "A": ("current", 1), "Hz": ("frequency", 1),
          "Pa": ("pressure", 1), "mol": ("amount", 1), "eV": ("electronvolt", 1), "ohm": ("resistance", 1),
          "F": ("capacitance", 1), "C": ("charge", 1), "T": ("field", 1), "K": ("temperature", 1), "cal": ("calorie", 1),
          "pc": ("parsec", 1)}  # fmt: skip
_OTHERS: dict[str, tuple[str, Fraction]] = {
    "inch": ("length", Fraction(254, 10000)), "in": ("length", Fraction(254, 10000)), "foot": ("length", Fraction(3048, 10000)),
    "feet": ("length", Fraction(3048, 10000)), "ft": ("length", Fraction(3048, 10000)), "yard": ("length", Fraction(9144, 10000)),
    "yd": ("length", Fraction(9144, 10000)), "mile": ("length", Fraction(1609344, 1000)), "mi": ("length", Fraction(1609344, 1000)),
    "minute": ("time", Fraction(60)), "min": ("time", Fraction(60)), "hour": ("time", Fraction(3600)), "hr": ("time", Fraction(3600)),
    "sec": ("time", Fraction(1)), "day": ("time", Fraction(86400)), "week": ("time", Fraction(604800)),
    "month": ("month", Fraction(1)), "year": ("month", Fraction(12)), "yr": ("month", Fraction(12)),
    "pound": ("pound", Fraction(1)), "lb": ("pound", Fraction(1)), "ounce": ("pound", Fraction(1, 16)), "oz": ("pound", Fraction(1, 16)),
    "ton": ("ton", Fraction(1)), "dollar": ("dollar", Fraction(1)), "usd": ("dollar", Fraction(1)), "cent": ("dollar", Fraction(1, 100)),
    "euro": ("euro", Fraction(1)), "yen": ("yen", Fraction(1)), "gallon": ("gallon", Fraction(1)), "gal": ("gallon", Fraction(1)),
    "quart": ("gallon", Fraction(1, 4)), "pint": ("gallon", Fraction(1, 8)), "cup": ("gallon", Fraction(1, 16)),
    "degree": ("degree", Fraction(1)), "deg": ("degree", Fraction(1)), "radian": ("radian", Fraction(1)), "rad": ("radian", Fraction(1)),
    "unit": ("unit", Fraction(1)), "percent": ("percent", Fraction(1)), "angstrom": ("length", Fraction(1, 10**10)),
    "dozen": ("dozen", Fraction(1)), "acre": ("acre", Fraction(1)), "rpm": ("rpm", Fraction(1)),
}  # fmt: skip
_COMPOUND = {"mph": "mile/hour", "kph": "km/hour", "kmh": "km/hour", "kmph": "km/hour", "cc": "cm^3", "sq": "square"}
PERCENT_WORDS = frozenset({"percent", "percentage", "pct", "percents"})
_SPLIT = re.compile(r"\s*(/|\bper\b|\*|\\cdot|\\times|\s|-)\s*")
_POWER = re.compile(r"(?:\^|\*\*)\s*\{?\s*(-?\d)\s*\}?$")


@lru_cache(maxsize=1024)
def _simple(name: str) -> tuple[str, Fraction] | None:
    """Dimension and size of one unit word, or None."""
    for word in (name, name.lower()):
        for form in (word, word[:-1] if word.endswith("s") else word, word[:-2] if word.endswith("es") else word):
            if form in _OTHERS:
                return _OTHERS[form]
            if form in _LONG:
                return _SHORT[_LONG[form]][0], Fraction(1)
            for prefix, power in _PREFIXES.items():
                rest = form.removeprefix(prefix)
                if rest != form and rest in _LONG:
                    return _SHORT[_LONG[rest]][0], Fraction(10) ** power
    if name in _SHORT:
        return _SHORT[name][0], Fraction(1)
    if name[:1] in _SHORT_PREFIXES and name[1:] in _SHORT:
        return _SHORT[name[1:]][0], Fraction(10) ** _SHORT_PREFIXES[name[0]]
    return None


def is_unit_word(word: str) -> bool:
    """Whether a bare word of two letters or more after a number can only be a unit."""
    low = word.lower()
    known = low in PERCENT_WORDS or low in _COMPOUND or low in ("square", "cubic", "degrees", "per")
    return len(word) > 1 and (known or _simple(word) is not None)


@lru_cache(maxsize=1024)
def unit(text: str) -> Unit:
    """Dimensions with their powers, and size in base units. Words that are no unit become dimensions of their own."""
    powers: dict[str, int] = {}
    size, sign, next_power = Fraction(1), 1, 1
    for part in _SPLIT.split(text.strip().replace("{", "").replace("}", "")):
        word = part.strip(" .,()\\")
        if part in ("/", "per"):
            sign = -1
            continue
        if not word or word in ("*", "cdot", "times", "-", "of", "the", "a", "an", "each"):
            continue
        power_match = _POWER.search(word)
        power = (int(power_match.group(1)) if power_match else 1) * sign * next_power
        word = word[: power_match.start()].strip() if power_match else word
        if word.lower() in ("square", "sq", "squared", "cubic", "cubed"):
            if word.lower() in ("squared", "cubed"):
                continue
            next_power = 3 if word.lower() == "cubic" else 2
            continue
        if word.lower() in _COMPOUND:
            dimensions, factor = unit(_COMPOUND[word.lower()])
            for name, count in dimensions:
                powers[name] = powers.get(name, 0) + count * power
            size *= factor**power
        else:
            known = _simple(word)
            name = known[0] if known else "word:" + word.lower().removesuffix("s")
            powers[name] = powers.get(name, 0) + power
            size *= known[1] ** power if known else 1
        sign, next_power = 1, 1
    return tuple(sorted((name, power) for name, power in powers.items() if power)), size


def agree(left: str, right: str) -> Fraction | None:
    """How many of ``right`` make one of ``left``; None when they measure different things. Words that are not units
    agree when they share a word."""
    left_dimensions, left_size = unit(left)
    right_dimensions, right_size = unit(right)
    if left_dimensions == right_dimensions:
        return left_size / right_size
    left_words = {name for name, _ in left_dimensions if name.startswith("word:")}
    right_words = {name for name, _ in right_dimensions if name.startswith("word:")}
    return Fraction(1) if left_words & right_words else None
