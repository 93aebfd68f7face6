"""Text-level tidying: wrapping, doubled backslashes, redundant brackets, and the key that identical answers share.

Usage: ``text_key(r"$\\dfrac{1}{2}$ ") == text_key(r"\\frac{1}{2}")``.
"""

from __future__ import annotations

import re

from dftcore.grading.vocabulary import to_latex

_WRAPPING = re.compile(r"(?<!\\)\\[()\[\]]|(?<!\\)\$")
_BACKSLASHES = re.compile(r"\\+")
_TEXT_COMMAND = re.compile(
    r"\\(?:text|mbox|mathrm|textbf|textit|textrm|textnormal|mathbf|hbox|operatorname|rm)(?![A-Za-z])\s*"
)
_PLAIN_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textbf|textit|textrm|textnormal|mathbf|hbox)\s*\{\s*([\w\s()]*?)\s*\}")
_LAYOUT = re.compile(
    r"(?:\\(?:left|right|big|Big|bigg|Bigg|displaystyle|limits|quad|qquad)(?![A-Za-z])\.?|\\[,;:! ]|[\s~])+"
)
_TEXT_GROUP = re.compile(_TEXT_COMMAND.pattern + r"\{([^{}]*)\}")
_MATHEMATICS = re.compile(r"[\\^_=]")
_SINGLE_GROUP = re.compile(r"\{(\w)\}")
_QUOTED = re.compile(r"^\s*([`'])([^`']+)\1\s*$")
_DOLLARS_INSIDE = re.compile(r"(?<!\\)\$")


def tidy(text: str) -> str:
    """One answer without dollars, display brackets, closing punctuation or characters outside the language."""
    text = to_latex(text).strip()
    runs = _BACKSLASHES.findall(text)
    if runs and all(len(run) % 2 == 0 for run in runs) and re.search(r"\\[A-Za-z]", text):
        text = text.replace("\\\\", "\\")  # escaped once too often on its way here
    text = _WRAPPING.sub(" ", text) if "$" in text or "\\" in text else text
    text = text.replace("**", " ") if text.startswith("**") and text.endswith("**") else text
    return peel(_unpunctuated(_QUOTED.sub(r"\2", text)))


def _unpunctuated(text: str) -> str:
    """Drop what closes a sentence: ``.``, ``,``, ``;``, ``:`` and stray backslashes, but never an ellipsis."""
    while True:
        text = text.strip()
        if text.endswith((".", ",", ";", ":", "\\")) and not text.endswith(("...", "\\,", "\\;", "\\:")):
            text = text[:-1]
        elif text.endswith(("\\,", "\\;", "\\:", "\\!")):
            text = text[:-2]
        elif text.startswith((":", ",")):
            text = text[1:]
        else:
            return text


def peel(text: str) -> str:
    """Remove braces around everything, and all but one of several parentheses around everything; linear time."""
    if text[:1] not in ("{", "(") or text[-1:] not in ("}", ")"):
        return text
    partner: dict[int, int] = {}
    opened: list[int] = []
    for position, char in enumerate(text):
        escaped = position > 0 and text[position - 1] == "\\"
        if char in "{(" and not escaped:
            opened.append(position)
        elif char in "})" and not escaped and opened:
            partner[opened.pop()] = position
    start, end = 0, len(text)
    while end - start > 2:
        if partner.get(start) != end - 1:
            break
        inner_is_wrapped = partner.get(start + 1) == end - 2
        braces = text[start] == "{" and text[end - 1] == "}"
        if not (braces and (inner_is_wrapped or _is_single(text, start + 1, end - 1))) and not (
            text[start] == "(" and inner_is_wrapped and text[start + 1] == "("
        ):
            break
        start, end = start + 1, end - 1
    return text[start:end].strip()


def _is_single(text: str, start: int, end: int) -> bool:
    """Whether no comma stands outside inner brackets, so that braces around it group rather than make a set."""
    depth = 0
    for position in range(start, end):
        char = text[position]
        if char in "{([":
            depth += 1
        elif char in "})]":
            depth -= 1
        elif char == "," and depth == 0:
            return False
    return True


def text_key(text: str) -> str:
    """The same string for texts that differ in layout only; empty when there is no answer in it."""
    text = re.sub(r"\\([dt]frac|cfrac)(?![A-Za-z])", r"\\frac", text)
    text = _LAYOUT.sub(_gap, _PLAIN_TEXT.sub(r"\1", text))
    return "" if text in ("-", "+", "\\", ".", "\\boxed", "()") else text


def _gap(match: re.Match[str]) -> str:
    """Layout vanishes, except where it keeps two numbers or two words apart."""
    text = match.string
    before, after = text[max(match.start() - 1, 0) : match.start()], text[match.end() : match.end() + 1]
    return " " if (before.isdigit() and after.isdigit()) or (before.isalpha() and after.isalpha()) else ""


def word_key(text: str) -> str:
    """Words alone, folded: what two answers in prose are compared by. Mathematics among them keeps its case and its
    braces, which tell ``N`` from ``n`` and ``\\frac{1}{23`` from ``\\frac{12}{3``."""
    text = _TEXT_COMMAND.sub(" ", _TEXT_GROUP.sub(r" \1 ", _DOLLARS_INSIDE.sub(" ", text)))
    text = re.sub(r"\\[,;:! ]|\\q?quad|~", " ", text).replace('"', " ")
    if _MATHEMATICS.search(text):
        return " ".join(_SINGLE_GROUP.sub(r" \1", text).split())
    text = " ".join(text.replace("{", " ").replace("}", " ").casefold().split())
    return text if text.endswith("...") else text.lstrip(" .,;:").rstrip(" .,;:!")
