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
_SHORT_PREFIXES = {"k": 3, "c": -2, "m": -3, "n": -9, "M": 6, "G": 9, "p": -12, "d": -1, "µ": -6}
# Units that take prefixes: symbol, dimension, names.
_METRIC = """
m length meter metre / g mass gram / s time second / L volume liter litre / J energy joule / W power watt
N force newton / V voltage volt / A current ampere amp / Hz frequency hertz / Pa pressure pascal / mol amount mole
eV electronvolt electronvolt / ohm resistance ohm / F capacitance farad / C charge coulomb / T field tesla
K temperature kelvin / cal calorie calorie / pc parsec parsec
"""
# Units that do not: dimension, then names and sizes.
_PLAIN = """
length inch 0.0254 in 0.0254 foot 0.3048 feet 0.3048 ft 0.3048 yard 0.9144 yd 0.9144 mile 1609.344 mi 1609.344
length angstrom 1e-10 aa 1e-10 au 149597870700
energy kwh 3600000 erg 1e-7 / force dyn 1e-5 dyne 1e-5 / pressure atm 101325 torr 133.322 mmhg 133.322
time minute 60 min 60 hour 3600 hr 3600 h 3600 sec 1 day 86400 week 604800
month month 1 year 12 yr 12 kyr 12e3 myr 12e6 gyr 12e9
pound pound 1 lb 1 ounce 1/16 oz 1/16 / ton ton 1 / dozen dozen 1 / acre acre 1
dollar dollar 1 usd 1 cent 1/100 / euro euro 1 / yen yen 1 / gallon gallon 1 gal 1 quart 1/4 pint 1/8 cup 1/16
degree degree 1 deg 1 arcmin 1/60 arcminute 1/60 arcsec 1/3600 arcsecond 1/3600
radian radian 1 rad 1 / unit unit 1 / percent percent 1 / rpm rpm 1
"""
_LONG: dict[str, str] = {}  # name to symbol
_SHORT: dict[str, str] = {}  # symbol to dimension
for _entry in _METRIC.replace("\n", "/").split("/"):
    if _entry.strip():
        _symbol, _dimension, *_names = _entry.split()
        _SHORT[_symbol] = _dimension
        _LONG |= dict.fromkeys(_names, _symbol)
_OTHERS: dict[str, tuple[str, Fraction]] = {}
for _entry in re.split(r"\n| / ", _PLAIN):
    if _entry.strip():
        _dimension, *_pairs = _entry.split()
        _OTHERS |= {
            _name: (_dimension, Fraction(_size)) for _name, _size in zip(_pairs[::2], _pairs[1::2], strict=True)
        }
# What the dimensions with names of their own are made of, and the size in these of the unit that has size 1 above.
_DERIVED: dict[str, tuple[dict[str, int], Fraction]] = {
    "volume": ({"length": 3}, Fraction(1, 1000)),
    "frequency": ({"time": -1}, Fraction(1)),
    "force": ({"mass": 1, "length": 1, "time": -2}, Fraction(1000)),
    "energy": ({"mass": 1, "length": 2, "time": -2}, Fraction(1000)),
    "power": ({"mass": 1, "length": 2, "time": -3}, Fraction(1000)),
    "pressure": ({"mass": 1, "length": -1, "time": -2}, Fraction(1000)),
    "charge": ({"current": 1, "time": 1}, Fraction(1)),
    "voltage": ({"mass": 1, "length": 2, "time": -3, "current": -1}, Fraction(1000)),
    "resistance": ({"mass": 1, "length": 2, "time": -3, "current": -2}, Fraction(1000)),
    "capacitance": ({"mass": -1, "length": -2, "time": 4, "current": 2}, Fraction(1, 1000)),
    "field": ({"mass": 1, "time": -2, "current": -1}, Fraction(1000)),
}
_COMPOUND = {"mph": "mile/hour", "kph": "km/hour", "kmh": "km/hour", "kmph": "km/hour", "cc": "cm^3", "sq": "square"}
# Words that multiply the number before them: "5 million" is no more 5 than 500 is.
SCALE_WORDS = {
    "dozen": 12, "score": 20, "gross": 144, "hundred": 10**2, "thousand": 10**3, "myriad": 10**4, "lakh": 10**5,
    "million": 10**6, "crore": 10**7, "billion": 10**9, "trillion": 10**12, "quadrillion": 10**15,
    "quintillion": 10**18, "sextillion": 10**21, "googol": 10**100,
}  # fmt: skip
PERCENT_WORDS = frozenset({"percent", "percentage", "pct", "percents"})
_SPLIT = re.compile(r"\s*(/|\bper\b|\*|\\cdot|\\times|\s|(?<!\^)-)\s*")
_POWER = re.compile(r"(?:\^|\*\*)\s*\{?\s*(-?\d)\s*\}?$")


