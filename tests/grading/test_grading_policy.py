"""The presets, and what each field of the policy changes."""

import dataclasses

import pytest

from dftcore.grading import PRESETS, Policy, check, explain


@pytest.mark.parametrize(
    ("left", "right", "policy", "same"),
    [
        ("100", "100.005", "strict", False),
        ("100", "100.005", "qwen-compatible", True),
        ("0.5", "50", "strict", False),
        ("0.5", "50", "qwen-compatible", True),
        ("(1,3)", r"\{3,1\}", "strict", False),
        ("(1,3)", r"\{3,1\}", "math-verify-compatible", True),
        ("1,22", "1.22", "strict", False),
        ("1,22", "1.22", "math-verify-compatible", True),
        ("5 cm", "5 km", "math-verify-compatible", True),
        ("28%", "28", Policy(percent="optional"), True),
        ("28%", "28", Policy(percent="exact"), False),
        ("28%", "0.28", Policy(percent="exact"), True),
        ("5 cm", "5", Policy(units="required"), False),
        ("5 cm", "50 mm", Policy(units="required"), True),
        ("1, 2", "2, 1", Policy(ordered_lists=True), False),
        ("1/3", "0.33", Policy(min_significant=2), True),
        ("so $x=4$ for all 3 cases, all 7", "7", Policy(last_number=True), True),
    ],
)
def test_what_a_policy_changes(left, right, policy, same):
    assert check(left, right, policy=policy) is same
    assert check(right, left, policy=policy) is same


def test_unknown_choices_are_named():
    with pytest.raises(ValueError, match="unknown policy 'lenient': choose one of strict, qwen-compatible"):
        check("1", "1", policy="lenient")
    with pytest.raises(ValueError, match="percent='maybe'"):
        Policy(percent="maybe")


def test_policies_and_explanations_are_frozen():
    for value in (PRESETS["strict"], explain("1", "1")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, None)


def test_an_explanation_tells_rule_and_readings():
    found = explain(r"\frac{1}{2}", "The answer is 50%.")
    assert (found.verdict, found.rule, found.status) == (True, "percent", "ok")
    assert found.gold.endswith(r"\frac{1}{2}")
    assert found.prediction == "quantity by anchor: 50%"
