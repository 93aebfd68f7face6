"""The words of the answer language: functions, constants, relations, commands and characters, as plain tables.

Usage: ``FUNCTIONS["asin"]`` is ``"arcsin"``; ``to_latex("≤")`` is ``" \\le "``.
"""

from __future__ import annotations

import re


def words(text: str) -> frozenset[str]:
    """A set of words, written as one string."""
    return frozenset(text.split())


_TRIGONOMETRIC = ("sin", "cos", "tan", "cot", "sec", "csc")
FUNCTIONS: dict[str, str] = {
    name: name
    for name in (
        *_TRIGONOMETRIC, *("arc" + name for name in _TRIGONOMETRIC),
        *(name + "h" for name in _TRIGONOMETRIC), *("arc" + name + "h" for name in _TRIGONOMETRIC),
        "ln", "log", "lg", "exp", "sqrt", "cbrt", "abs", "floor", "ceil", "gcd", "lcm", "max", "min", "det", "sgn",
        "arg", "factorial", "binom", "cis",
    )
}  # fmt: skip
FUNCTIONS |= {"a" + name: "arc" + name for name in _TRIGONOMETRIC}
FUNCTIONS |= {"ar" + name + "h": "arc" + name + "h" for name in _TRIGONOMETRIC}
FUNCTIONS |= {"a" + name + "h": "arc" + name + "h" for name in _TRIGONOMETRIC}
FUNCTIONS |= {"tg": "tan", "ctg": "cot", "arctg": "arctan", "cosec": "csc", "ceiling": "ceil", "sign": "sgn"}
FUNCTIONS |= {"binomial": "binom", "Gamma": "gamma", "gamma": "gamma"}
INVERSES = {name: "arc" + name for name in (*_TRIGONOMETRIC, *(name + "h" for name in _TRIGONOMETRIC))}
# Greek letters that are also functions stay letters unless a bracket follows.
NEEDS_BRACKET = frozenset({"Gamma", "gamma", "max", "min", "arg", "det", "abs", "sgn", "sign"})

GREEK = words(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi omicron rho "
    "varrho sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi "
    "Psi Omega hbar ell Re Im aleph nabla partial odot oplus star ast mho wp dagger prime"
)
# Two shapes of one letter.
SHAPES = {"varepsilon": "epsilon", "varphi": "phi", "vartheta": "theta", "varrho": "rho", "varsigma": "sigma"}
CONSTANTS: dict[str, str] = {
    "pi": "pi", "infty": "infinity", "infinity": "infinity", "inf": "infinity", "oo": "infinity", "nan": "nan",
    "NaN": "nan", "zoo": "nan", "emptyset": "empty", "varnothing": "empty", "Reals": "R",
}  # fmt: skip
RELATIONS: dict[str, str] = {
    "=": "=", "==": "=", ":=": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "=<": "<=", "=>": ">=", "!=": "!=",
    "le": "<=", "leq": "<=", "leqslant": "<=", "leqq": "<=", "ge": ">=", "geq": ">=", "geqslant": ">=", "geqq": ">=",
    "lt": "<", "gt": ">", "ne": "!=", "neq": "!=", "approx": "~", "approxeq": "~", "simeq": "~", "sim": "~",
    "doteq": "~", "in": "in", "equiv": "=",
}  # fmt: skip
SET_OPERATORS = {
    "cup": "union", "bigcup": "union", "cap": "intersection", "setminus": "difference", "backslash": "difference",
    "smallsetminus": "difference",
}  # fmt: skip
TIMES = frozenset({"*", "cdot", "times", "ast", "cdotp"})
DIVIDE = frozenset({"/", "div", "slash"})
DOT_COMMANDS = words("ldots dots cdots dotsc dotsb hdots")
TEXT_COMMANDS = words("text mbox textbf textit textrm textnormal textsf texttt hbox emph")
FONT_COMMANDS = words(
    "mathrm mathbf mathit mathsf mathtt mathcal mathfrak mathscr boldsymbol bm operatorname mathop rm bf"
)
ADORNMENTS = words(
    "vec hat bar overline widehat widetilde tilde dot ddot overrightarrow underline overset underset overarc"
)
SPACING = words(
    ", ; : ! > quad qquad thinspace medspace thickspace enspace left right middle big Big bigg Bigg bigl bigr "
    "Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle scriptstyle limits nolimits allowbreak nonumber "
    "hfill noindent hline tiny scriptsize footnotesize small normalsize large Large LARGE huge Huge"
)
NUMBER_SETS = frozenset("RZNQC")
MATRICES = words("matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix array bsmallmatrix psmallmatrix")

