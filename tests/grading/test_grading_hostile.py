"""Texts made to run code, to take forever, or to break the reader. Nothing runs, nothing lasts, nothing raises."""

import random
import sys
import threading
import time

import pytest
from test_grading_different import DIFFERENT
from test_grading_same import SAME

from dftcore.grading import explain, extract_answer, locate_answer

CAP = 1.0  # seconds of processor time: a pause of the machine is not the checker's

PAYLOADS = [
    "__import__('os').system('touch {marker}')",
    "open('{marker}','w')",
    "[open('{marker}','w') for _ in [0]]",
    "(lambda: open('{marker}','w'))()",
    "exec(\"open('{marker}','w')\")",
    "x if open('{marker}','w') else 0",
    "{{open('{marker}','w')}}",
    r"\text{{open('{marker}','w')}}",
    r"\frac{{open('{marker}','w').fileno()}}{{1}}",
    r"\input{{|touch {marker}}}\write18{{touch {marker}}}",
    "Symbol('x', real=open('{marker}','w'))",
    r"1+\operatorname{{eval}}(open('{marker}','w'))",
    "().__class__.__base__.__subclasses__()",
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_in_an_answer_is_run(payload, tmp_path):
    marker = tmp_path / "marker"
    text = payload.format(marker=marker)
    for prediction in (text, rf"\boxed{{{text}}}", f"The answer is {text}", f"{text}\n#### {text}"):
        assert not explain("42", prediction).verdict
        assert not explain(prediction, "42").verdict
        explain(prediction, prediction)
        extract_answer(prediction)
    assert not marker.exists()


def nest(opening, inside, closing, count):
    return opening * count + inside + closing * count


BOMBS = {
    "tower": "9^{9^{9^9}}",
    "power of powers": "((9^9)^9)^9^9",
    "large power": "9999999^{9999999}",
    "decimal power": "1.1^{10^9}",
    "factorial": "100000!",
    "factorials": "((1000!)!)!",
    "many factorials": "5" + "!" * 3000,
    "binomial": r"\binom{10^9}{5\cdot10^8}",
    "gcd": r"\gcd(2^{100000}-1,2^{99999}-1)",
    "long sum": r"\sum_{k=1}^{10^9} k",
    "sum of sums": r"\sum_{k=1}^{2000}\sum_{j=1}^{2000}\sin(kj)",
    "expansion": "(a+b+c+d+e)^{80}",
    "sine of a vast number": r"\sin(10^{10^{12}})",
    "sine of a number with a billion digits": r"\sin(10^{10^9})",
    "tangent of a tower": r"\tan(9^{9^9})",
    "hyperbolic sine of a vast number": r"\sinh(10^{10^9})",
    "cosine of a vast imaginary number": r"\cos(i\cdot 10^{10^9})",
    "exponential tower": "e^{e^{e^{e^{10}}}}",
    "matrix power": r"\begin{pmatrix}x&y\\z&w\end{pmatrix}^{12}",
    "determinant": r"\det\begin{pmatrix}" + r"\\".join([f"x_{{{n}}}&" * 8 + "y" for n in range(9)]) + r"\end{pmatrix}",
    "nested radicals": "+".join(rf"\sqrt{{{k}+\sqrt{{{k + 1}}}}}" for k in range(2, 30)),
    "parentheses": nest("(", "2", ")", 100_000),
    "open brackets": "([{" * 2000,
    "roots": nest(r"\sqrt{", "2", "}", 600),
    "exponents": nest("2^{", "1", "}", 1000),
    "fractions": nest(r"\frac{1}{1+", "x", "}", 40),
    "bars": nest("|", "x", "|", 4000),
    "digits": "1" * 1_000_000,
    "terms": "1" + "+1" * 20_000,
    "commas": ",".join(str(n) for n in range(1500)),
    "symbols": "x_{1}" + "+x_{1}" * 5000,
    "union": r" \cup ".join(f"({2 * n},{2 * n + 1})" for n in range(400)),
    "open boxes": r"\boxed{" * 20_000,
    "open mathematics": r"\(" * 50_000,
    "dollars": "$a" * 20_001,
    "stars": "*" * 200_000 + "7",
    "anchors": "answer " * 20_000 + "is 7",
    "filler": "the answer is " + "that " * 100_000,
    "spaces": "The answer is" + " " * 200_000 + "7",
    "letters": "a" * 1_000_000,
    "thoughts": "<think>" * 10_000,
    "exponent numeral": "1e999999999",
    "numerals": "1," * 50_000,
    "options": "A. " * 2500,
    "conjunctions": "(A) " + "and " * 1900,
    "recurring decimals": "0." + "6" * 1900 + "...",
    "scale words": r"5 \text{" + "million " * 900 + "}",
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_text_takes_long(name):
    bomb = BOMBS[name]
    explain("1", "1")
    start = time.process_time()
    found = explain("1", bomb)
    middle = time.process_time()
    again = explain(bomb, bomb)
    end = time.process_time()
    assert not found.verdict
    assert middle - start < CAP
    assert end - middle < CAP
    assert again.status in ("ok", "limit", "timeout")


@pytest.mark.parametrize(
    "text",
    [
        nest("{", "7", "}", 100_000),
        "x=" + "1=" * 20_000 + "7",
        r"\boxed{1} " * 100_000 + r"\boxed{7}",
        " " * 100_000 + "7",
    ],
    ids=["braces", "equalities", "boxes", "spaces"],
)
def test_long_texts_still_state_their_answer(text):
    start = time.process_time()
    assert explain("7", text).verdict
    assert time.process_time() - start < CAP
    assert not explain("8", text).verdict


# What a text may repeat without end; ~ stands for a space.
REPEATED = r"""
a I places million 7 -7 1, 1/2 12:30 2020-03-02 x-1 1.2.3 5% $1 $x$ $ \( \[ ( ) (1,2) [ { \{ \boxed{ \boxed{1} ####
A: A) answer answer: answer~is answer~to final~answer~is not if since (since or ... ? ! ** * ` ``` <| <think> \\
\text{a} 2~hours~ he~said: I'm 答案 é 10^{ = < ~ ~~! \t\n
"""


@pytest.mark.parametrize("length", [7_900, 15_900, 100_000])  # each on one side of a limit of the search
def test_an_answer_is_found_in_linear_time(length):
    for unit in (unit.replace("~", " ").replace(r"\t\n", "\t\n") for unit in REPEATED.split()):
        for joint in ("", " "):
            body = (unit + joint) * (length // len(unit + joint))
            for text in (f"If {body} 7", rf"The answer is {body}.", rf"x = \boxed{{1}} {body} !"):
                start = time.process_time()
                locate_answer(text)
                assert time.process_time() - start < CAP, (unit, joint)


def test_limits_hold_in_a_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(explain("1", BOMBS["sum of sums"])))
    start = time.process_time()
    thread.start()
    thread.join()
    assert time.process_time() - start < CAP
    assert found[0].verdict is False
    assert found[0].status in ("limit", "timeout")


def test_threads_do_not_disturb_one_another():
    wrong = []

    def work(seed):
        for number in range(40):
            expected = (number + seed) % 3 == 0
            other = r"1+\sqrt2" if expected else r"1+\sqrt3"
            if explain(r"\sqrt{3+2\sqrt2}", other + rf"+{number}-{number}").verdict is not expected:
                wrong.append((seed, number))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_deep_stack_is_survived():
    def sink(depth):
        return sink(depth - 1) if depth else explain("1", nest("(", "1+", "", 40)).verdict

    assert sink(sys.getrecursionlimit() - 200) is False


PIECES = r"""
\frac \sqrt \left( \right) \{ \} { } ( ) [ ] , ; : = < > \le + - * / ^ _ ! | 1 2 10 0.5 1,234 x y n e i \pi
\infty \cup \in \text{and} \text{cm} and or % $ \$ \\ & \begin{pmatrix} \end{pmatrix} \sin \log \binom
\sum_{k=1}^{n} \int \boxed{ \pm \ldots ^\circ \approx f(x) sqrt( 1e5 9^9^9 100! \overline{3} \mathbb{R}
\emptyset (C) yes answer is: #### \( \) \[ \] ** </think> ' \lfloor \mathrm{m} \operatorname{lcm} 52_8 \frac12
\frac{1}{0} nan é √ ² ½ ≤ ∞ → €
"""
FRAGMENTS = tuple(PIECES.split())


def random_text(source):
    if source.random() < 0.2:
        return "".join(chr(source.randint(1, 0x2FFF)) for _ in range(source.randint(1, 15)))
    return "".join(source.choice(FRAGMENTS) + source.choice(("", "", " ")) for _ in range(source.randint(1, 14)))


ENTRIES = tuple(side for line in (SAME + DIFFERENT).splitlines() if "  ~~  " in line for side in line.split("  ~~  "))


def mutated_text(source):
    """An answer with up to four characters or slices dropped, doubled, swapped or replaced."""
    text = source.choice(ENTRIES)
    for _ in range(source.randint(1, 4)):
        start = source.randint(0, len(text))
        end = min(len(text), start + source.choice((1, 1, 1, 2, 5, 20)))
        after = min(len(text), end + (end - start))
        part, rest = text[start:end], text[end:]
        text = text[:start] + source.choice(
            (
                rest,
                part + part + rest,
                text[end:after] + part + text[after:],
                source.choice(FRAGMENTS) + rest,
                part[::-1] + rest,
            )
        )
    return text


def fuzz(count, seed, make):
    source = random.Random(seed)
    for _ in range(count):
        left, right = make(source), make(source)
        start = time.process_time()
        found = explain(left, right)
        judged = time.process_time()
        extracted = extract_answer(left), extract_answer(right)
        end = time.process_time()
        assert judged - start < CAP, (left, right)
        assert end - judged < CAP, (left, right)
        assert found.status != "error", (left, right, found)
        assert explain(right, left).verdict == found.verdict, (left, right)
        own = explain(left, left)
        assert own.verdict or own.rule in ("no answer", "not finite"), (left, own)
        assert all(isinstance(text, str | None) for text in extracted)


@pytest.mark.parametrize("make", [random_text, mutated_text])
def test_random_texts_raise_nothing(make):
    fuzz(1_500, 1, make)


@pytest.mark.soak
@pytest.mark.parametrize("make", [random_text, mutated_text])
@pytest.mark.parametrize("seed", range(10))
def test_random_texts_raise_nothing_in_the_long_run(seed, make):
    fuzz(10_000, 100 + seed, make)
