"""Boxed answers: the last ``\\boxed{...}`` of a text, with those joined to it by commas or "and".

Usage: ``last_box(r"\\boxed{3} and \\boxed{5}")`` is ``"3, 5"``.
"""

from __future__ import annotations

import re

_MOST_JOINED = 64
_FARTHEST = 4_000
_BOXES = ("\\boxed", "\\fbox", "\\framebox")
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])")
_BRACE = re.compile(r"\\?[{}]|\\\\")
_JOINT = re.compile(
    r"(?:[\s,;$&]|\\[()\[\],;:! ]|\\q?quad|\\(?:text|mbox)\{\s*(?:and|or)?\s*\}|and|or"
    r"|[A-Za-z](?:_\{?\w\}?)?\s*=)*"
)
# A box with no groups within groups, and the dollars or brackets right around it.
_FLAT = re.compile(
    r"(?P<open>(?:\$\$?|\\[(\[])\s*)?\\(?:boxed|fbox|framebox)\s*"
    r"\{(?P<inside>(?:[^{}]|\{[^{}]{0,60}\}){0,60})\}(?(open)(?P<close>\s*(?:\$\$?|\\[)\]]))?)"
)
_EMPTY = re.compile(r"(?:[\s.…_?${}~]|\\(?:[lcv]?dots|quad|qquad|text|mbox)(?![A-Za-z])|\\[,;:! ])*")
_PLACEHOLDER = re.compile(
    r"(?:\W|_|\\(?:text|mbox|mathrm|textbf)(?![A-Za-z])|\b(?:your|my|the|an?|final|correct|numerical|result|value|goes)\b)*"
    r"\b(?:answers?|here|placeholder)\b(?:\W|_|\b(?:answers?|here|goes|value)\b)*",
    re.IGNORECASE,
)
_JOINER = re.compile(r",|;|and|or")


def box_start(text: str, end: int | None = None) -> int:
    """Where the last box before ``end`` starts, or -1."""
    return max(text.rfind(name, 0, end) for name in _BOXES)


def without_hollow_boxes(text: str) -> str:
    """The text without the boxes that hold nothing, an ellipsis or a placeholder such as ``your answer here``."""
    if box_start(text) < 0:
        return text
    return _FLAT.sub(_filled, text)


def _filled(box: re.Match[str]) -> str:
    if not (_EMPTY.fullmatch(box["inside"]) or _PLACEHOLDER.fullmatch(box["inside"])):
        return box.group()
    return " " if box["close"] else (box["open"] or "") + " "


def last_box(text: str) -> tuple[str | None, str] | None:
    """What the last boxes of a text hold, and the rule's name; nothing is held by one that is not closed. None when
    the text has no box."""
    start = box_start(text)
    if start < 0:
        return None
    parts: list[str] = []
    joint = ", "
    following = len(text)
    while start >= 0 and len(parts) < _MOST_JOINED:
        inside = _boxed_at(text, start)
        if inside is None:
            return (None, "box not closed") if not parts else (joint.join(reversed(parts)), "box")
        content, end = inside
        if parts:
            between = text[end:following]
            if len(between) > 60 or not _JOINER.search(between) or not _JOINT.fullmatch(between):
                break
            joint = " or " if "or" in between else ", "
        parts.append(content)
        following = start
        start = box_start(text, following)
        if start >= 0 and following - start > _FARTHEST:
            break
    answer = joint.join(reversed(parts)).strip()
    return answer or None, "box"


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
