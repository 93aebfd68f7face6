r"""What an answer's tokens are for: the end of the turn, the final answer, the format around it, or the text before.

DFT learns least where the model gives a label little probability, and these classes tell where that is: an end token
or an answer format that the model never writes is not learned.

    text     everything else
    format   \boxed{ and its brace, or the marker: ####, "answer is", "answer:"
    answer   what is inside the last \boxed{...}; without one, what follows the last marker on its line
    end      the special token that closes the turn
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

CLASSES = ("text", "format", "answer", "end")
TEXT, FORMAT, ANSWER, END = range(4)

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_MARKER = re.compile(r"####|\b[Aa]nswer(?: is|:)")


def classify(text: str, spans: np.ndarray) -> np.ndarray:
    """The class of each token of an answer: uint8 [T]; spans [T, 2] are the characters [start, stop) of each.

    A token belongs to the stretch of text that its last character is in. END is not told here: it is a matter of ids.
    """
    kinds = np.full(len(spans), TEXT, np.uint8)
    last = spans[:, 1] - 1
    for start, stop, kind in _stretches(text):
        kinds[(last >= start) & (last < stop)] = kind
    return kinds


def _stretches(text: str) -> Iterator[tuple[int, int, int]]:
    """Characters [start, stop) and their class, where it is not TEXT."""
    box = _last(_BOX, text)
    if box is not None:
        stop = _closing_brace(text, box.end())
        yield box.start(), box.end(), FORMAT
        yield box.end(), stop, ANSWER
        yield stop, stop + 1, FORMAT
    elif (marker := _last(_MARKER, text)) is not None:
        line = text[marker.end() :].partition("\n")[0]
        yield *marker.span(), FORMAT
        yield marker.end(), marker.end() + len(line.rstrip().rstrip(".")), ANSWER


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return max(pattern.finditer(text), key=re.Match.start, default=None)


def _closing_brace(text: str, start: int) -> int:
    """Where the brace that was opened before `start` is closed; the text's end when it is not."""
    depth = 1
    for found in re.finditer(r"[{}]", text[start:]):
        depth += 1 if found[0] == "{" else -1
        if depth == 0:
            return start + found.start()
    return len(text)
