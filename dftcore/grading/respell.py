"""Different ways of writing one thing, made one before the text is cut into tokens.

``C(10,3)``'s cousins ``{}_{10}C_3`` and ``^{10}C_3`` become ``\\binom{10}{3}``, ``]0, 1]`` becomes ``(0, 1]``,
``\\mathbf{a}\\cdot\\mathbf{b}`` becomes ``\\vec{a}\\cdot\\vec{b}``, ``\\frac{\\text{m}}{\\text{s}}`` becomes a unit.

Usage: ``respell(r"[2, 5[")`` is ``"[2, 5)"``.
"""

from __future__ import annotations

import re

from dftcore.grading.compounds import spelled_out
from dftcore.grading.signs import spelled_units
from dftcore.grading.units import is_unit_word
from dftcore.grading.vocabulary import FUNCTIONS, GREEK, words

_INSIDE = r"(\s*(?:[^\s\[\](),]|\([^()]*\))(?:[^\[\](),]|\([^()]*\))*)"
_INTERVAL = re.compile(
    rf"(?:^|(?<=in)|(?<=cup)|(?<=cap)|(?<=[=U]))\s*(?:\\left)?([\[\]]){_INSIDE},{_INSIDE}(?:\\right)?([\[\]])"
    r"(?=\s*(?:$|\\cup|\\cap|U))"
)
_VECTOR = r"\\(?:vec|mathbf|boldsymbol|bm|overrightarrow)\s*\{?\s*([A-Za-z])\s*\}?"
_PRODUCT_OF_VECTORS = re.compile(rf"{_VECTOR}\s*\\(cdot|times)(?![A-Za-z])\s*{_VECTOR}")
_INDEX = r"\{?\s*(\w+)\s*\}?"
_LETTER_C = r"(?:\\(?:mathrm|text|rm)\s*\{?\s*)?C\s*\}?"
_CHOOSE = re.compile(rf"(?:\{{\s*\}})?\s*(?<!\w)[_^]\s*{_INDEX}\s*{_LETTER_C}\s*_\s*{_INDEX}")
_CHOOSE_RIGHT = re.compile(rf"(?<![\w}}]){_LETTER_C}\s*_\s*\{{?\s*(\d+)\s*\}}?\s*\^\s*\{{?\s*(\d+)\s*\}}?")
_UNIT_FRACTION = re.compile(
    r"\\[dt]?frac\s*\{\s*\\(?:text|mathrm)\s*\{([A-Za-z ]+)\}\s*\}\s*\{\s*\\(?:text|mathrm)\s*\{([A-Za-z ]+)\}"
    r"(?:\^\{?(\d)\}?)?\s*\}"
)
_COLOUR = re.compile(r"\\(?:color|textcolor)\s*\{[^{}]*\}")
_ANGLE_BRACKETS = re.compile(r"^\s*<([^<>=]*,[^<>=]*)>\s*$")
_DECIMAL_POINT = re.compile(r"(?<=\d)\{\.\}(?=\d)")
_ORDINAL = re.compile(
    r"(\d)(?:(?:\^\s*\{?\s*)?\\(?:text|mathrm|textsuperscript)\s*\{\s*(?:st|nd|rd|th)\s*\}\s*\}?|(?:st|nd|rd|th)\b)"
)
_MODULUS = re.compile(
    r"\\?\(\s*(?:\\(?:text|mathrm)\s*\{\s*)?\\?b?mod(?:ulo)?(?![A-Za-z])\s*\}?\s*([^()]*?)\)|\\p?b?mod(?![A-Za-z])\s*(?:\{([^{}]*)\}|(\w+))"
)
_MAPS_TO = re.compile(r"^\s*(\w)\s*:\s*(\w)\s*\\mapsto(?![A-Za-z])")
_DOLLARS = re.compile(r"^\s*(?:USD|US|AUD|CAD|NZ|HK|\\mathdollar|\\textdollar)\s*(?:\\?\$)?\s*(?=[\d.])")
_RUPEES = re.compile(r"^\s*(?:Rs\.?|INR)\s*(\d[\d.,]*)\s*$")
_DOLLARS_AND_CENTS = re.compile(r"\\?\$?\s*(\d+) dollars?,?(?: and)? (\d\d?) cents?")

