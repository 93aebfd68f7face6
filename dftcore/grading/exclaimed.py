"""Exclamation marks after numbers: what ends a sentence of prose is no factorial, ``the maximum is 7!``.

A mark belongs to the prose when words or a colon lead up to the number, the sentence ends with it, and nothing in the
text speaks of factorials: no other one is written, nothing is multiplied, and there is nothing to arrange. Everywhere
else it is mathematics: ``7!``, ``n = 7!``, ``7! ways``, ``$7!$``.

Usage: ``without_exclamations("the maximum is 7!")`` is ``"the maximum is 7."``.
"""

from __future__ import annotations

import re

_EXCLAIMED = re.compile(
    r"((?:[A-Za-z]['’]?|(?<=[A-Za-z]):)\**\s+\**-?[$€£]?\d[\d.,/:]*%?)!+(?=\**(?:\s*$|\s+[A-Z]|\s*\n))"
)
_FACTORIALS = re.compile(
    r"(?:\d|[)\]}]|\b[a-z])!\s*(?:[-+/=)\]}^,;:.×·\\$a-z]|\*(?!\*))"
    r"|(?i:\b(?:factorial|permut|arrang|product|multipl|shuffl)"
    r"|\b(?:ways?|orders?|orderings?|seat(?:s|ed|ing)?|line up|queues?|rankings?)\b)"
)


def without_exclamations(text: str) -> str:
    """The text with a full stop for every exclamation mark after a number that belongs to its prose."""
    if "!" not in text or not _EXCLAIMED.search(text) or _FACTORIALS.search(text):
        return text
    return _EXCLAIMED.sub(r"\1.", text)
