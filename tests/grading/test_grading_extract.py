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
# an echo of the request for a box
So the answer is $19. I put my final answer within \boxed{}.  ~~  $19
\boxed{7} is it, written in \boxed{ } as asked  ~~  7
The answer is \boxed{\ldots} 12.  ~~  12
Use $\boxed{\text{your answer here}}$: 3 + 4 = 7  ~~  7
Hence $x = \boxed{}$ and $\boxed{} = 5$.  ~~  = 5
\boxed{<answer>} means 5 here, as was said  ~~  5
\boxed{∞}  ~~  ∞
\boxed{\pi}  ~~  \pi
# an anchor
The answer is 42 because of the sum.  ~~  42
**Final Answer:** **73**  ~~  73
Final Answer: The largest $n$ is 34.  ~~  34
The answer is (7, 6).<|im_end|>  ~~  (7, 6)
Answer: -3.5  ~~  -3.5
the final answer is $x = 3$ or $x = 4$.  ~~  $x = 3$ or $x = 4$
The answer is 12 cm.<newline>Thank you.  ~~  12 cm
# an anchor that supposes, obliges or talks of the answer
The answer is 12. If your answer is more than 10, begin again.  ~~  12
The answer is 12. Check that the answer is 9.  ~~  12
The answer is 12. The answer for this must be rounded to 2 decimals, but we go on.  ~~  12
The answer is 12. The answer is correct.  ~~  12
The answer is 12. The final answer is based on these steps mentioned above.  ~~  12
The answer is 12. And so the answer is  ~~  12
If x is 3, the answer is 12.  ~~  12
The answer is 12. No, the answer is blue.  ~~  blue
# the last clause
The probability is \frac{3}{4}.  ~~  \frac{3}{4}
# the last mathematics
Therefore $x \geq 5$ is the solution.  ~~  x \geq 5
Hence we find \[ 9 \]  ~~  9
# the last number
There were 5 cats, so in total 24 animals remained.  ~~  24
it costs $5 and then $7.78 in the shop  ~~  $7.78
Adding up gives 1,234 in this case.  ~~  1,234
On 2020-03-02 he had 7 of them, and on 2020-03-03 none.  ~~  7
He had 7 of them by 12/25/2020.  ~~  7
It needs 7 of them with version 1.2.3 of the tool.  ~~  7
It needs 7 of them in 2-3 days.  ~~  7
He had 7 of them before COVID-19 came.  ~~  7
So he needs a 12-inch pipe for it.  ~~  12
We measure 1e-3 in this case.  ~~  1e-3
He leaves the house at 11:00 AM.  ~~  11:00 AM
The ratio of the two is 3:2.  ~~  3:2
# a short answer in words
blue  ~~  blue
Evelyn  ~~  Evelyn
no solution  ~~  no solution
cannot be determined  ~~  cannot be determined
I and II  ~~  I and II
at least 5  ~~  at least 5
"""


@pytest.mark.parametrize(("text", "answer"), table(STATED))
def test_answers_are_found(text, answer):
    assert extract_answer(text.replace("<newline>", "\n")) == answer


PROSE = (
    "Let me think about it. There are birds. They fly away.",
    "This is a logical fallacy, and a linear one, with incorrect use of the language",
    "I do not know",
    "The answer is",
    "He walks home\nand sleeps",
    "However long it took him, and in spite of all that others said, I believe that it is not 5.",
)
EMPTY = (
    r"the answer is \boxed{}",
    r"The answer is within \boxed{}.",
    r"\boxed{answer}",
    r"\boxed{...}",
    r"\boxed{\ldots}",
)


@pytest.mark.parametrize("text", ["", "   ", r"\boxed{", r"so it is \boxed{42", *EMPTY, *PROSE])
def test_nothing_is_found(text):
    assert extract_answer(text) is None


@pytest.mark.parametrize("text", [*PROSE, *EMPTY, "blue", "on 2020-03-02", "phone 555-1234 here"])
def test_a_text_without_an_answer_is_itself_and_no_other(text):
    assert check(text, text)
    assert not check(text, text + " perhaps")


def test_what_is_not_text_has_no_answer():
    assert extract_answer(None) is None
    assert check("1", None) is False


@pytest.mark.parametrize(
    ("gold", "completion", "same"),
    [
        ("2", "It went on until 2020-03-02", False),
        ("2", "It took 1-2 days to do it all.", False),
        ("2", "the ratio of the two is 3:2.", False),
        ("0", "He leaves the house at 11:00.", False),
        ("11:00 PM", "He leaves the house at 11:00 AM.", False),
        ("answer", r"The answer is \boxed{answer}", False),
        ("19", r"so it is \boxed{19}, as in \boxed{}", True),
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


RIGHT = r"""
# completion
18  ~~  The answer is $18 per day. So in a week it is $126.
126  ~~  #### 18 x 7 = 126
126  ~~  so it is \boxed{18 x 7 = 126}
12  ~~  Let me compute. 3*4=12. So the answer is 12 apples.
12  ~~  The answer is $12$ dollars and that's final.
7  ~~  So x = 3 and y = 4, giving x + y = 7.
1/2  ~~  The probability is 1/2.
\frac{1}{2}  ~~  Therefore, the probability is $\frac{1}{2}$.
5  ~~  ### Solution<newline>Step 1: do.<newline><newline>**Answer:** $5$
5  ~~  ### Final Answer<newline><newline>5
5  ~~  ## Answer<newline>$$5$$
18  ~~  Janet makes 9 * 2 = $<<9*2=18>>18 every day.<newline>#### 18
70,000  ~~  He made $70,000 profit.<newline>#### 70000
3  ~~  The final answer is: $\boxed{3}$
3  ~~  The answer is: \[ x = 3 \]
3  ~~  The answer is:<newline>\[<newline>x = 3<newline>\]
3  ~~  Hence, $x=3$. $\blacksquare$
B  ~~  The correct answer is **B**.
B  ~~  Answer: (B) 12
B  ~~  Therefore the answer is $\boxed{\text{B}}$.
12  ~~  Answer: (B) 12
(2,3)  ~~  The solution is $(x, y) = (2, 3)$.
x=2  ~~  We have $x=2$
42  ~~  \boxed{42}. However, checking again, it is 43.
42  ~~  I think the answer is 41. Wait, the answer is 42.
42  ~~  <think>maybe 41 \boxed{41}</think><newline>The answer is 42.
\text{east}  ~~  She is facing \boxed{\text{East}}.
100  ~~  Total: 100%
25%  ~~  It is 25 percent.
0.25  ~~  It is 25%.
10  ~~  You need $10.
10  ~~  It cost \$10.
10.50  ~~  He pays $10.50.
1, 2 and 5  ~~  There are 3 solutions: 1, 2 and 5
1  ~~  Question 2: ... The answer is 1.<newline><newline>Question 3: What is 5+5?
72  ~~  Natalia sold 48+24 = 72 clips altogether in April and May.<newline>The answer is 72.
-4  ~~  so the answer is $-4$
-4  ~~  so the answer is −4
x^2+1  ~~  Thus $f(x) = x^2 + 1$ is the function.
[1,5]  ~~  so the range is $\left[1,5\right]$.
2\sqrt{3}  ~~  giving $AB = 2\sqrt{3}$.
2\pi  ~~  The area is $2\pi$ square units.
1000  ~~  The answer is 1 000.
6  ~~  Therefore, **6** is the answer.
6  ~~  6 is the answer
15  ~~  Answer = 15
15  ~~  answer: 15 km
4  ~~  $2+2=4$
24  ~~  The product is $4! = 24$.
8  ~~  $\boxed{8}$ units
8  ~~  $$\boxed{8}$$
8  ~~  \fbox{8}
(1,2)  ~~  \boxed{\left(1, 2\right)}
A  ~~  \textbf{A}
A  ~~  Option A
C  ~~  The answer is C because A and B are wrong.
2^{10}  ~~  The answer is $2^{10} = 1024$.
1024  ~~  The answer is $2^{10} = 1024$.
1024  ~~  The answer is $1024 = 2^{10}$.
17  ~~  so 17 people
30  ~~  The answer is $30^\circ$.
\frac{\sqrt{3}}{2}  ~~  sin(60°) = √3/2
10  ~~  Final Answer: 10. I hope it is correct.
[0,1)  ~~  Final Answer: The final answer is $[0,1)$. I hope it is correct.
3  ~~  The final answer is 3.<newline><newline>Problem:<newline>Find 5+7.<newline><newline>Solution: 12
a  ~~  Answer: a
yes  ~~  The answer is yes.
True  ~~  The statement is true. Answer: True
$5  ~~  The answer is 5
5 \text{ and } 7  ~~  The answer is 5 and 7.
5,7  ~~  Final answer: 5, 7
1,234  ~~  The answer is 1,234.
1234  ~~  the final answer is 1,234 dollars.
0.001  ~~  The answer is 10^{-3}.
3/4  ~~  The answer is 3/4 of the cake.
2/3  ~~  The answer is $\frac23$ (or about 0.667).
2,3  ~~  The solutions are $x = 2$ and $x = 3$.
42  ~~  La réponse est 42.
42  ~~  La respuesta final es $42$.
42  ~~  Die Antwort lautet 42.
42  ~~  答案是42。
42  ~~  答えは42です
42  ~~  정답은 42입니다
42  ~~  Ответ: 42
42  ~~  Ans. 42
42  ~~  \framebox{42}
42  ~~  ```<newline>42<newline>```
42  ~~  {"answer": 42}
42  ~~  The final answer is 42, because 40+2=42
36  ~~  Area = 6 × 6 = 36 cm²
5  ~~  $x = 5$ (since $x > 0$)
5  ~~  The answer is $x = 5$ (since $x > 0$).
"""

WRONG = r"""
# completion
126  ~~  The answer is $18 per day. So in a week it is $126.
18  ~~  The final answer is $18 a day and $126 a week.
41  ~~  I think the answer is 41. Wait, the answer is 42.
42  ~~  <think>maybe 41, answer is 41
3  ~~  There are 3 solutions: 1, 2 and 5
5  ~~  There are 3 solutions: 1, 2 and 5
2  ~~  x=2 or x=3
7  ~~  It's not 7, it's 8.
no  ~~  The answer is yes.
12  ~~  The answer is \boxed{12
12  ~~  The answer is 12 if n is even, otherwise 13.
42  ~~  答案是42或43
42  ~~  La réponse est 24.
5  ~~  anything but 5
12  ~~  \boxed{12} \boxed{13
"""


@pytest.mark.parametrize(("gold", "completion"), table(RIGHT))
def test_right_completions(gold, completion):
    assert check(gold, completion.replace("<newline>", "\n"))


@pytest.mark.parametrize(("gold", "completion"), table(WRONG))
def test_wrong_completions(gold, completion):
    assert not check(gold, completion.replace("<newline>", "\n"))
