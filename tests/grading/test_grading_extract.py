"""Where the answer stands: one table a rule, and texts from which nothing may be taken."""

import pytest
from grading_tables import table

from dftcore.grading import check, extract_answer

STATED = r"""
# the last box
First \boxed{3}, but in fact \boxed{4}.  ~~  4
so $\boxed{\frac{1}{2}}$ of it  ~~  \frac{1}{2}
\boxed{\{1, \{2\}\}}  ~~  \{1, \{2\}\}
$\boxed 7$  ~~  7
\boxed{x = 4} \text{ and } \boxed{y = 5}  ~~  x = 4, y = 5
\boxed{10} and then \boxed{42}  ~~  42
<think>\boxed{1}</think> It is \boxed{2}.  ~~  2
# a final answer stated after the box
We get \boxed{255} of interest. Final Answer: The final answer is $900$. I hope it is correct.  ~~  $900$
# a marker
10 + 5 = <<10+5=15>>15<newline>#### 15  ~~  15
It is 3 + 4.<newline>A: 7  ~~  7
# an anchor
The answer is 42 because of the sum.  ~~  42
**Final Answer:** **73**  ~~  73
Final Answer: The largest $n$ is 34.  ~~  34
The answer is (7, 6).<|im_end|>  ~~  (7, 6)
Answer: -3.5  ~~  -3.5
the final answer is $x = 3$ or $x = 4$.  ~~  $x = 3$ or $x = 4$
The answer is 12 cm.<newline>Thank you.  ~~  12 cm
# the last clause
The probability is \frac{3}{4}.  ~~  \frac{3}{4}
# the last mathematics
Therefore $x \geq 5$ is the solution.  ~~  x \geq 5
Hence we find \[ 9 \]  ~~  9
# the last number
There were 5 cats, so in total 24 animals remained.  ~~  24
it costs $5 and then $7.78 in the shop  ~~  $7.78
Adding up gives 1,234 in this case.  ~~  1,234
"""


@pytest.mark.parametrize(("text", "answer"), table(STATED))
def test_answers_are_found(text, answer):
    assert extract_answer(text.replace("<newline>", "\n")) == answer


@pytest.mark.parametrize("text", ["", "   ", r"\boxed{", r"so it is \boxed{42", r"the answer is \boxed{}"])
def test_nothing_is_found(text):
    assert extract_answer(text) is None


def test_what_is_not_text_has_no_answer():
    assert extract_answer(None) is None
    assert check("1", None) is False


@pytest.mark.parametrize(
    ("gold", "completion", "same"),
    [
        ("42", r"\boxed{42} or maybe \boxed{43}", False),
        ("42", r"\boxed{41, 42, 43}", False),
        ("42", r"\boxed{x \in \mathbb{R}}", False),
        ("42", r"\boxed{\{1,2,\ldots,100\}}", False),
        ("5", "The answer is not 5.", False),
        ("5", "The answer is 5 or 6.", False),
        ("2, 3", r"$\boxed{2}$, $\boxed{3}$", True),
        ("204", "Adding, we find $180 + 24 = 204$.", True),
        ("7/2", r"so it is $\boxed{3\frac12}$, or $\boxed{\frac72}$", True),
    ],
)
def test_hedges_do_not_pay(gold, completion, same):
    assert check(gold, completion) is same
