"""The LaTeX environments of answers: matrices, and ``cases`` as values with their conditions.

Usage: the base of ``Parser``.
"""

from __future__ import annotations

from dftcore.grading.expressions import Expressions
from dftcore.grading.nodes import Func, Items, Matrix, Node, Seq, SetOf, Words
from dftcore.grading.tokens import STOP, Unreadable
from dftcore.grading.vocabulary import MATRICES, words

_OPENS_CONDITION = words("if for when where whenever")


class Environments(Expressions):
    """Reads what stands between ``\\begin`` and ``\\end``; the items inside are read by the class built on this one."""

    def answer(self) -> Node:
        raise NotImplementedError

    def items(self, closing: tuple[str, ...]) -> Node:
        raise NotImplementedError

    def item(self) -> Node:
        raise NotImplementedError

    def matrix(self, name: str) -> Node:
        """The rows of an environment whose ``\\begin`` is already taken; ``cases`` is a list of conditions."""
        if name in ("cases", "dcases"):
            return self._cases()
        if name not in MATRICES:
            raise Unreadable(f"environment {name}")
        made: list[tuple[Node, ...]] = []
        row: list[Node] = []
        while self.next.kind != "end":
            if self.next.kind == "stop":
                raise Unreadable("environment not closed")
            if self.next.kind == "row":
                self.take()
                made.append(tuple(row))
                row = []
            elif self.accept("&"):
                continue
            else:
                row.append(self.scalar(self.additive()))
        self.take()
        made.append(tuple(row))
        matrix = self.rows([row for row in made if row])
        if name in ("vmatrix", "Vmatrix"):
            return Func("det", (matrix,))
        return matrix

    def _cases(self) -> Node:
        """A value and its condition in every row, in any order; without ``&`` a list of conditions."""
        end = next((at for at in range(self.position, len(self.tokens)) if self.tokens[at].kind == "end"), None)
        if end is None:
            raise Unreadable("environment not closed")
        if all(token.text != "&" for token in self.tokens[self.position : end]):
            conditions = self.items(())
            if self.take().kind != "end":
                raise Unreadable("environment not closed")
            return Items(conditions.items, "and") if isinstance(conditions, Items) else conditions
        pieces: list[Node] = []
        while self.position < end:
            value = self.item()
            self.accept(",")
            self.expect("&")
            pieces.append(Seq("cases", (value, self._condition(end)), "cases"))
        self.take()
        return SetOf(tuple(pieces))

    def _condition(self, end: int) -> Node:
        """What follows ``&`` in a row: a relation, or its words as they stand."""
        start = self.position
        row = next((at for at in range(start, end) if self.tokens[at].kind == "row"), end)
        self.position = min(row + 1, end)
        tokens = self.tokens[start:row]
        while tokens and tokens[-1].text in (",", ";"):
            tokens.pop()
        if tokens and tokens[0].text.lower() in _OPENS_CONDITION:
            del tokens[0]
        try:
            return type(self)([*tokens, STOP], self.limits, self.budget).answer()
        except Unreadable:
            return Words(" ".join(token.text for token in tokens).casefold().strip(" .,"))

    def rows(self, rows: list[tuple[Node, ...]]) -> Matrix:
        if not rows or any(len(row) != len(rows[0]) for row in rows):
            raise Unreadable("ragged matrix")
        return Matrix(tuple(rows))
