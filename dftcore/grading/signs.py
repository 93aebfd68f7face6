"""Units written as signs: ``5 \\Omega``, ``5 \\mathrm{\\AA}``, ``2 M_{\\odot}``, ``45^\\circ 30'``, in words.

The same signs are variables elsewhere: an angular velocity, a mass. They are units only where nothing but one number
stands before them and nothing after; a prefix counts only when marked as text, since ``k\\Omega`` may be a product.

Usage: ``spelled_units(r"5 \\Omega")`` is ``"5 \\text{ ohm}"``.
"""

from __future__ import annotations

import re
from fractions import Fraction

_GAP = r"(?:[\s~]|\\[,;:! ])*"
_MARK = r"\\(?:text|mathrm|rm)\s*\{"
_SIGN = re.compile(
    rf"(?:{_MARK}{_GAP}(?:([kMGm])\s*\}}?{_GAP}|µ|\\mu\s*\}}?{_GAP}))?(?:{_MARK}{_GAP})?\\(Omega|AA)\s*\}}?\s*$"
)
_SUN = re.compile(rf"(?:{_MARK}\s*([MLR])\s*\}}|([MLR]))\s*_\s*(?:\{{\s*)?\\odot\s*\}}?\s*$")
_ONE_NUMBER = re.compile(
    r"(?:[-+\d.,{}^*/\s!~]|\\(?:times|cdot|[dt]?frac)(?![A-Za-z])|\\[,;:! ])*\d(?:[}\s~]|\\[,;:! ])*"
)
_ARC = re.compile(
    r"(-?)(\d{1,6})\s*\^\s*(?:\{\s*)?\\circ\s*\}?\s*(\d{1,2})\s*(?:'|\^\s*(?:\{\s*)?\\prime\s*\}?)"
    r"(?:\s*(\d{1,2})\s*(?:''|\"|\^\s*\{\s*\\prime\s*\\prime\s*\}))?\s*"
)
_NAMES = {"Omega": "ohm", "AA": "angstrom", "M": "solar masses", "L": "solar luminosities", "R": "solar radii"}
_LONGEST = 60  # a sign with its marks; it is looked for at the end of a text only


def spelled_units(text: str) -> str:
    """``text`` with the sign that ends it in words, or with its degrees and minutes as one number of degrees."""
    if "\\Omega" in text or "\\AA" in text or "\\odot" in text:
        start = max(len(text) - _LONGEST, 0)
        for pattern in (_SIGN, _SUN):
            match = pattern.search(text, start)
            if match and _ONE_NUMBER.fullmatch(text, 0, match.start()):
                prefix = _prefix(match) if pattern is _SIGN else ""
                return rf"{text[: match.start()]}\text{{ {prefix}{_NAMES[match[2] or match[1]]}}}"
    if "\\circ" in text and (arc := _ARC.fullmatch(text)):
        minutes, seconds = int(arc[3]), int(arc[4] or 0)
        if minutes < 60 and seconds < 60:
            whole = int(arc[2]) + Fraction(minutes, 60) + Fraction(seconds, 3600)
            return rf"{arc[1]}\frac{{{whole.numerator}}}{{{whole.denominator}}}^\circ"
    return text


def _prefix(match: re.Match[str]) -> str:
    return match[1] or ("µ" if "µ" in match[0] or "\\mu" in match[0] else "")
