"""Where the answer stands in a text: named rules, tried in this order, each in linear time.

    box                the last ``\\boxed{...}``; several joined by commas or "and" count as one list; an unclosed
                       last box means a truncated text, and no answer
    final answer       a "final answer" that is stated after the last box takes its place
    marker             after the last ``####`` or a line that starts with ``A:``
    anchor             after the last "answer is", "answer:" or "final answer" that states an answer
    judgement          the "yes" or "no" that a text begins with, when only its reason follows
    whole              a text that is an answer and nothing else
    last clause        LaTeX without dollars after the last "is" or "=" of the last sentence
    last mathematics   the last ``$...$``, ``\\(...\\)`` or ``\\[...\\]``, when no number follows it
    last number        the last number of the text
    text               a few words without any of these, as they are
    prose              longer texts without any of these, as they are: text to compare, which states no answer

A box that holds nothing or a placeholder is passed over. Only the given text is searched, never a prompt.

Usage: ``find_answer(completion).text``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from dftcore.grading.anchors import anchored, finals, marked
from dftcore.grading.boxes import box_start, last_box, without_hollow_boxes
from dftcore.grading.compounds import compound_with, leading_compound
from dftcore.grading.counting import scale_word
from dftcore.grading.denials import is_changed, is_taken_back, judgement
from dftcore.grading.exclaimed import without_exclamations
from dftcore.grading.fragments import whole_value
from dftcore.grading.numerals import (
    digits_as_written,
    last_numeral,
    leading_list,
    leading_numeral,
    numerals,
    values_with,
)
from dftcore.grading.spans import Span, goes_on_from_before, leading_spans, list_start, spans_of
from dftcore.grading.spoken import is_date
from dftcore.grading.units import is_unit_word
from dftcore.grading.vocabulary import CONSTANTS, FUNCTIONS, GREEK, words


class Found(NamedTuple):
    """The answer's text, or None, and the rule that found it."""

    text: str | None
    rule: str


