"""The checker: read both sides, compare them, say why.

``check`` never raises and never runs anything it reads; ``explain`` tells the rule that decided and whether the
comparison ended within its limits.

Usage: ``check("1/2", r"so the answer is \\boxed{0.5}")`` is True.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from dftcore.grading.budget import Budget, OutOfBudget
from dftcore.grading.compare import Comparison
from dftcore.grading.extract import Found, find_answer, values_before_last
from dftcore.grading.letters import as_written, is_product, labels_differ, letters
from dftcore.grading.nodes import (
    SCALARS,
    Add,
    Based,
    Choice,
    Const,
    Func,
    Items,
    Matrix,
    Mul,
    Node,
    Num,
    Pow,
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
from dftcore.grading.parser import parse
from dftcore.grading.policy import STRICT, Limits, Policy, policy_named
from dftcore.grading.readings import is_finite
from dftcore.grading.restated import in_brackets
from dftcore.grading.scalars import same_scalars
from dftcore.grading.textform import peel, text_key, tidy, word_key

_PLAIN = re.compile(r"[-+]?\d{1,18}(?:\.\d{1,12})?")
_DECIMAL_COMMA = re.compile(r"(?<![\d,])(\d+),(\d+)(?![\d,])")
_LEADING_ZERO = re.compile(r",\s*0\d")
_WORD = re.compile(r"[a-z]{2,}")
_HOLLOW = re.compile(r"\\(?![lcv]?dots)[A-Za-z]+|[\s${}\\]")
_ODDS = re.compile(r"\bodds\b", re.IGNORECASE)
_ODDS_REACH = 300
_LONGEST_TIDIED = STRICT.limits.chars  # longer texts are compared as they are
# Rules that leave words of the text out. Two short texts read by them must also have the same words: "at least 5" is
# not "at most 5".
_FALLBACKS = frozenset({"last clause", "last mathematics", "last number"})
_SHORT = 80
_CACHED_LENGTH = 1_000
_PARSE_SECONDS = 0.2


# What ``explain`` calls the kinds of values.
_KINDS: dict[type, str] = {
    Num: "number", Sym: "symbol", Const: "constant", Add: "sum", Mul: "product", Pow: "power", Func: "function",
    Quantity: "quantity", Based: "digits in a base", Ratio: "ratio", Seq: "tuple or interval", SetOf: "set",
    Items: "list", SetOp: "set operation", Matrix: "matrix", Relation: "relation", Words: "words", Choice: "option",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Explanation:
    """``verdict``; the ``rule`` that decided; how each side was read; ``status`` ok, timeout, limit or error.

    A status other than ok goes with a False verdict: the comparison did not end.
    """

    verdict: bool
    rule: str
    gold: str
    prediction: str
    status: str = "ok"


@dataclass(frozen=True, slots=True)
class Reading:
    """One side: the answer found in it (None: no answer) by which rule, and the key of its text."""

    answer: str | None
    rule: str
    key: str
    whole: str = ""  # the whole text, when it is short: an answer in prose may be met as it stands
    said: tuple[str, ...] = ()  # the words of a text too short to be a completion
    before: tuple[str, ...] = ()  # the words and the values that the answer was picked out of
    odds: bool = False  # whether the end of the text speaks of odds

    def describe(self, node: Node | None = None) -> str:
        shown = (
            "nothing" if self.answer is None else self.answer if len(self.answer) < 200 else self.answer[:197] + "..."
        )
        return f"{_KINDS.get(type(node), 'text')} by {self.rule}: {shown}"


def check(gold: str, prediction: str, policy: Policy | str | None = None) -> bool:
    """Whether two answers are the same; each side is a bare answer or a whole completion.

    Never raises, whatever the texts; a comparison that would pass its limits is False (``explain`` tells). An
    unknown policy name raises ValueError.
    """
    return explain(gold, prediction, policy).verdict


def extract_answer(completion: str) -> str | None:
    """The answer that a completion states, as written in it, or None when it states none, as prose without a value."""
    return locate_answer(completion).text


def locate_answer(completion: str, policy: Policy | str | None = None) -> Found:
    """``extract_answer``, and the name of the rule that found it; those that only take the last value begin so."""
    if not isinstance(completion, str):
        return Found(None, "no text")
    try:
        found = find_answer(completion, policy_named(policy).last_number)
        return found if found.rule != "prose" else Found(None, "prose")
    except (RecursionError, MemoryError):
        return Found(None, "stopped")


def explain(gold: str, prediction: str, policy: Policy | str | None = None) -> Explanation:
    """What ``check`` decides, by which rule, and how each side was read. Raises only for an unknown policy name."""
    chosen = policy_named(policy)
    try:
        return _explain(gold, prediction, chosen)
    except OutOfBudget as stop:
        return Explanation(False, "stopped", _shorten(gold), _shorten(prediction), stop.status)
    except (RecursionError, MemoryError):
        return Explanation(False, "stopped", _shorten(gold), _shorten(prediction), "limit")
    except Exception as fault:  # the boundary of the package: a fault in it must not end a training run
        return Explanation(False, f"fault: {type(fault).__name__}", _shorten(gold), _shorten(prediction), "error")


def _shorten(text: object) -> str:
    shown = str(text)
    return shown if len(shown) < 200 else shown[:197] + "..."


def _explain(gold: str, prediction: str, policy: Policy) -> Explanation:
    left, right = _read(gold, policy), _read(prediction, policy)
    if left.answer is None or right.answer is None:
        same = left.answer is right.answer and _says_something(gold, left.rule) and gold.strip() == prediction.strip()
        return Explanation(same, "identical text" if same else "no answer", left.describe(), right.describe())
    if left.said and right.said and left.said != right.said:
        return Explanation(False, "different words", left.describe(), right.describe())
    if left.before and right.before and left.before[0] == right.before[0] and left.before != right.before:
        return Explanation(False, "different values in the same words", left.describe(), right.describe())
    if _PLAIN.fullmatch(left.answer) and _PLAIN.fullmatch(right.answer):
        rule = _same_plain(left.answer, right.answer, policy)
        return Explanation(rule is not None, rule or "different values", left.describe(), right.describe())
    budget = Budget(policy.limits.steps, policy.limits.seconds)
    first = _parse(left.answer, policy.limits)
    second = _parse(right.answer, policy.limits) if right.answer != left.answer else first
    if not left.key or not right.key:
        return Explanation(False, "no answer", left.describe(first), right.describe(second))
    verdict, rule = _decide(left, first, right, second, policy, budget)
    return Explanation(verdict, rule, left.describe(first), right.describe(second))


def _says_something(text: object, rule: str) -> bool:
    """Whether a text without an answer is more than an empty box, empty groups or dollars."""
    return isinstance(text, str) and rule != "box" and _HOLLOW.sub("", text) != ""


def _same_plain(left: str, right: str, policy: Policy) -> str | None:
    """Two numerals without any markup: by far the most common pair."""
    first, second = _plain(left), _plain(right)
    if first.value == second.value:
        return "exact value"
    return same_scalars(first, second, policy, Budget(1_000, 1.0))


def _plain(text: str) -> Num:
    whole, point, decimals = text.partition(".")
    place = Fraction(1, 10 ** len(decimals)) if point else None
    return Num(Fraction(int(whole + decimals), 10 ** len(decimals)), place)


def _decide(
    left: Reading, first: Node | None, right: Reading, second: Node | None, policy: Policy, budget: Budget
) -> tuple[bool, str]:
    for node in {first, second}:
        if node is not None and not is_finite(node, policy.limits, budget):
            return False, "not finite"
    if left.key == right.key or _is_whole_of(right, left.key) or _is_whole_of(left, right.key):
        return True, "identical text"
    if (_is_worded(first) or _is_worded(second)) and labels_differ(left.answer or "", right.answer or ""):
        return False, "labels"
    if _is_odds(left, first, second) or _is_odds(right, second, first):
        return False, "odds"
    if (twice := _restated(left, first, right, second, policy, budget)) is not None:
        return twice, "value said twice"
    one, other = _lettered(left, first), _lettered(right, second)
    if one is not None and other is not None:
        return _compare(one, other, policy, budget)
    if first is not None and second is not None:
        verdict, rule = _compare(first, second, policy, budget)
        if not verdict:
            verdict, rule = _second_readings(left, first, right, second, policy, budget) or (verdict, rule)
        return verdict, rule
    same = _words(left) == _words(right) != ""
    return same, "same words" if same else "different text"


def _is_worded(node: Node | None) -> bool:
    return node is None or any(isinstance(part, Words) for part in walk(node))


def _is_odds(reading: Reading, node: Node | None, other: Node | None) -> bool:
    """Whether one side states odds and the other a number: odds of 1 to 3 are a chance of 1/4, not 1/3."""
    return reading.odds and isinstance(node, Ratio) and isinstance(other, SCALARS)


def _lettered(reading: Reading, node: Node | None) -> Node | None:
    """Letters that make no word, as a product or in their order."""
    text = reading.answer
    said = isinstance(node, Words) and text is not None and node.text == text.lower()
    return as_written(text) if said and is_product(text) else None


def _is_whole_of(reading: Reading, key: str) -> bool:
    """Whether a whole text has this key. Layout takes so much room at most, so longer texts are not looked at."""
    return 0 < len(reading.whole) <= 100 + 4 * len(key) and _whole_key(reading.whole) == key


def _words(reading: Reading) -> str:
    answer = reading.answer or ""
    return word_key(tidy(answer)) if len(answer) <= _LONGEST_TIDIED else answer


def _compare(first: Node, second: Node, policy: Policy, budget: Budget) -> tuple[bool, str]:
    comparison = Comparison(policy, budget)
    verdict = comparison.same(first, second)
    return verdict, comparison.rule


def _second_readings(
    left: Reading, first: Node, right: Reading, second: Node, policy: Policy, budget: Budget
) -> tuple[bool, str] | None:
    """``1,234`` against a list is a list, ``ma`` against a scalar a product; under some policies ``1,22`` is 1.22."""
    lists = (Items, SetOf, Seq)
    for one, other in (((left, first), second), ((right, second), first)):
        reading, node = one
        text = reading.answer or ""
        multiplied = isinstance(node, Words) and 1 < len(text) < 4 and text.isalpha() and not isinstance(other, Words)
        if multiplied and _compare(letters(text), other, policy, budget)[0]:
            return True, "letters multiplied"
        if "," not in text:
            continue
        splits = _LEADING_ZERO.search(text) is None  # 1,000 is no list that ends in 000
        if splits and isinstance(other, lists) and not isinstance(node, lists):
            again = _parse(text, policy.limits, False)
            if again is not None and again != node and _compare(again, other, policy, budget)[0]:
                return True, "commas separate"
        if policy.decimal_comma and isinstance(node, Items) and _DECIMAL_COMMA.search(text):
            again = _parse(_DECIMAL_COMMA.sub(r"\1.\2", text), policy.limits)
            if again is not None and _compare(again, other, policy, budget)[0]:
                return True, "decimal comma"
    return None


def _restated(
    left: Reading, first: Node | None, right: Reading, second: Node | None, policy: Policy, budget: Budget
) -> bool | None:
    """``3/4 (75\\%)`` says one value twice: what is in brackets is no factor when it equals what stands before. None
    when neither side does so."""
    one, other = _said_twice(left, policy, budget), _said_twice(right, policy, budget)
    if one is None and other is None:
        return None
    return any(
        mine is not None and theirs is not None and _compare(mine, theirs, policy, budget)[0]
        for mine in one or (first,)
        for theirs in other or (second,)
    )


def _said_twice(reading: Reading, policy: Policy, budget: Budget) -> tuple[Node, Node] | None:
    """Both forms of a value with its own restatement in brackets; None when the brackets hold anything else."""
    parts = in_brackets(reading.answer or "")
    if parts is None or text_key(parts[0]) == text_key(parts[1]):
        return None
    value, again = (_parse(part.strip(), policy.limits) for part in parts)
    measured = isinstance(value, (*SCALARS, Quantity, Relation)) and isinstance(again, (*SCALARS, Quantity))
    if not measured or value is None or again is None or symbols(again):
        return None
    return (value, again) if _compare(value, again, policy, budget)[0] else None


def _read(text: str, policy: Policy) -> Reading:
    if not isinstance(text, str):
        return Reading(None, "no text", "")
    if len(text) > _CACHED_LENGTH:
        return _read_text(text, policy.last_number)
    return _read_cached(text, policy.last_number)


def _read_text(text: str, last_number: bool) -> Reading:
    stripped = text.strip()
    if _PLAIN.fullmatch(stripped):
        return Reading(stripped, "whole", stripped)
    found = find_answer(text, last_number)
    if found.text is None:
        return Reading(None, found.rule, "")
    stated = found.text if len(found.text) <= _LONGEST_TIDIED else _last_member(peel(found.text))
    answer = tidy(stated) if len(stated) <= _LONGEST_TIDIED else stated
    key = text_key(answer) if len(stated) <= _LONGEST_TIDIED else stated
    whole = text if len(text) < _CACHED_LENGTH else ""
    said: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    if found.rule in _FALLBACKS and len(text) < _CACHED_LENGTH:
        said = tuple(_WORD.findall(text.lower()))
        before = (" ".join(said), *map(text_key, values_before_last(text)))
    odds = _ODDS.search(text, max(len(text) - _ODDS_REACH, 0)) is not None
    return Reading(answer if key else None, found.rule, key, whole, said if len(text) < _SHORT else (), before, odds)


def _last_member(text: str) -> str:
    """A chain of equalities too long to parse, cut down to its ends; any other text as it is."""
    members = text.split("=")
    if len(members) > 2 and max(map(len, members)) < 100:
        return members[0] + "=" + members[-1]
    return text.strip()


def _parse_text(text: str, limits: Limits, thousands: bool = True) -> Node | None:
    return parse(text, limits, Budget(limits.steps, _PARSE_SECONDS), thousands)


@lru_cache(maxsize=1024)
def _whole_key(text: str) -> str:
    return text_key(tidy(text))


_read_cached = lru_cache(maxsize=4096)(_read_text)
_parse_cached = lru_cache(maxsize=4096)(_parse_text)


def _parse(text: str, limits: Limits, thousands: bool = True) -> Node | None:
    return (_parse_cached if len(text) <= _CACHED_LENGTH else _parse_text)(text, limits, thousands)
