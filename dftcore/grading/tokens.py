"""From text to tokens: numerals with their separators, words, commands, operators. Nothing is evaluated.

Usage: ``tokenize(r"\\frac{1,234}{5}", Limits())``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from dftcore.grading.policy import Limits
from dftcore.grading.units import is_unit_symbol
from dftcore.grading.vocabulary import FONT_COMMANDS, FUNCTIONS, SPACING, TEXT_COMMANDS


class Unreadable(Exception):
    """The text is not in the language of answers; it can still be compared as text."""


class Token(NamedTuple):
    """``kind`` is num, word, cmd, text, begin, end, row, op or stop; ``spaced`` tells of space before it."""

    kind: str
    text: str
    spaced: bool


STOP = Token("stop", "", False)
_DECIMALS = r"(?:\.\d+)?"
# Separators that can mean nothing but thousands: {,}  \,  ,\!  \!  \;  and their mixtures.
_MARKED_GROUPS = re.compile(r"\d{1,3}(?:(?:\{,\}|(?:\\!)?,?\s?\\[!,;:]|,\\ )\s*\d{3})+(?!\d)" + _DECIMALS)
_COMMA_GROUPS = re.compile(r"(?<!\d,)[1-9]\d{0,2}(?:,\d{3})+(?!,?\d)" + _DECIMALS)
_SPACE_GROUPS = re.compile(r"[1-9]\d{0,2}(?: \d{3})+(?![\d/]| \d)" + _DECIMALS)
_NUMERAL = re.compile(r"(?:\d+(?:\.\d+|\.(?![.\w]))?|\.\d+)(?:[eE][+-]?\d+(?![\w.{]))?")
_NEXT = re.compile(
    r"(?P<space>[\s~]+)|(?P<command>\\(?:[A-Za-z]+|.))|(?P<word>[^\W\d_]+)"
    r"|(?P<op>\.\.\.+|\*\*|<=|>=|=<|=>|==|!=|:=|->|[-+*/^_=<>!|%(){}\[\],;:&'\"$])",
    re.DOTALL,
)
_BRACES = {"{": "\\{", "}": "\\}", "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]"}
_UNIT = r"[A-Za-z]+(?:\^\{?-?\d\}?)?"
_UNIT_PRODUCT = re.compile(rf"[\s~]*{_UNIT}(?:(?:\\[,;:! ]|[\s~./]|\\cdot)+{_UNIT})*\s*")
_UNIT_JOINT = re.compile(r"\\[,;:! ]|\\cdot|[~.]")
_WORDED_FUNCTIONS = ("cis", "lcm", "gcd")  # functions even as \\text, where sec and min are units
_NOT_DIGITS = re.compile(r"[^\d.eE+-]")
_MODULE = re.compile(r"\b(?:np|numpy|math|sympy|sp)\.(?=[A-Za-z])")
_ROW_SPACING = re.compile(r"\s*\[-?[\d.]+\s*(?:ex|em|pt|cm|mm|in)\]")
_COLUMNS = re.compile(r"\s*(?:\[[a-z]\])?\s*\{[^{}]*\}")


def tokenize(text: str, limits: Limits, thousands: bool = True) -> list[Token]:
    """Tokens of one tidied answer, ended by ``STOP``. Plain commas group thousands only outside brackets and only
    with ``thousands``. Raises Unreadable for characters outside the language and for numerals past the limit."""
    text = _MODULE.sub("", text)
    tokens: list[Token] = []
    position, depth, spaced = 0, 0, False
    while position < len(text):
        char = text[position]
        if char.isdigit() or (char == "." and text[position + 1 : position + 2].isdigit()):
            found = _numeral_at(text, position, thousands and depth == 0)
            if found is None or found.end() - position > limits.digits:
                raise Unreadable("numeral")
            tokens.append(Token("num", _NOT_DIGITS.sub("", found.group()), spaced))
            position, spaced = found.end(), False
            continue
        match = _NEXT.match(text, position)
        if match is None:
            raise Unreadable(f"character {char!r}")
        position = match.end()
        kind, value = match.lastgroup, match.group()
        if kind == "space":
            spaced = True
            continue
        if kind == "command":
            name = value[1:]
            if name in SPACING or name.isspace():
                spaced = spaced or name not in ("left", "right", "!")
                if name in ("left", "right") and text[position : position + 1] == ".":
                    position += 1
                continue
            position, made = _command(text, position, name, spaced, limits)
            tokens.extend(made)
        else:
            tokens.append(Token(kind or "", value, spaced))
        last = tokens[-1].text if tokens else ""
        depth += (last in ("(", "[", "\\{")) - (last in (")", "]", "\\}"))
        spaced = False
    tokens.append(STOP)
    return tokens


def _numeral_at(text: str, position: int, commas: bool) -> re.Match[str] | None:
    found = _MARKED_GROUPS.match(text, position) or (_COMMA_GROUPS.match(text, position) if commas else None)
    return found or _SPACE_GROUPS.match(text, position) or _NUMERAL.match(text, position)


def _command(text: str, position: int, name: str, spaced: bool, limits: Limits) -> tuple[int, list[Token]]:
    """Tokens for one LaTeX command whose name ends at ``position``, and where reading goes on."""
    if name in ("\\", "cr", "newline"):
        spacing = _ROW_SPACING.match(text, position)
        return spacing.end() if spacing else position, [Token("row", "\\", spaced)]
    if name in _BRACES:
        return position, [Token("op", _BRACES[name], spaced)]
    if name in ("%", "$", "&", "#", "_"):
        return position, [Token("op", name if name == "%" else "\\" + name, spaced)]
    if name == "|":
        return position, [Token("op", "|", spaced)]
    if name in ("begin", "end"):
        end, inside = _braced(text, position)
        if inside.rstrip("*") == "array" and name == "begin":
            columns = _COLUMNS.match(text, end)
            end = columns.end() if columns else end
        return end, [Token(name, inside.rstrip("*"), spaced)]
    if name in ("mathbb", "Bbb"):
        end, inside = _braced(text, position)
        return end, [Token("cmd", "set:" + inside.strip(), spaced)]
    if name in TEXT_COMMANDS or name in FONT_COMMANDS:
        return _wording(text, position, name, spaced, limits)
    return position, [Token("cmd", name, spaced)]


def _wording(text: str, position: int, name: str, spaced: bool, limits: Limits) -> tuple[int, list[Token]]:
    """``\\text{...}`` and its kin: mathematics when no word is inside, else one text token."""
    if not text[position:].lstrip().startswith("{"):
        return position, []
    end, inside = _braced(text, position)
    has_word = re.search(r"[^\W\d_]{2,}", inside) is not None
    if inside.strip() in ("cis", "lcm", "gcd") or (
        name in FONT_COMMANDS and (inside.strip() in FUNCTIONS or (has_word and re.search(r"[\\^_+=(-]", inside)))
    ):
        has_word = False
    if has_word:
        return end, [*_sentence(inside, spaced, limits)]
    letter = inside.replace("~", " ").strip()
    if (
        len(letter) == 1
        and letter.isalpha()
        and (name in TEXT_COMMANDS or (name == "mathrm" and letter not in ("e", "i", "d")))
    ):
        return end, [Token("text", letter, spaced or inside[0] in " ~")]
    if name in TEXT_COMMANDS and re.fullmatch(r"\s*[A-Za-z]+(?:[/^ ][A-Za-z\d]+)+\s*", inside):
        return end, [Token("text", letter, spaced)]
    if re.search(r"[a-z]\W+[A-Za-z]|\^", inside) and _UNIT_PRODUCT.fullmatch(inside):
        joined = _UNIT_JOINT.sub(" ", inside).strip()
        if all(map(is_unit_symbol, re.findall(r"[A-Za-z]+", joined))):
            return end, [Token("text", joined, spaced)]
    inner = tokenize(inside, limits)[:-1]
    if inner:
        inner[0] = inner[0]._replace(spaced=spaced)
    return end, inner


def _sentence(inside: str, spaced: bool, limits: Limits) -> Iterator[Token]:
    """A text token for every stretch between the words that separate answers."""
    for part in re.split(r"\b(and|or)\b|(,)", re.sub(r"~|\\[ ,;:!]", " ", inside)):
        if part in ("and", "or"):
            yield Token("word", part, True)
        elif part == ",":
            yield Token("op", part, True)
        elif part and part.strip():
            if re.search(r"[^\W\d_]{2,}", part) and not part.strip()[0].isdigit():
                yield Token("text", part.strip(), spaced or part[0].isspace())
            else:
                yield from tokenize(part, limits)[:-1]


def _braced(text: str, position: int) -> tuple[int, str]:
    """The group that starts at or after ``position``: where it ends and what is inside."""
    start = position
    while start < len(text) and text[start].isspace():
        start += 1
    if text[start : start + 1] != "{":
        raise Unreadable("group expected")
    depth = 0
    for index in range(start, len(text)):
        if text[index] in "{}" and text[index - 1] != "\\":
            depth += 1 if text[index] == "{" else -1
            if depth == 0:
                return index + 1, text[start + 1 : index]
    raise Unreadable("group not closed")