_LONGEST_SENTENCE = 4_000
_LONGEST_WHOLE = 8_000
_LONGEST_TAIL = 16_000  # a statement without a box is looked for this far from the end
_CLOSERS = re.compile(r"(?:です|である|입니다|이다|है|[。।])+\s*$")
_REASON = re.compile(
    r"(?<=[\w$)}\]])(?:,?\s+(?:because|since)\b|,\s+as\b)"
    r"|(?<=[\d$)}\]]),?\s+(?:(?:and|but)\s+)?(?:not|rather than|instead of)\s+[$\\(]*-?\d"
)
_FENCE = re.compile(r"\s*```\w*\n(.*?)\s*```\s*", re.DOTALL)
_SPECIAL = re.compile(r"<\|[^|<>]{0,40}\|>|</s>|<eos>|I hope it is correct")
_SENTENCE_END = re.compile(r"(?:[.?]|(?<!\d)(?<![-+]\w\))!)(?=\s+[A-Z\\$(]|\s*$)|\n")
_SPACE = re.compile(r"\s")
_NEXT_WORD = re.compile(r"\s+[A-Za-z]+\b")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}(?:'[a-z]+)?")
_INVISIBLE = re.compile(r"\\(?:text|mbox|textbf|textit|textrm|textnormal|mathrm|operatorname|begin|end)\s*\{[^{}]*\}")
_LABELS = words(
    "answer answers solution solutions result value is are equals so thus therefore hence then final get have find "
    "obtain implies"
)
# Somebody says it: "I think 4", "that's 4".
_SPOKEN = re.compile(r"\bI\s+(?!and\b|or\b)[a-z]|\b(?:I|[A-Za-z]{2,})['’](?:s|m|t|d|ll|ve|re)\b")
_QED = words(r"\blacksquare \square \Box \qed \QED")
_REMARK = re.compile(
    r"(?<!\s)\s*\((?:since|because|as|or about|or approximately|about|approximately|approx|where|when|if|for|i\.e(?=\.)"
    r"|not(?= [$\\]*-?\d))\b[^()]{0,200}\)"
)
_ALTERNATIVE = re.compile(r"(?<!\s)\s*\(or\s+([^()]{1,200})\)")
_THAT_IS = re.compile(r"(?<=[\w$)}%]),?\s+(?:\bi\.\s?e\.,?|(?<=,\s)that is,)\s+(?=[-\d\\$])")
# A short answer that starts with these states a bound or a denial, not a value.
_BOUNDING = re.compile(
    r"(?:not|negative|minus|(?:at|no) (?:least|most)|(?:no )?(?:more|less|greater|fewer|smaller|larger) than|up to"
    r"|below|above|under|over|before|between|beyond|exceeding)\s",
    re.IGNORECASE,
)
# A value with the condition under which it holds: "18 if n is even, otherwise 20".
_CONDITIONAL = re.compile(r"\d.*\b(?:if|otherwise|unless|else|except|when)\b|\botherwise\b", re.IGNORECASE | re.DOTALL)
_NOT_BUT = re.compile(r"not\s[^.,;]{1,60}?,?\s+but\s+(?:rather\s+)?(?=[-\d$\\(])", re.IGNORECASE)
_HEDGED = re.compile(r"\b(?:maybe|perhaps|possibly|(?:could|might|may) (?:also )?be)\b[\s$\\(]*-?\d", re.IGNORECASE)
_SHORT_ANSWER = 60
_MOST_WORDS = 6
_VALUE = re.compile(r"[\d\\$^=<>|{}∞∅π√≤≥≠½]")
# What a short answer in words does not have: a second line or sentence, a speaker, talk of the answer itself, an end
# that announces something.
_SENTENCE = re.compile(
    r"\n|[.!?]\s+\w|\bI\s+(?!and\b|or\b)[a-z]|\b(?i:I'm|we|you|he|she|they|let|please|my|your|our|answers?|question"
    r"|problem)\b|(?:\b(?:the|an|of|to|in|inside|within|as|by|at|with|that)|:)$"
)
# How precise a value is: these digits are no value.
_ROUNDED = re.compile(
    r"\bto\s+(?:\d|one|two|three|four)\s+(?:decimals?(?:\s+places?)?|significant\s+(?:figures|digits))\b"
)
_OPTION = re.compile(r"\(?([A-H])\)?(?=\s*(?:$|[.,;:]|because\b|since\b|as\b|for\b))")
_JOINING = frozenset(["and", "or", "in"])
# Words, then a value: "he pays 10", "giving $x = 5$", but not "odd $n$" or "Area = 5".
_LEAD_IN = re.compile(
    r"([A-Za-z]{2,})(?:\s+[A-Za-z]+)*\s+(?:(?:\\?[$€£¥₹]|\\\(|[(\[])\s*)?[-+\d\\]*(?:\d|[A-Za-z]+\s*=)"
)
_CLAUSE = re.compile(
    r"(?:\bis\b|\bare\b|\bequals\b|\bto be\b|=)\s+(?!not\b)(?!.*(?:\bis\b|\bare\b|\bequals\b))", re.DOTALL
)
_LEADING_FILLER = re.compile(
    r"^(?:\s|\*\*|:|=|(?:that|thus|therefore|so|simply|just|approximately|about|exactly|then|the|is|are|final answer"
    r"|answer|option|choice)\b)+",
    re.IGNORECASE,
)


def find_answer(text: str, last_number: bool = False) -> Found:
    """The answer of a completion, or of a bare answer. ``last_number`` prefers the last number to mathematics."""
    text = _after_thinking(text)
    filled = without_hollow_boxes(text)
    if filled == text:
        return _find(text, last_number)
    found = _find(filled, last_number)
    return (
        Found(None, "empty box") if found.rule in ("whole", "text", "prose") and not _says_value(found.text) else found
    )


def _find(text: str, last_number: bool) -> Found:
    boxed = last_box(text)
    if boxed is not None:
        return _correction(text) or Found(*boxed)
    if len(text) > _LONGEST_WHOLE and not _SPACE.search(text):
        return Found(text, "whole")
    text = without_exclamations(text)
    tail = _tail(text)
    found = _first_answer(tail, marked(tail), "marker") or _first_answer(tail, anchored(tail), "anchor")
    if found is not None and found.rule != "prose":
        return found
    if verdict := judgement(text):
        return Found(verdict, "judgement")
    if len(text) <= _LONGEST_WHOLE and is_whole(plain := _without_remarks(text)):
        return Found(plain.strip() or None, "prose" if is_prose(plain) else "whole")
    if len(text) <= _SHORT_ANSWER and _is_bound(text.strip()):
        return Found(text.strip(), "text")
    tail = _ROUNDED.sub("", _without_remarks(tail))
    value = _last_number(tail) if last_number else _last_clause(tail) or _last_value(tail)
    if (stated := value or found) is not None:
        return stated
    short = len(text.strip()) <= _SHORT_ANSWER and not is_prose(text)
    return Found(text.strip() or None, "text" if short else "prose")


def _first_answer(text: str, starts: Iterator[int], rule: str) -> Found | None:
    """What is stated at the first of these places that an answer follows; else the first prose, called so."""
    prose = None
    for start in starts:
        statement = _statement(text[start:])
        if statement and not is_prose(statement):
            return Found(statement, rule)
        prose = prose or statement
    return Found(prose, "prose") if prose else None


def _is_bound(text: str) -> bool:
    """Whether a short text says something of a value rather than the value."""
    values = sum(1 for _ in numerals(text))
    return (_BOUNDING.match(text) is not None and (values < 2 or " and " in text)) or _CONDITIONAL.search(
        text
    ) is not None


def _without_remarks(text: str) -> str:
    """The text without explanations in brackets; a second form, as in ``1/2 (or 0.5)``, stays to be compared too."""
    text = _REMARK.sub("", text)
    text = _ALTERNATIVE.sub(r" or \1", text) if "(or" in text else text
    return _THAT_IS.sub(" or ", text) if "i.e" in text or "that is," in text else text


def _tail(text: str) -> str:
    """The end of a long text, from a space on, so that no number is cut in two."""
    if len(text) <= _LONGEST_TAIL:
        return text
    space = _SPACE.search(text, len(text) - _LONGEST_TAIL)
    return text[space.end() :] if space else ""


def _after_thinking(text: str) -> str:
    end = text.rfind("</think>")
    if "```" in text and (fenced := _FENCE.fullmatch(text)):
        return fenced.group(1)
    return text[end + 8 :] if end >= 0 and text[end + 8 :].strip() else text


def _correction(text: str) -> Found | None:
    """A final answer stated again after the last box."""
    after = text[box_start(text) :][-_LONGEST_SENTENCE:]
    found = _first_answer(after, finals(after), "final answer")
    return found if found and found.rule != "prose" else None


# -- statements


def _statement(rest: str) -> str | None:
    """The answer at the start of what follows a marker or an anchor."""
    rest = _SPECIAL.split(rest[:_LONGEST_SENTENCE], maxsplit=1)[0]
    rest = _ROUNDED.sub("", _LEADING_FILLER.sub("", _without_remarks(rest)))
    spans = _mathematics(rest)
    span = spans[0] if spans and spans[0].start == 0 else None
    end = _sentence_end(rest, span.end if span else 0)
    if rest[end : end + 1] == "?" and (span is not None or leading_numeral(rest)):
        return rest[: end + 1].strip()
    sentence = rest[:end].strip()
    sentence = _REASON.split(_CLOSERS.sub("", sentence.replace("**", "")), maxsplit=1)[0].strip().rstrip(".")
    if not sentence:
        return None
    if corrected := _NOT_BUT.match(sentence):
        sentence = sentence[corrected.end() :]
    if _BOUNDING.match(sentence) or _HEDGED.search(sentence) or "otherwise" in sentence:
        return sentence
    if several := leading_compound(sentence):
        return several
    number = leading_numeral(sentence)
    if number:
        if several := leading_list(sentence):
            return several
        number = sentence[: whole_value(sentence, 0, len(number))[1]]
        number = _with_scale(number, sentence[len(number) :])
    if number and is_taken_back(sentence[len(number) :]):
        return sentence
    if number and _goes_on_in_words(sentence[len(number) :]):
        return number
    if is_whole(sentence):
        return sentence
    if span is not None:
        return leading_spans(sentence)
    if number:
        return number
    if option := _OPTION.match(sentence):
        return option.group(1)
    clause = _CLAUSE.search(sentence)
    if clause and is_whole(sentence[clause.end() :]):
        return sentence[clause.end() :].strip()
    value = _last_value(sentence)
    return value.text if value else sentence


def _with_scale(number: str, rest: str) -> str:
    """A number with the word after it that scales it, as in ``7 million``."""
    word = _NEXT_WORD.match(rest)
    return number + word.group() if word and scale_word(word.group().strip()) else number


def _goes_on_in_words(rest: str) -> bool:
    """Whether several words follow a number, and no second value: ``3/4 of the cake``."""
    found = _WORD.findall(rest)
    unknown = [word for word in found if not _is_vocabulary(word)]
    return len(unknown) > 1 and not _JOINING & set(found) and "=" not in rest and "\\" not in rest


def _sentence_end(text: str, start: int) -> int:
    match = _SENTENCE_END.search(text, start)
    return match.start() if match else len(text)


def is_whole(text: str) -> bool:
    """Whether a text is one answer with nothing said around it."""
    text = text.strip()
    if not text or (text.isascii() and text.isalnum()) or is_date(text):
        return True
    outside = _INVISIBLE.sub(" ", _outside(text))
    if _SPOKEN.search(outside):
        return False
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


def is_prose(text: str) -> bool:
    """Whether a text holds no value and is more than a short answer in words."""
    if _says_value(text):
        return False
    text = text.strip()
    many = len(text) > _SHORT_ANSWER or len(text.split()) > _MOST_WORDS
    return many or _SENTENCE.search(text) is not None


def _says_value(text: str | None) -> bool:
    return text is not None and _VALUE.search(text) is not None


def _outside(text: str) -> str:
    """The text with a mark in place of each stretch of mathematics."""
    parts, at = [], 0
    for span in spans_of(text):
        parts += [text[at : span.start], " \x01 "]
        at = span.end
    return "".join(parts) + text[at:]


def _is_vocabulary(word: str) -> bool:
    return word in _JOINING or is_unit_word(word) or word in FUNCTIONS or word in CONSTANTS or word in GREEK


def _last_clause(text: str) -> Found | None:
    """LaTeX without delimiters after the last "is" or "=" of the last sentence."""
    if "\\" not in text or spans_of(text):
        return None
    sentence = re.split(r"[.!?]\s+|\n", text.strip().rstrip("."))[-1]
    clause = _CLAUSE.search(sentence)
    rest = sentence[clause.end() :].strip() if clause else ""
    return Found(rest, "last clause") if "\\" in rest and is_whole(rest) else None


def _last_value(text: str) -> Found | None:
    """The last mathematics or the last number, whichever ends later; none when the words before it reverse it."""
    spans = _mathematics(text)
    number = last_numeral(text)
    if spans and (number is None or number.start() < spans[-1].end):
        start, last, end = list_start(spans, text), spans[-1], spans[-1].end
        if goes_on_from_before(text, start):
            return None
        found = Found(text[start : last.end] if start < last.start else last.inside.strip(), "last mathematics")
    elif number is not None:
        if several := compound_with(text, number.start()) or values_with(text, number.start()):
            start, end = several.start(), number.end()
            found = Found(several.group().strip().rstrip("."), "last number")
        else:
            start, end = whole_value(text, number.start(), number.end())
            value = _with_scale(text[start:end].strip(), text[end : end + 20])
            found = Found(value, "last number")
    else:
        return None
    return None if is_changed(text, start, end) else found


def _mathematics(text: str) -> list[Span]:
    return [span for span in spans_of(text) if _is_mathematics(span, text)]


def _is_mathematics(span: Span, text: str) -> bool:
    """Whether what two dollars hold is mathematics, not the prose between two prices."""
    if span.inside.strip() in _QED:
        return False
    if not span.dollar:
        return True
    words = [word for word in _WORD.findall(_INVISIBLE.sub(" ", span.inside)) if not _is_vocabulary(word)]
    return len(words) < 2 and not (span.inside[-1:].isspace() and text[span.end : span.end + 1].isdigit())


def _last_number(text: str) -> Found | None:
    match = last_numeral(text)
    if match is None:
        return None
    return Found(_with_scale(match.group().strip(), text[match.end() : match.end() + 20]), "last number")


def values_before_last(text: str) -> tuple[str, ...]:
    """Every value of a text but the last, as written: what ``last mathematics`` and ``last number`` leave out."""
    inside = [span.inside.strip() for span in spans_of(text)]
    return tuple(inside or digits_as_written(text))[:-1]