_CHARACTERS: dict[str, str] = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "×": r"\times ", "⋅": r"\cdot ",
    "·": r"\cdot ", "∙": r"\cdot ", "•": r"\cdot ", "÷": r"\div ", "∕": "/", "⁄": "/", "≤": r"\le ",
    "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≃": r"\approx ", "∈": r"\in ",
    "∪": r"\cup ", "∩": r"\cap ", "∖": r"\setminus ", "∅": r"\emptyset ", "∞": r"\infty ", "±": r"\pm ",
    "∓": r"\mp ", "°": r"^\circ ", "∘": r"\circ ", "º": r"^\circ ", "…": r"\ldots ", "⋯": r"\ldots ",
    "∠": r"\angle ", "√": r"\sqrt ", "∛": r"\sqrt[3]", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}",
    "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "′": "'", "’": "'", "‘": "'", "″": "''",
    "“": '"', "”": '"', "⟨": r"\langle ", "⟩": r"\rangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ",
    "⌈": r"\lceil ", "⌉": r"\rceil ", "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ", "€": " euro ",
    "£": " pound ", "₹": " rupee ", "Å": r"\AA ", "\u212b": r"\AA ", "\u2126": r"\Omega ", "⊙": r"\odot ",
    "☉": r"\odot ",
    "¥": " yen ", "¢": " cents ", "∣": "|", "ℏ": r"\hbar ", "→": r"\to ", "％": "%", "，": ",",
    "（": "(",
    "≡": r"\equiv ", "∴": r"\therefore ", "∧": r"\wedge ", "∨": r"\vee ",
    "）": ")", "：": ":", "∶": ":", "；": ";", "＝": "=", "＋": "+", "\u00a0": " ", "\u2009": r"\,", "\u202f": r"\,",
    "\u2002": " ", "\u2003": " ", "\u3000": " ", "\u2061": "", "\u2062": "", "\u200b": "", "\u200c": "",
    "\u200d": "", "\ufeff": "", "\x00": "",
}  # fmt: skip
_CHARACTERS |= dict(zip("αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩϕ", (
    r"\alpha \beta \gamma \delta \epsilon \zeta \eta \theta \iota \kappa \lambda \mu \nu \xi \pi \rho \sigma \tau "
    r"\upsilon \phi \chi \psi \omega \Gamma \Delta \Theta \Lambda \Xi \Pi \Sigma \Phi \Psi \Omega \phi"
).replace(" ", " |").split("|"), strict=True))  # fmt: skip
_CHARACTERS |= {chr(0xFF10 + digit): str(digit) for digit in range(10)}
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋ₙ", "0123456789+-n", strict=True))
_VULGAR = {

    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5), "⅘": (4, 5),
    "⅙": (1, 6), "⅚": (5, 6), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
}  # fmt: skip
_CHARACTERS |= {sign: rf"\frac{{{top}}}{{{bottom}}}" for sign, (top, bottom) in _VULGAR.items()}
_TABLE = str.maketrans(_CHARACTERS)


# The micro sign before a unit stays, to tell it from the variable that the Greek letter is.
_MICRO = re.compile(r"µ(?!(?:[gslmACFHJKLMNTVW]|Hz|Pa|mol|eV|sec|rad)(?![A-Za-z]))")
_PRICE = re.compile(r"([€£¥₹])\s*(\d[\d.,]*(?<![.,]))")


def to_latex(text: str) -> str:
    """Unicode mathematics written as LaTeX; ASCII comes back as it is."""
    if text.isascii() and "\x00" not in text:
        return text
    text = _scripts(_scripts(text, _RAISED, "^"), _LOWERED, "_")
    text = _PRICE.sub(r"\2\1", text)
    return _MICRO.sub(r"\\mu ", text).translate(_TABLE)


def _scripts(text: str, signs: dict[str, str], mark: str) -> str:
    """Runs of raised or lowered characters become one braced script."""
    if not any(sign in text for sign in signs):
        return text
    out: list[str] = []
    run: list[str] = []
    for char in text + "\n":
        if char in signs:
            run.append(signs[char])
            continue
        if run:
            out.append(f"{mark}{{{''.join(run)}}}")
            run.clear()
        out.append(char)
    return "".join(out[:-1])
