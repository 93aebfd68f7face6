"""Comparison of two parsed answers by kind. Symmetric: no rule asks which side is the gold.

Each rule that can decide has a name, kept in ``Comparison.rule`` for ``explain``.

Usage: ``Comparison(policy, budget).same(left, right)``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from dftcore.grading.clock import same_time
from dftcore.grading.compounds import added_up
from dftcore.grading.equations import same_relations
from dftcore.grading.matrices import as_matrix, as_vector
from dftcore.grading.names import are_verdicts
from dftcore.grading.nodes import (
    DOTS,
    EMPTY,
    SCALARS,
    Based,
    Choice,
    Const,
    Func,
    Items,
    Matrix,
    Node,
    Num,
    Quantity,
    Ratio,
    Relation,
    Seq,
    SetOf,
    SetOp,
    Sym,
    Words,
    walk,
)  # fmt: skip
from dftcore.grading.numeric import symbols
from dftcore.grading.quantities import Measures
from dftcore.grading.readings import Named, settle
from dftcore.grading.regions import Region, region_of
from dftcore.grading.scalars import same_scalars

_SETS = (SetOf, SetOp, Relation)


class Comparison(Measures):
    """One comparison under one policy, paid from one budget."""

    def same(self, left: Node, right: Node) -> bool:
        """Whether the two answers are the same. Raises OutOfBudget."""
        self.budget.spend()
        return self._settled(self._summed_up(settle(left)), self._summed_up(settle(right)))

    def _summed_up(self, node: Node) -> Node:
        """A true chain of constants, such as ``180 + 24 = 204``, states its last member; a false one nothing."""
        if not isinstance(node, Relation) or set(node.ops) != {"="} or symbols(node):
            return node
        true = (
            node.args[0] != node.args[-1]
            and all(isinstance(arg, SCALARS) for arg in node.args)
            and all(same_scalars(first, second, self.policy, self.budget) for first, second in pairwise(node.args))
        )
        return node.args[-1] if true else node

    def _settled(self, left: Node, right: Node) -> bool:
        if left == right:
            return self._decide(True, "same form")
        if isinstance(left, Named) or isinstance(right, Named):
            return self._named(left, right)
        left, right = as_vector(left, right), as_vector(right, left)
        for rule in (self._choice, self._collections, self._matrices, self._relations, self._ranges, self._others):
            verdict = rule(left, right)
            if verdict is None and type(left) is not type(right):
                verdict = rule(right, left)
            if verdict is not None:
                return verdict
        return self._measured(left, right)

    # -- names

    def _named(self, left: Node, right: Node) -> bool:
        if isinstance(left, Named) and isinstance(right, Named):
            if self._same_name(left, right):
                return self.same(left.value, right.value)
            return self._decide(same_relations(left.relation, right.relation, self.policy, self.budget), "equations")
        if not isinstance(left, Named):
            left, right = right, left
        return isinstance(left, Named) and self._named_against(left, right)

    def _named_against(self, named: Named, other: Node) -> bool:
        if isinstance(other, Relation) and "=" in other.ops:
            return self._decide(same_relations(named.relation, other, self.policy, self.budget), "equations")
        if isinstance(other, Items) and isinstance(named.name, (Seq, Items)):
            spread = self._spread(named)
            if spread is not None and any(isinstance(item, Named) for item in other.items):
                return self._settled(spread, other)
        if isinstance(other, Relation) and self._about(other) not in (None, named.name):
            return self._decide(False, "named value")
        return self._decide(self.same(named.value, other), "named value")

    def _about(self, relation: Relation) -> Node | None:
        region = region_of(relation, self.policy.limits, self.budget)
        return region.subject if region else None

    def _same_name(self, left: Named, right: Named) -> bool:
        """Equal names; ``x`` for ``x_1``, when solutions are numbered; one side's ``y`` for the other's ``f(x)``."""
        if left.name == right.name or self._quietly_same(left.name, right.name):
            return True
        if isinstance(left.name, Func) and isinstance(right.name, Func) and left.name.args == right.name.args:
            return left.name.name.lower() == right.name.name.lower()
        if isinstance(left.name, Sym) and isinstance(right.name, Sym):
            numbered = ("_" in left.name.name) != ("_" in right.name.name)
            return numbered and _family(left.name) == _family(right.name)
        kinds = {type(left.name), type(right.name)}
        if kinds != {Sym, Func}:
            return False
        plain, inside = (left.name, right.name) if isinstance(left.name, Sym) else (right.name, left.name)
        return plain == Sym("y") and isinstance(inside, Func)

    def _quietly_same(self, left: Node, right: Node) -> bool:
        if isinstance(left, (Seq, Ratio)) or isinstance(right, (Seq, Ratio)):
            return False
        return isinstance(left, SCALARS) and isinstance(right, SCALARS) and self._scalars(left, right)

    def _spread(self, named: Named) -> Items | None:
        """``(x, y) = (1, 2)`` as ``x = 1, y = 2``."""
        names, values = named.name, named.value
        if not isinstance(names, Seq) or not isinstance(values, Seq) or len(names.items) != len(values.items):
            return None
        pairs = zip(names.items, values.items, strict=True)
        return Items(tuple(Named(name, value, Relation(("=",), (name, value))) for name, value in pairs))

    # -- options, words, bases

    def _choice(self, left: Node, right: Node) -> bool | None:
        if not isinstance(left, Choice):
            return None
        if isinstance(right, Choice):
            if left.letter != right.letter:
                return self._decide(False, "option letter")
            both = left.content is not None and right.content is not None
            return self._decide(not both or self.same(left.content or EMPTY, right.content or EMPTY), "option letter")
        if right in (Sym(left.letter), Sym(left.letter.lower())):
            return self._decide(True, "option letter")
        if left.content is None or isinstance(left.content, Sym):  # a letter after the option's is another option's
            return False
        return self._decide(self.same(left.content, right), "option content")

    def _others(self, left: Node, right: Node) -> bool | None:
        if isinstance(left, Words):
            if isinstance(right, Ratio) and right.clock:
                return self._decide(same_time(left.text, right), "time of day")
            return self._decide(left == right, "words")
        if isinstance(left, Based):
            same = (
                isinstance(right, Based)
                and left.base == right.base
                and left.digits.lstrip("0") == right.digits.lstrip("0")
            )
            return self._decide(same, "digits in a base")
        if isinstance(left, Ratio) and not isinstance(right, Words):
            return self._decide(self._ratio(left, right), "ratio")
        if isinstance(left, Relation):
            return self._decide(False, "relation")
        return None

    # -- lists, sets, tuples, vectors

    def _collections(self, left: Node, right: Node) -> bool | None:
        if isinstance(left, (Items, SetOf)) and isinstance(right, (Items, SetOf)):
            if self._is_range(left) or self._is_range(right):
                return None
            return self._decide(self._same_members(left, right), "members")
        if isinstance(left, Seq) and isinstance(right, Seq):
            same = (left.opening, left.closing) == (right.opening, right.closing)
            return self._decide(same and self._in_order(left.items, right.items), "items in order")
        if isinstance(left, Seq) and isinstance(right, Matrix):
            cells = right.rows[0] if len(right.rows) == 1 else tuple(row[0] for row in right.rows)
            flat = len(right.rows) == 1 or len(right.rows[0]) == 1
            return self._decide(flat and len(left.items) > 1 and self._in_order(left.items, cells), "vector")
        if isinstance(left, Seq) and isinstance(right, (Items, SetOf)):
            if self._is_range(right):
                return None
            if isinstance(right, Items) and all(isinstance(item, Named) for item in right.items):
                named = _placed([item for item in right.items if isinstance(item, Named)])
                values = [item.value for item in named]
                distinct = len({item.name for item in named}) == len(named)
                return self._decide(distinct and self._in_order(left.items, values), "items in order")
            if isinstance(right, SetOf) and len(right.items) == 1 and isinstance(right.items[0], Seq):
                return self._decide(left.closing == ")" and self.same(left, right.items[0]), "single member")
            return self._decide(self.policy.tuples_as_sets and self._same_members(SetOf(left.items), right), "members")
        if isinstance(left, Seq) and isinstance(right, Func) and len(right.args) == len(left.items) > 1:
            label = len(right.name) == 1 and right.name.isupper() and (left.opening, left.closing) == ("(", ")")
            return self._decide(label and self._in_order(left.items, right.args), "labelled point")
        if isinstance(left, SetOf) and isinstance(right, (*SCALARS, Quantity)):
            single = len(left.items) == 1 and right != EMPTY
            return self._decide(single and self.same(left.items[0], right), "single member")
        if isinstance(left, Items) and isinstance(right, (*SCALARS, Quantity)):
            whole = added_up(left.items) if left.joiner != "or" else None
            if whole is not None:
                return self._decide(self.same(whole, right), "quantity in several units")
            one = left.joiner == "or" and all(self.same(item, right) for item in left.items)
            return self._decide(one, "one value written in several ways" if one else "members")
        return None

    def _is_range(self, node: Items | SetOf) -> bool:
        """Whether a list is one of conditions, such as ``x < -1 or x > 1``, rather than of values."""
        if not isinstance(node, Items) or not any(map(self._is_condition, node.items)):
            return False
        return region_of(node, self.policy.limits, self.budget) is not None

    def _is_condition(self, node: Node) -> bool:
        if isinstance(node, Named):
            return node.value == Const("R") or not isinstance(node.value, SCALARS)
        return isinstance(node, (Relation, SetOp))

    def _same_members(self, left: Items | SetOf, right: Items | SetOf) -> bool:
        mine, other = left.items, right.items
        if isinstance(left, SetOf) or isinstance(right, SetOf):
            if self._names_only_one(mine, other):
                return False  # a set does not say which value is whose
            return all(self._found(item, other) is not None for item in mine) and all(
                self._found(item, mine) is not None for item in other
            )
        if len(mine) != len(other):
            return False
        joiners = {getattr(left, "joiner", ""), getattr(right, "joiner", "")}
        if joiners == {"and", "or"} and not any(isinstance(part, Num) for item in mine for part in walk(item)):
            return False  # statements or names joined by different connectives
        if self.policy.ordered_lists or DOTS in mine or are_verdicts(mine) or self._names_only_one(mine, other):
            return self._in_order(mine, other)
        spare = Counter(other)
        spare.subtract(Counter(mine))
        remaining = [item for item, count in spare.items() for _ in range(count)]
        for item in (item for item, count in spare.items() for _ in range(-count)):
            at = self._found(item, remaining)
            if at is None:
                return False
            del remaining[at]
        return True

    def _names_only_one(self, left: Sequence[Node], right: Sequence[Node]) -> bool:
        """Whether one list says which value is whose, and the other can only say so by its order."""
        first = {_family(item.name) for item in left if isinstance(item, Named)}
        second = {_family(item.name) for item in right if isinstance(item, Named)}
        return (len(first) > 1 and not second) or (len(second) > 1 and not first)

    def _found(self, item: Node, among: Sequence[Node]) -> int | None:
        self.budget.spend(1 + len(among) // 8)
        if item in among:
            return list(among).index(item)
        return next((index for index, other in enumerate(among) if self.same(item, other)), None)

    def _in_order(self, left: Sequence[Node], right: Sequence[Node]) -> bool:
        return len(left) == len(right) and all(map(self.same, left, right))

    # -- matrices, relations, ranges of numbers

    def _matrices(self, left: Node, right: Node) -> bool | None:
        first, second = as_matrix(left, self.budget), as_matrix(right, self.budget)
        if first is None and second is None:
            return None
        if first is None or second is None:
            return self._decide(False, "matrix")
        same = len(first.rows) == len(second.rows) and all(map(self._in_order, first.rows, second.rows))
        return self._decide(same, "matrix")

    def _relations(self, left: Node, right: Node) -> bool | None:
        if not (isinstance(left, Relation) and isinstance(right, Relation)):
            return None
        first = region_of(left, self.policy.limits, self.budget)
        second = region_of(right, self.policy.limits, self.budget)
        if first is not None and second is not None:
            return self._decide(self._same_region(first, second), "set of numbers")
        return self._decide(same_relations(left, right, self.policy, self.budget), "relation")

    def _ranges(self, left: Node, right: Node) -> bool | None:
        sets = (*_SETS, Seq, Items)
        if not all(isinstance(node, sets) or node in (EMPTY, Const("R")) for node in (left, right)):
            return None
        first = region_of(left, self.policy.limits, self.budget)
        second = region_of(right, self.policy.limits, self.budget)
        if first is not None and second is not None:
            return self._decide(self._same_region(first, second), "set of numbers")
        if isinstance(left, SetOp) and isinstance(right, SetOp) and left.op == right.op:
            straight = self.same(left.left, right.left) and self.same(left.right, right.right)
            crossed = (
                left.op != "difference" and self.same(left.left, right.right) and self.same(left.right, right.left)
            )
            return self._decide(straight or crossed, "set operation")
        return self._decide(False, "set of numbers")

    def _same_region(self, left: Region, right: Region) -> bool:
        if left.subject is not None and right.subject is not None and left.subject != right.subject:
            return False
        if len(left.pieces) != len(right.pieces):
            return False
        for first, second in zip(left.pieces, right.pieces, strict=True):
            if (first.low_closed, first.high_closed) != (second.low_closed, second.high_closed):
                return False
            if not self._scalars(first.low.node, second.low.node) or not self._scalars(
                first.high.node, second.high.node
            ):
                return False
        return True


def _family(name: Node) -> Node:
    """The name without its subscript: solutions ``x_1`` and ``x_2`` are both an ``x``."""
    return Sym(name.name.partition("_")[0]) if isinstance(name, Sym) else name


def _placed(named: list[Named]) -> list[Named]:
    """Values in the order of a tuple: by name where the names are coordinates or neighbours in the alphabet, such as
    ``a, b, c`` and ``p, q``; else as listed, as ``m = 2, b = 1`` and ``x, y, z, w`` are."""
    by_letter = {item.name.name: item for item in named if isinstance(item.name, Sym) and len(item.name.name) == 1}
    letters = sorted(by_letter)
    neighbours = all(ord(second) - ord(first) == 1 for first, second in pairwise(letters)) and letters[:1] != ["w"]
    if len(letters) < len(named) or not (neighbours or set("xyz").issuperset(letters)):
        return named
    return [by_letter[letter] for letter in letters]