@lru_cache(maxsize=1024)
def _simple(name: str) -> tuple[str, Fraction] | None:
    """Dimension and size of one unit word, or None."""
    for word in (name, name.lower()):
        for form in (word, word[:-1] if word.endswith("s") else word, word[:-2] if word.endswith("es") else word):
            if form in _OTHERS:
                return _OTHERS[form]
            if form in _LONG:
                return _SHORT[_LONG[form]], Fraction(1)
            for prefix, power in _PREFIXES.items():
                rest = form.removeprefix(prefix)
                if rest != form and rest in _LONG:
                    return _SHORT[_LONG[rest]], Fraction(10) ** power
    if name in _SHORT:
        return _SHORT[name], Fraction(1)
    if name[:1] in _SHORT_PREFIXES and name[1:] in _SHORT:
        return _SHORT[name[1:]], Fraction(10) ** _SHORT_PREFIXES[name[0]]
    return None


def is_unit_word(word: str) -> bool:
    """Whether a bare word of two letters or more after a number can only be a unit."""
    low = word.lower()
    known = low in PERCENT_WORDS or low in _COMPOUND or low in ("square", "cubic", "degrees", "per")
    return len(word) > 1 and (known or _simple(word) is not None)


def is_unit_symbol(word: str) -> bool:
    """Whether a word is a unit, single letters such as ``m`` included."""
    return is_unit_word(word) or _simple(word) is not None


@lru_cache(maxsize=1024)
def unit(text: str) -> Unit:
    """Dimensions with their powers, and size in base units. Words that are no unit become dimensions of their own."""
    powers: dict[str, int] = {}
    size, sign, next_power = Fraction(1), 1, 1
    last: tuple[str, Fraction, int] | None = None
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
            if word.lower() not in ("squared", "cubed"):
                next_power = 3 if word.lower() == "cubic" else 2
            elif last:  # "centimeters squared" raises the unit before it
                more = 2 if word.lower() == "cubed" else 1
                powers[last[0]] += more * last[2]
                size *= last[1] ** (more * last[2])
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
            factor = known[1] if known else Fraction(1)
            size *= factor**power
            last = name, factor, sign
        sign, next_power = 1, 1
    return tuple(sorted((name, power) for name, power in powers.items() if power)), size


def _taken_apart(measured: Unit) -> Unit:
    """A unit in those that derived ones are made of: a newton is 1000 g m/s^2."""
    powers: dict[str, int] = {}
    dimensions, size = measured
    for name, power in dimensions:
        parts, factor = _DERIVED.get(name, ({name: 1}, Fraction(1)))
        size *= factor**power
        for part, count in parts.items():
            powers[part] = powers.get(part, 0) + count * power
    return tuple(sorted((name, power) for name, power in powers.items() if power)), size


def is_known_unit(text: str) -> bool:
    """Whether every word of a stated unit is a unit of measure."""
    return bool(unit(text)[0]) and not any(name.startswith("word:") for name, _ in unit(text)[0])


def agree(left: str, right: str) -> Fraction | None:
    """How many of ``right`` make one of ``left``; None when they measure different things. One side may describe what
    it counts in more words (``red balls``, ``balls``), as long as the other contradicts none of them."""
    left_dimensions, left_size = unit(left)
    right_dimensions, right_size = unit(right)
    if left_dimensions == right_dimensions:
        return left_size / right_size
    first, second = _taken_apart(unit(left)), _taken_apart(unit(right))
    if first[0] == second[0]:
        return first[1] / second[1]
    fewer, more = sorted((set(left_dimensions), set(right_dimensions)), key=len)
    described = all(name.startswith("word:") and power > 0 for name, power in more - fewer)
    return left_size / right_size if fewer and fewer < more and described else None
