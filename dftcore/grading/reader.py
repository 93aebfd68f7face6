"""The token cursor that both halves of the parser share, with its caps on depth and nodes.

Usage: subclassed by ``Expressions`` and then ``Parser``.
"""

from __future__ import annotations

from dftcore.grading.budget import Budget
from dftcore.grading.policy import Limits
from dftcore.grading.tokens import STOP, Token, Unreadable


class Reader:
    """Walks over tokens, one ahead. ``depth`` and ``budget`` bound the recursion of everything built on it."""

    def __init__(self, tokens: list[Token], limits: Limits, budget: Budget) -> None:
        self.tokens = tokens
        self.position = 0
        self.limits = limits
        self.budget = budget
        self.depth = 0
        self.bars = 0  # absolute values now open
        self.in_builder = False  # inside a set, where a bar means "such that"

    @property
    def next(self) -> Token:
        return self.tokens[self.position]

    def ahead(self, count: int) -> Token:
        index = self.position + count
        return self.tokens[index] if index < len(self.tokens) else STOP

    def take(self) -> Token:
        token = self.tokens[self.position]
        if token.kind != "stop":
            self.position += 1
        return token

    def at(self, *texts: str) -> bool:
        """Whether the next token is one of these operators or commands."""
        token = self.tokens[self.position]
        return token.text in texts and token.kind in ("op", "cmd", "row")

    def accept(self, *texts: str) -> bool:
        if self.at(*texts):
            self.position += 1
            return True
        return False

    def expect(self, *texts: str) -> Token:
        if not self.at(*texts):
            raise Unreadable(f"{texts[0]} expected, {self.next.text or 'end'} found")
        return self.take()

    def push(self, *tokens: Token) -> None:
        """Put tokens in place of the one just taken."""
        self.position -= 1
        self.tokens[self.position : self.position + 1] = tokens

    def deeper(self) -> None:
        self.depth += 1
        self.budget.spend()
        if self.depth > self.limits.depth:
            raise Unreadable("nested too deep")

    def raw_group(self) -> str:
        """The plain text of a script: one token, or everything inside its braces."""
        if not self.accept("{"):
            return self.take().text
        parts: list[str] = []
        depth = 1
        while self.next.kind != "stop":
            token = self.take()
            depth += (token.text == "{") - (token.text == "}")
            if depth == 0:
                return "".join(parts)
            parts.append(token.text.replace(" ", ""))
        raise Unreadable("script not closed")