# Recurring decimals: 0.1\dot{6}, 0.\dot{1}4\dot{2}, 0.(6), .\overline{3}, and 0.666... with its block written out.
_DOTTED = re.compile(r"(\.\d*)\\dot\s*\{?(\d)\}?(?:(\d*)\\dot\s*\{?(\d)\}?)?")
_BRACKETED = re.compile(r"(-?\d+\.)\((\d+)\)")
_BARE_POINT = re.compile(r"(?<!\d)\.(?=\d*\\(?:overline|bar)(?![A-Za-z]))")
_GOING_ON = re.compile(r"(?<=\.)\d*?((\d)\2\2+|(\d{2,6})\3+)\s*(?:\.\.\.+|\\[lc]?dots)\s*$")
_LONGEST_ENDING = 60
_ABOUT = re.compile(r"^\s*\\(?:text|mbox|mathrm)\s*\{\s*(?:about|approximately|approx\.?|roughly)\s*\}")
_FLOURISH = re.compile(r"^\s*\\(?:therefore|Rightarrow|implies)(?![A-Za-z])|\\(?:checkmark|blacksquare|qed|QED)\s*$")
_HALF_LINE = re.compile(
    r"\\mathbb\s*\{?\s*R\s*\}?\s*(?:\^\s*(?:\+|\{\s*\+\s*\})|_\s*(?:\+|\{\s*(?:\+|>\s*0|(\\geq?(?:slant)?\s*0))\s*\}))"
)
_UNSEEN = re.compile(r"\\[hv]?phantom\s*\{[^{}]*\}|\\underline\s*\{(\s*-?\d[\d.,]*\s*)\}")
_DEGREES = re.compile(r"(?<=[\d}])\s*\\deg(?:rees?)?(?![A-Za-z])")
_MICRO = re.compile(
    r"\\mu\s*\\(?:text|mathrm|rm)\s*\{\s*([A-Za-z]{1,2})\s*\}|\\(?:text|mathrm)\s*\{\s*\\mu\s*([A-Za-z]{1,2})\s*\}"
)
_ALIGNED = re.compile(
    r"\s*\\begin\s*\{((?:align|aligned|gather|gathered|equation|split|eqnarray)\*?)\}((?:(?!\\begin).)*?)\\end\s*\{\1\}\s*",
    re.DOTALL,
)
_CONTINUED = re.compile(r"[=+*/-]|\\(?:cdot|times|div|pm)(?![A-Za-z])")
_OTHERWISE_RELATED = re.compile(
    r"[<>]|\\(?:n?eq|ne|l?eq|le|ge|geq|lt|gt|approx|sim|simeq|equiv|to|in|Rightarrow|implies)(?![A-Za-z])"
)
_ROW = re.compile(r"\\\\(?:\[[^\[\]]*\])?")
_COUNTED = re.compile(r"(-?\d[\d,]*(?:\.\d+|/\d+)?) ([A-Za-z][a-z]*(?: [a-z]+){1,4})")
_PLURALS = words("people children men women")
# Words that make another number, or no number, of the one before them.
_JOINING = words(
    "and or in to by from through versus vs times x plus minus per of too many never back less fewer more other half "
    "extraneous impossible wrong false invalid points orders unless always inverse halves thirds tenths"
)
_OUT_OF = re.compile(r"\s*(\d+)\s*(?:\\text\s*\{\s*)?(?:out of|in)\b\s*\}?\s*(\d+)\s*\}?")


def respell(text: str) -> str:
    """``text`` in the one spelling that the tokenizer knows; linear time."""
    if "\\" in text:
        text = _latex(text)
    if text[:1].isdigit():
        text = _counted(spelled_out(text.replace("sq. ", "sq ")))
    if "." in text:
        text = _decimal(text)
    if (" in " in text or "out of" in text) and (share := _OUT_OF.fullmatch(text)):
        return rf"\frac{{{share[1]}}}{{{share[2]}}}"
    if "{.}" in text:
        text = _DECIMAL_POINT.sub(".", text)
    if text[:1] in "UACNH\\":
        text = _DOLLARS.sub(r"\\$", text)
    if text[:1] in "RI":
        text = _RUPEES.sub(r"\1 rupees", text)
    if "cent" in text:
        text = _DOLLARS_AND_CENTS.sub(lambda match: rf"\${match[1]}.{match[2]:0>2}", text)
    if "<" in text:
        text = _ANGLE_BRACKETS.sub(r"\\langle \1\\rangle ", text)
    if ("[" in text or "]" in text) and "sqrt" not in text:
        text = _INTERVAL.sub(_closed_outward, text)
    if "C" in text and "_" in text:
        text = _CHOOSE.sub(r"\\binom{\1}{\2}", text)
        text = _CHOOSE_RIGHT.sub(_chosen, text)
    if "mod" in text:
        text = _MODULUS.sub(lambda match: rf"\pmod{{{next(filter(None, match.groups()), '').strip()}}}", text)
    return _ORDINAL.sub(r"\1", text) if "st" in text or "nd" in text or "rd" in text or "th" in text else text


