"""Where the answer stands in a text: named rules, tried in this order, each in linear time.

    box                the last ``\\boxed{...}``; several joined by commas or "and" count as one list; an unclosed
                       last box means a truncated text, and no answer
    final answer       a "final answer" that is stated after the last box takes its place
    marker             after the last ``####`` or a line that starts with ``A:``
    anchor             after the last "answer is", "answer:" or "final answer"
    whole              a text that is an answer and nothing else
    last clause        LaTeX without dollars after the last "is" or "=" of the last sentence
    last mathematics   the last ``$...$``, ``\\(...\\)`` or ``\\[...\\]``, when no number follows it
    last number        the last number of the text
    text               words without any of these, as they are

Only the given text is searched, never a prompt. Usage: ``find_answer(completion).text``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dftcore.grading.units import is_unit_word
from dftcore.grading.vocabulary import CONSTANTS, FUNCTIONS, GREEK, words


class Span(NamedTuple):
    """Delimited mathematics: where it starts and ends with its delimiters, and what is inside."""

    start: int
    end: int
    inside: str
    dollar: bool


class Found(NamedTuple):
    """The answer's text, or None, and the rule that found it."""

    text: str | None
    rule: str


_MOST_JOINED = 64
_LONGEST_SENTENCE = 4_000
_LONGEST_WHOLE = 8_000
_LONGEST_TAIL = 16_000  # a statement without a box is looked for this far from the end
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
_BRACE = re.compile(r"\\?[{}]|\\\\")
_JOINT = re.compile(
    r"(?:[\s,;$&]|\\[()\[\],;:! ]|\\q?quad|\\(?:text|mbox)\{\s*(?:and|or)?\s*\}|and|or"
    r"|[A-Za-z](?:_\{?\w\}?)?\s*=)*"
)
_JOINER = re.compile(r",|;|and|or")
_MARKER = re.compile(r"####|^A:", re.MULTILINE)
_ANCHOR = re.compile(
    r"(?:final\s+answer|answer|ans|correct\s+option|correct\s+choice)s?\s*(?:\*\*)?\s*"
    r"(?:(?:to|of|for|in|is)\b[^.\n:=$]{0,80}?)??(?:\bis\b|\bare\b|\bwas\b|\bequals\b|\bbe\b|:|=|\n)(?:\s|[:*])*",
    re.IGNORECASE,
)
_FINAL = re.compile(r"\bfinal\s+answer\s*(?:\*\*)?\s*(?::|is\b)(?:\s|[:*])*", re.IGNORECASE)
_SPECIAL = re.compile(r"<\|[^|<>]{0,40}\|>|</s>|<eos>|I hope it is correct")
_SENTENCE_END = re.compile(r"[.!?](?=\s+[A-Z\\$(]|\s*$)|\n")
_SPACE = re.compile(r"\s")
_OPEN = re.compile(r"\$\$|\\\[|\\\(|(?<!\\)\$")
_CLOSE = {"\\[": "\\]", "\\(": "\\)"}
_NUMBER = re.compile(
    r"(?<![\w.^])(?:(?<![\d)\]}])[-+−])?[$€£]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.\d+|(?<=\d))(?:[eE][+-]?\d+)?"
    r"(?:\s*(?:\\times|\\cdot|[x×*])\s*10\s*\^\s*\{?-?\d+\}?)?(?:\s*/\s*\d+(?:\.\d+)?)?(?:\s*\\?%)?"
)
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}(?:'[a-z]+)?")
_INVISIBLE = re.compile(r"\\(?:text|mbox|textbf|textit|textrm|textnormal|mathrm|operatorname|begin|end)\s*\{[^{}]*\}")
_LABELS = words(
    "answer answers solution solutions result value is are equals so thus therefore hence final get have find obtain"
)
_QED = words(r"\blacksquare \square \Box \qed \QED")
_REMARK = re.compile(
    r"\s*\((?:since|because|as|or about|or approximately|about|approximately|approx|where|when|if|i\.e\.|for)"
    r"\b[^()]{0,200}\)"
)
_ALTERNATIVE = re.compile(r"(?<!\s)\s*\(or\s+([^()]{1,200})\)")
# Words right before a value that make another one of it: "not 5", "isn't $5$", "negative 5".
_REVERSING = re.compile(
    r"(?:\b(?:not|never|cannot|negative|minus|neither|nor|except)|n't)(?:\s+(?:be|equal|equals|to|the|a))*[\s$\\(\[{*]*$",
    re.IGNORECASE,
)
# A short answer that starts with these states a bound or a denial, not a value.
_BOUNDING = re.compile(
    r"(?:not|negative|minus|at least|at most|(?:more|less|greater|fewer|smaller|larger) than|up to)\s", re.IGNORECASE
)
_HEDGED = re.compile(r"\b(?:maybe|perhaps|possibly|(?:could|might|may) (?:also )?be)\b[\s$\\(]*-?\d", re.IGNORECASE)
_SHORT_ANSWER = 60
_OPTION = re.compile(r"\(?([A-H])\)?(?=\s*(?:$|[.,;:]|because\b|since\b|as\b|for\b))")
_JOINING = frozenset(["and", "or", "in"])
# Words, then a value: "he pays 10", "giving $x = 5$", but not "odd $n$" or "Area = 5".
_LEAD_IN = re.compile(r"([A-Za-z]{2,})(?:\s+[A-Za-z]+)*\s+(?:\\?\$|\\\()?\s*[-+\d\\]*(?:\d|[A-Za-z]+\s*=)")
_CLAUSE = re.compile(
    r"(?:\bis\b|\bare\b|\bequals\b|\bto be\b|=)\s+(?!not\b)(?!.*(?:\bis\b|\bare\b|\bequals\b))", re.DOTALL
)
_LEADING_FILLER = re.compile(
    r"^(?:\s|\*\*|:|=|(?:that|thus|therefore|so|simply|just|approximately|about|exactly|then|the|is|are|final answer"
    r"|answer|option|choice)\b)+",
    re.IGNORECASE,
)


def _spans(text: str) -> list[Span]:
    """Delimited mathematics from left to right, in linear time: a delimiter without its partner is passed over."""
    found: list[Span] = []
    missing: set[str] = set()
    at = 0
    while match := _OPEN.search(text, at):
        opening = match.group()
        closing = _CLOSE.get(opening, opening)
        end = -1 if closing in missing else text.find(closing, match.end())
        while end > 0 and closing == "$" and text[end - 1] == "\\":
            end = text.find(closing, end + 1)
        if end < 0:
            missing.add(closing)
        if end <= match.end():
            at = match.end()
            continue
        at = end + len(closing)
        found.append(Span(match.start(), at, text[match.end() : end], opening == "$"))
    return found


def find_answer(text: str, last_number: bool = False) -> Found:
    """The answer of a completion, or of a bare answer. ``last_number`` prefers the last number to mathematics."""
    text = _after_thinking(text)
    boxed = _last_box(text)
    if boxed is not None:
        return _correction(text) or boxed
    if len(text) > _LONGEST_WHOLE and not _SPACE.search(text):
        return Found(text, "whole")
    tail = _tail(text)
    marked = _last_match(_MARKER, tail) if "####" in tail or "A:" in tail else None
    if marked is not None and (statement := _statement(tail[marked:])):
        return Found(statement, "marker")
    lowered = tail.lower()
    if "ans" in lowered or "correct" in lowered:
        anchored = _last_match(_ANCHOR, tail)
        if anchored is not None:
            statement = _statement(tail[anchored:])
            if statement:
                return Found(statement, "anchor")
    if len(text) <= _LONGEST_WHOLE and is_whole(plain := _without_remarks(text)):
        return Found(plain.strip() or None, "whole")
    if len(text) <= _SHORT_ANSWER and _BOUNDING.match(text.strip()):
        return Found(text.strip(), "text")
    if last_number:
        return _last_number(tail) or Found(text.strip(), "text")
    return _last_clause(tail) or _last_value(tail) or Found(text.strip() or None, "text")


def _without_remarks(text: str) -> str:
    """The text without explanations in brackets; a second form, as in ``1/2 (or 0.5)``, stays to be compared too."""
    text = _REMARK.sub("", text)
    return _ALTERNATIVE.sub(r" or \1", text) if "(or" in text else text


def _tail(text: str) -> str:
    """The end of a long text, from a space on, so that no number is cut in two."""
    if len(text) <= _LONGEST_TAIL:
        return text
    space = _SPACE.search(text, len(text) - _LONGEST_TAIL)
    return text[space.end() :] if space else ""


def _after_thinking(text: str) -> str:
    end = text.rfind("</think>")
    return text[end + 8 :] if end >= 0 and text[end + 8 :].strip() else text


def _last_match(pattern: re.Pattern[str], text: str) -> int | None:
    """Where the last match of ``pattern`` ends."""
    end = None
    for match in pattern.finditer(text):
        end = match.end()
    return end


# -- boxes


def _last_box(text: str) -> Found | None:
    start = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if start < 0:
        return None
    parts: list[str] = []
    joint = ", "
    following = len(text)
    while start >= 0 and len(parts) < _MOST_JOINED:
        inside = _boxed_at(text, start)
        if inside is None:
            return Found(None, "box not closed") if not parts else Found(joint.join(reversed(parts)), "box")
        content, end = inside
        if parts:
            between = text[end:following]
            if len(between) > 60 or not _JOINER.search(between) or not _JOINT.fullmatch(between):
                break
            joint = " or " if "or" in between else ", "
        parts.append(content)
        following = start
        start = max(text.rfind("\\boxed", 0, following), text.rfind("\\fbox", 0, following))
        if start >= 0 and following - start > _LONGEST_SENTENCE:
            break
    answer = joint.join(reversed(parts)).strip()
    return Found(answer or None, "box")


def _correction(text: str) -> Found | None:
    """A final answer stated again after the last box."""
    after = text[max(text.rfind("\\boxed"), text.rfind("\\fbox")) :][-_LONGEST_SENTENCE:]
    if "inal " not in after:
        return None
    stated = _last_match(_FINAL, after)
    statement = _statement(after[stated:]) if stated is not None else None
    return Found(statement, "final answer") if statement else None


def _boxed_at(text: str, start: int) -> tuple[str, int] | None:
    """The inside of the box that starts at ``start`` and where it ends, or None when it is not closed."""
    match = _BOX.match(text, start)
    if match is None:
        return None
    at = match.end()
    while at < len(text) and text[at].isspace():
        at += 1
    if text[at : at + 1] != "{":
        single = re.compile(r"\w+|\\[A-Za-z]+").match(text, at)
        return (single.group(), single.end()) if single else None
    depth = 0
    for brace in _BRACE.finditer(text, at):
        found = brace.group()
        if found == "{":
            depth += 1
        elif found == "}":
            depth -= 1
            if depth == 0:
                return text[at + 1 : brace.start()], brace.end()
    return None


# -- statements


def _statement(rest: str) -> str | None:
    """The answer at the start of what follows a marker or an anchor."""
    rest = _SPECIAL.split(rest[:_LONGEST_SENTENCE], maxsplit=1)[0]
    rest = _LEADING_FILLER.sub("", _without_remarks(rest))
    spans = _spans(rest)
    span = spans[0] if spans and spans[0].start == 0 else None
    sentence = rest[: _sentence_end(rest, span.end if span else 0)].strip()
    sentence = sentence.replace("**", "").strip().rstrip(".")
    if not sentence:
        return None
    if _BOUNDING.match(sentence) or _HEDGED.search(sentence):
        return sentence
    number = _NUMBER.match(sentence)
    if number and number.group() and _goes_on_in_words(sentence[number.end() :]):
        return number.group()
    if is_whole(sentence):
        return sentence
    if span is not None:
        return _joined_spans(sentence)
    if number and number.group():
        return number.group()
    if option := _OPTION.match(sentence):
        return option.group(1)
    clause = _CLAUSE.search(sentence)
    if clause and is_whole(sentence[clause.end() :]):
        return sentence[clause.end() :].strip()
    value = _last_value(sentence)
    return value.text if value else sentence


def _goes_on_in_words(rest: str) -> bool:
    """Whether several words follow a number, and no second value: ``3/4 of the cake``."""
    found = _WORD.findall(rest)
    unknown = [word for word in found if not _is_vocabulary(word)]
    return len(unknown) > 1 and not _JOINING & set(found) and "=" not in rest and "\\" not in rest


def _sentence_end(text: str, start: int) -> int:
    match = _SENTENCE_END.search(text, start)
    return match.start() if match else len(text)


def _joined_spans(sentence: str) -> str:
    """``$3$ and $5$ as wanted`` begins with two values; ``$x$ where $y$...`` with one."""
    end = 0
    for span in _spans(sentence):
        between = sentence[end : span.start].strip()
        if end and between not in (",", "and", "or", ", and", ", or"):
            break
        end = span.end
    return sentence[:end]


def is_whole(text: str) -> bool:
    """Whether a text is one answer with nothing said around it."""
    text = text.strip()
    if not text or (text.isascii() and text.isalnum()):
        return True
    outside = _INVISIBLE.sub(" ", _outside(text))
    unknown = [word for word in _WORD.findall(outside) if not _is_vocabulary(word)]
    delimited = "\x01" in outside
    if not unknown:
        return not delimited or not re.search(r"\w\s*:|\n\s*\n", outside)
    led_in = _LEAD_IN.match(text)
    if (led_in and not _is_vocabulary(led_in.group(1))) or any(word.lower() in _LABELS for word in unknown):
        return False
    if delimited:
        return len(unknown) <= 2 and ":" not in outside
    return len(unknown) <= 3 and not re.match(r"[A-Za-z ]+:", text) and not re.search(r"[a-z]\. [A-Z]|\n", text)


def _outside(text: str) -> str:
    """The text with a mark in place of each stretch of mathematics."""
    parts, at = [], 0
    for span in _spans(text):
        parts += [text[at : span.start], " \x01 "]
        at = span.end
    return "".join(parts) + text[at:]


def _is_vocabulary(word: str) -> bool:
    return word in _JOINING or is_unit_word(word) or word in FUNCTIONS or word in CONSTANTS or word in GREEK


def _last_clause(text: str) -> Found | None:
    """LaTeX without delimiters after the last "is" or "=" of the last sentence."""
    if "\\" not in text or _spans(text):
        return None
    sentence = re.split(r"[.!?]\s+|\n", text.strip().rstrip("."))[-1]
    clause = _CLAUSE.search(sentence)
    rest = sentence[clause.end() :].strip() if clause else ""
    return Found(rest, "last clause") if "\\" in rest and is_whole(rest) else None


def _last_value(text: str) -> Found | None:
    """The last mathematics or the last number, whichever ends later; none when the words before it reverse it."""
    spans = [span for span in _spans(text) if _is_mathematics(span, text)]
    number = _last_number_match(text)
    if spans and (number is None or number.start() < spans[-1].end):
        start, found = spans[-1].start, Found(spans[-1].inside.strip(), "last mathematics")
    elif number is not None:
        start, found = number.start(), Found(number.group().strip(), "last number")
    else:
        return None
    return None if _REVERSING.search(text[max(start - 40, 0) : start]) else found


def _is_mathematics(span: Span, text: str) -> bool:
    """Whether what two dollars hold is mathematics, not the prose between two prices."""
    if span.inside.strip() in _QED:
        return False
    if not span.dollar:
        return True
    words = [word for word in _WORD.findall(_INVISIBLE.sub(" ", span.inside)) if not _is_vocabulary(word)]
    return len(words) < 2 and not (span.inside[-1:].isspace() and text[span.end : span.end + 1].isdigit())


def _last_number(text: str) -> Found | None:
    match = _last_number_match(text)
    return Found(match.group().strip(), "last number") if match else None


def _last_number_match(text: str) -> re.Match[str] | None:
    last = None
    for match in _NUMBER.finditer(text):
        if match.group():
            last = match
    return last
