"""Laws that hold for every answer: identities keep True, a changed digit or sign gives False, order does not matter."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dftcore.grading import check, explain

FAST = settings(max_examples=150, deadline=None)
integers = st.integers(-(10**12), 10**12)
small = st.integers(1, 40)
letters = st.sampled_from("xyzabn")


FORMS = ["{}+{}", "{}-({})", r"\left({}\right)\left({}\right)", r"\frac{{{}}}{{1+({})^2}}", "({})^2+{}"]


@st.composite
def expressions(draw, depth=3):
    """A scalar in LaTeX: polynomials, fractions, roots and elementary functions of one or two letters."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(st.one_of(letters, small.map(str), st.sampled_from([r"\pi", r"\frac{1}{2}"])))
    first, second = draw(expressions(depth - 1)), draw(expressions(depth - 1))
    form = draw(st.sampled_from(FORMS))
    made = form.format(first, second)
    return draw(st.sampled_from([made, made, made, rf"\sqrt{{{made}}}", rf"\sin\left({made}\right)"]))


REWRITINGS = [
    lambda a, k: f"{a}+{k}-{k}",
    lambda a, k: f"0+({a})",
    lambda a, k: rf"\frac{{{k}\left({a}\right)}}{{{k}}}",
    lambda a, k: f"-(-({a}))",
    lambda a, k: f"2({a})-({a})",
    lambda a, k: rf"\left({a}\right)\cdot 1",
    lambda a, k: f"{k}+({a})-{k}",
]


MOST_STOPPED = 0.02  # the share of comparisons that may end at their limits instead of a verdict


def test_rewriting_by_an_identity_keeps_the_answer():
    seen = {"all": 0, "stopped": 0}

    @FAST
    @given(expressions(), small, st.sampled_from(REWRITINGS))
    def keeps(expression, number, rewrite):
        found = explain(expression, rewrite(expression, number))
        assert found.verdict or found.status != "ok", found
        seen["all"] += 1
        seen["stopped"] += found.status != "ok"

    keeps()
    assert seen["stopped"] <= MOST_STOPPED * seen["all"], seen


# Expressions whose value moves with every digit, sign and exponent in them: {} stands for a number from 2 to 9.
MOVING = [
    "{}x^{}+{}",
    r"\frac{{{}x-{}}}{{{}}}",
    r"{}\sqrt{{{}}}+{}\pi",
    r"{}e^{{-{}t}}+{}",
    r"\sqrt[3]{{{}x+{}}}-{}y",
    r"({}, {}+\sqrt{{{}}})",
    r"\frac{{{}}}{{x+{}}}-\ln({}x)",
    r"[-{}, {}+{}e)",
    r"\begin{{pmatrix}}{}&a\\{}&{}b\end{{pmatrix}}",
    r"x^{{{}}}y-{}z^{{{}}}",
]


@FAST
@given(st.sampled_from(MOVING), st.lists(st.integers(2, 9), min_size=3, max_size=3), st.integers(0, 2), st.data())
def test_one_change_inside_an_expression_is_another_answer(form, numbers, place, data):
    """A digit, or the sign before it, changed in one place: a coefficient, an exponent, a term."""
    gold = form.format(*numbers)
    digit = data.draw(st.sampled_from([digit for digit in range(2, 10) if digit != numbers[place]]))
    assert check(gold, gold)
    assert not check(gold, form.format(*numbers[:place], digit, *numbers[place + 1 :]))
    at = data.draw(st.sampled_from([at for at, char in enumerate(gold) if char in "+-"] or [-1]))
    if at >= 0:
        assert not check(gold, gold[:at] + ("-" if gold[at] == "+" else "+") + gold[at + 1 :])


@FAST
@given(expressions(), small)
def test_another_value_is_another_answer(expression, number):
    assert not check(expression, f"({expression})+{number}")
    assert not check(expression, f"({expression})+x^{number + 5}")


@FAST
@given(expressions())
def test_every_answer_equals_itself(expression):
    assert check(expression, expression)
    assert check(rf"Hence \boxed{{{expression}}}.", expression)


@FAST
@given(integers, st.data())
def test_a_changed_digit_or_sign_is_another_number(number, data):
    digits = str(abs(number))
    at = data.draw(st.integers(0, len(digits) - 1))
    other = data.draw(st.sampled_from([digit for digit in "0123456789" if digit != digits[at]]))
    changed = digits[:at] + other + digits[at + 1 :]
    assert not check(digits, changed)
    assert check(str(number), f"-{digits}") is (number <= 0)


@FAST
@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6))
def test_a_fraction_is_its_forms_and_no_neighbour(top, bottom):
    value = Fraction(top, bottom)
    gold = rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
    assert check(gold, f"{top}/{bottom}")
    assert check(gold, rf"\dfrac{{{3 * top}}}{{{3 * bottom}}}")
    assert not check(gold, rf"\frac{{{value.numerator + 1}}}{{{value.denominator}}}")
    assert not check(gold, f"{top}/{bottom + 1}") or top == 0


@FAST
@given(st.integers(100, 99_999), st.integers(-30, 30))
def test_scientific_notation_keeps_its_exponent(mantissa, exponent):
    digits = str(mantissa)
    gold = f"{digits[0]}.{digits[1:]}e{exponent}"
    assert check(gold, rf"{digits[0]}.{digits[1:]} \times 10^{{{exponent}}}")
    assert not check(gold, f"{digits[0]}.{digits[1:]}e{exponent + 1}")
    assert not check(gold, f"-{gold}")


@FAST
@given(st.lists(integers, min_size=2, max_size=6, unique=True), st.randoms())
def test_sets_forget_order_and_tuples_keep_it(numbers, source):
    shuffled = numbers[:]
    source.shuffle(shuffled)
    inside, moved = ", ".join(map(str, numbers)), ", ".join(map(str, shuffled))
    assert check(rf"\{{{inside}\}}", rf"\{{{moved}\}}")
    assert check(inside, moved)
    assert check(f"({inside})", f"({moved})") is (numbers == shuffled)
    assert not check(rf"\{{{inside}\}}", rf"\{{{inside}, {max(numbers) + 1}\}}")


@FAST
@given(st.integers(-50, 50), st.integers(1, 50), st.booleans(), st.booleans())
def test_an_interval_is_its_inequality(low, width, low_closed, high_closed):
    high = low + width
    interval = f"{'[' if low_closed else '('}{low}, {high}{']' if high_closed else ')'}"
    sign = {True: r"\le", False: "<"}
    assert check(interval, f"{low} {sign[low_closed]} x {sign[high_closed]} {high}")
    assert not check(interval, f"{low} {sign[not low_closed]} x {sign[high_closed]} {high}")


@FAST
@given(expressions(), expressions())
def test_order_of_the_sides_does_not_matter(left, right):
    assert check(left, right) == check(right, left)


@pytest.mark.parametrize(
    "text", ["x", "1/2", r"\text{even}", "(1,2]", r"\{1\}", "x>2", "not a formula", "3 cm", "12:30", "f(x)=x"]
)
def test_layout_does_not_matter(text):
    assert check(text, f"${text}$")
    assert check(text, rf"\( {text} \)")
    assert check(f"  {text} ", f"{text}.")