def _counted(text: str) -> str:
    """``12 ordered pairs``: several plain words after a number are what it counts, as ``\\text`` would mark them."""
    if " " not in text:
        return text
    text = text.removesuffix(" in total").removesuffix(" in all")
    match = _COUNTED.fullmatch(text)
    if match is None or not _names_things(match[2].split()) or is_unit_word(match[2].split()[0]):
        return text
    return rf"{match[1]} \text{{{match[2]}}}"


def _names_things(found: list[str]) -> bool:
    """Whether words after a number can be what it counts: adjectives and a plural."""
    plural = found[-1] in _PLURALS or (found[-1].endswith("s") and len(found[-1]) > 3)
    odd = [word for word in found if len(word) < 3 or word in _JOINING or word in FUNCTIONS or word in GREEK]
    changed = [word for word in found if word.endswith(("ed", "ing", "ly")) and word not in ("ordered", "colored")]
    return plural and not odd and not changed


def _latex(text: str) -> str:
    text = text.replace("\\left<", "\\langle ").replace("\\right>", "\\rangle ").replace("\\colon", ":")
    text = _FLOURISH.sub("", text)
    if "\\begin" in text:
        text = _ALIGNED.sub(_one_line, text) if _ALIGNED.fullmatch(text) else text
    if "phantom" in text or "underline" in text:
        text = _UNSEEN.sub(r"\1", text)
    if "deg" in text:
        text = _DEGREES.sub(r"^\\circ ", text)
    if "\\mu" in text:
        text = _MICRO.sub(lambda match: rf"\text{{ µ{match[1] or match[2]}}}", text)
    text = spelled_units(text)
    text = _ABOUT.sub(r"\\approx ", text)
    if "mathbb" in text:
        text = _HALF_LINE.sub(lambda match: r"[0,\infty)" if match[1] else r"(0,\infty)", text)
    if "mapsto" in text:
        text = _MAPS_TO.sub(r"\1(\2)=", text)
    if "color" in text:
        text = _COLOUR.sub("", text)
    if "\\times" in text or "\\cdot" in text:
        text = _PRODUCT_OF_VECTORS.sub(r"\\vec{\1}\\\2\\vec{\3}", text)
    if "frac" in text and ("text" in text or "mathrm" in text):
        text = _UNIT_FRACTION.sub(_unit_quotient, text)
    return text


def _one_line(match: re.Match[str]) -> str:
    """Aligned equations as one line: a row that starts with a relation goes on with the one before it."""
    rows = [row.replace("&", " ").strip() for row in _ROW.split(match[2]) if row.strip(" &\n")]
    if any(_OTHERWISE_RELATED.match(row) for row in rows[1:]):
        return match[0]
    return "".join(row if not at or _CONTINUED.match(row) else f", {row}" for at, row in enumerate(rows))


def _decimal(text: str) -> str:
    """Recurring decimals with a bar over their block."""
    if "\\dot" in text:
        text = _DOTTED.sub(lambda match: rf"{match[1]}\overline{{{match[2]}{match[3] or ''}{match[4] or ''}}}", text)
    if "\\overline" in text or "\\bar" in text:
        text = _BARE_POINT.sub("0.", text)
    if text.endswith(")") and (bracketed := _BRACKETED.fullmatch(text)):
        return rf"{bracketed[1]}\overline{{{bracketed[2]}}}"
    if text.endswith(("...", "dots")) and "," not in text and ";" not in text:
        ending = text[-_LONGEST_ENDING:]
        if going_on := _GOING_ON.search(ending):
            start = len(text) - len(ending) + going_on.start(1)
            return rf"{text[:start]}\overline{{{going_on[2] or going_on[3]}}}"
    return text


def _closed_outward(match: re.Match[str]) -> str:
    """``]a, b[``: a bracket turned away from the interval leaves its end out."""
    opening, low, high, closing = match.groups()
    if (opening, closing) == ("[", "]"):
        return match.group()
    return f"{'[' if opening == '[' else '('}{low},{high}{']' if closing == ']' else ')'}"


def _chosen(match: re.Match[str]) -> str:
    """``C_{10}^{3}`` and ``C_3^{10}`` are both used: the larger number is the one chosen from."""
    first, second = sorted(map(int, match.groups()), reverse=True)
    return rf"\binom{{{first}}}{{{second}}}"


def _unit_quotient(match: re.Match[str]) -> str:
    above, below, power = match.groups()
    return rf"\text{{ {above.strip()}/{below.strip()}{'^' + power if power else ''}}}"
