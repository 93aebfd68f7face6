"""Phrases after which an answer is stated: ``####``, "the answer is", "final answer:", and their like abroad.

Usage: ``[text[end:] for end in anchored(text)]`` holds what follows each, the last one first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_MOST = 16  # phrases that are looked at from the end of a text
_MARKER = re.compile(r"####|^A:", re.MULTILINE)
_FINAL = re.compile(r"\bfinal\s+answer\s*(?:\*\*)?\s*(?::|is\b)(?:\s|[:*])*", re.IGNORECASE)
_ANCHOR = re.compile(
    r"(?:final\s+answer|answer|ans|correct\s+option|correct\s+choice)s?[\"'`]?\s*(?:\*\*)?\s*"
    r"(?:(?:to|of|for|in|is)\b[^.\n:=$]{0,80}?)??(?:\bis\b|\bare\b|\bwas\b|\bequals\b|\bbe\b|:|=|\n|(?<=ans)\.\s)(?:\s|[:*])*",
    re.IGNORECASE,
)
# The same in other languages; what follows a copula or a colon is the answer.
_ABROAD = re.compile(
    r"(?:r[ée]ponse(?:\s+finale)?\s*(?:est\b|:)|respuesta(?:\s+final)?\s*(?:es\b|:)|resposta(?:\s+final)?\s*(?:é|:)"
    r"|risposta(?:\s+finale)?\s*(?:è|:)|antwort\s*(?:ist\b|lautet\b|:)|antwoord\s*(?:is\b|:)|svaret?\s*(?:är\b|er\b|:)"
    r"|odpowied[źz]\s*(?:to\b|:)|ответ\s*[:：—-]|відповідь\s*[:：—-]|cevap\s*:|jawaban(?:nya)?\s*(?:adalah\b|:)"
    r"|đáp\s+(?:án|số)\s*(?:là\b|:)|答案\s*(?:是|为|為|[:：])|答え\s*(?:は|[:：])|(?:정답|답)\s*(?:은|[:：])|उत्तर\s*(?:है|:)"
    r"|الجواب\s*(?:هو|:))(?:\s|[:：*])*",
    re.IGNORECASE,
)
_ABROAD_WORDS = ("respuesta", "resposta", "risposta", "antwo", "svar", "odpowied", "cevap", "jawaban", "reponse")
# "if your answer is more than 10", "check that the answer is 5": the answer is supposed, not stated.
_SUPPOSED = re.compile(
    r"\b(?:if|whether|unless|until|once|when|assuming|(?:check|ensure|sure|verify|suppose|assume)(?:\s+that)?"
    r"|(?:(?:n't|not|never)\s+(?:think|believe|say|mean)|doubt)(?:\s+that)?)\s+"
    r"(?:(?:the|your|my|our|his|her|their|its|this|that|an?|final|correct|exact)\s+)*$",
    re.IGNORECASE,
)
# "the wrong answer is 5", "my previous answer was 5"
_OTHER = re.compile(
    r"\b(?:wrong|incorrect|mistaken|false|old|previous|initial|earlier)\s+(?:final\s+)?$", re.IGNORECASE
)
_SUPPOSED_REACH = 60
_MODAL = re.compile(r"\b(?:must|should|can|cannot|could|may|might|needs?|ought)\b", re.IGNORECASE)
# "the answer is correct", "the answer is rounded to 2 decimals": said of the answer, not the answer.
_ABOUT = re.compile(
    r"(?:not\s+)?(?:correct|incorrect|wrong|clear|obvious|unknown|known|rounded|written|expressed|printed|placed|put"
    r"|based|seen)\b(?!\s*(?::|option\b|choice\b|answer\b))",
    re.IGNORECASE,
)


def marked(text: str) -> Iterator[int]:
    """Where ``####`` and ``A:`` at the start of a line end, the last one first."""
    return _ends(_MARKER, text) if "####" in text or "A:" in text else iter(())


def finals(text: str) -> Iterator[int]:
    """Where each "final answer is" ends, the last one first."""
    return _ends(_FINAL, text) if "inal " in text else iter(())


def anchored(text: str) -> Iterator[int]:
    """Where each phrase in words that announces an answer ends, the last one first, English before the others."""
    lowered = text.lower()
    if "ans" in lowered or "correct" in lowered:
        yield from _ends(_ANCHOR, text)
    if not text.isascii() or any(word in lowered for word in _ABROAD_WORDS):
        yield from _ends(_ABROAD, text)


def _ends(pattern: re.Pattern[str], text: str) -> Iterator[int]:
    for match in list(pattern.finditer(text))[: -_MOST - 1 : -1]:
        before = text[max(match.start() - _SUPPOSED_REACH, 0) : match.start()]
        supposed = _SUPPOSED.search(before) or _OTHER.search(before)
        if not (supposed or _MODAL.search(match.group()) or _ABOUT.match(text, match.end())):
            yield match.end()
