"""A last number may be a fragment of an expression, a comparison or a list: the whole is taken or nothing."""

import pytest
from grading_tables import table

from dftcore.grading import check, extract_answer

WHOLE = r"""
# expressions are taken whole
12  ~~  So the result is 3 * 4.
7  ~~  So the result is 3 + 4.
2  ~~  So the result is sqrt(4)
24  ~~  So the number of ways is 4!
24  ~~  We arrange four books. The answer is 4!
24  ~~  There are four books to be arranged. So the result is 4!
24  ~~  So the result is 4!.
24  ~~  So n = 4!
24  ~~  4!
# a mark that ends a sentence of prose is no factorial
4  ~~  So the result is 4!
4  ~~  The answer is 4!
4  ~~  The maximum is 4! Great, we are done.
4  ~~  **Answer: 4!**
1234.5  ~~  So the total is $1,234.5!!
-4  ~~  So the result is -4!
50%  ~~  So the share is 50%!
# numbers that words before them do not change
4  ~~  So it has the double root 4
4  ~~  It is about 4
4  ~~  So 2x = 8, which gives x = 4
4  ~~  The area is s^2 = 4
12  ~~  So it is 3 x 4 = 12
10000  ~~  So the result is 10 ^ 4 .
4\pi  ~~  So the area we want is 4 pi
4\sqrt{3}  ~~  So the area we want is 4√3 in total
2x+4  ~~  So the polynomial we looked for is 2x+4
7/3  ~~  So she needs 2 1/3 cups.
3+4i  ~~  So the number we looked for is 3 + 4i
3/4  ~~  So the probability is 3 out of 4.
3:4  ~~  The ratio is 3 to 4
x>4  ~~  So x > 4.
\pm 8  ~~  so the roots are +/- 8
\pm 8  ~~  so the roots are +/-8
\binom{7}{4}  ~~  So it is C(7, 4) in this case
12  ~~  The answer is 3 * 4 for both of them
# what is left of an equality sign is not the value
12  ~~  = 3 * 4 = 12
7  ~~  so she has 3+4=<<3+4=7>>7 apples
7  ~~  So we find that f(2, 3) = 7
# a list is taken whole
3, 4  ~~  Hence x = 3 or x = 4.
3, 4  ~~  Thus $x = 3$ or $x = 4$.
3, 4  ~~  Therefore, $x = 3$ or $4$.
3, 4  ~~  So the value could be 3 or 4.
3, 4  ~~  It is either 3 or 4
3, 4  ~~  The solutions are x = 3 and x = 4.
3, 4  ~~  Solving, we get x = 3, x = 4.
(3, 4)  ~~  So the point is at x = 3, y = 4.
5, -5  ~~  So we get x = 5 or x = -5.
2, 4  ~~  So we find x = 2, 4 here
0.3  ~~  The probability is 0.3 or 30%
-4  ~~  it is - 4 in this case
# words end an expression
4  ~~  so he bought 4 x-ray machines
4  ~~  We discard x = -5, and x = 4.
4  ~~  so we need x = 4 (since x > 0)
4  ~~  Then \[x = 4\]
4  ~~  it costs $4
4  ~~  So he has 4 apples
4  ~~  so she has 4x as many
4  ~~  She ran 4m.
4  ~~  It is 4 o'clock now, as I see
270  ~~  It takes 4 hours and 30 minutes.
4  ~~  So the total is 4 - Alice has the rest.
4  ~~  Total: *4*
4  ~~  Thus the number we want is (4)
4  ~~  When x = 3, y = 4.
4  ~~  That makes 240 minutes or 4 hours
4  ~~  That is $4/hour for each of them
# what is needed at least is a value
24  ~~  So they must sell at least 24 tickets.
24  ~~  Thus, he can buy at most 24 pens.
# somebody says it
4  ~~  I think 4.
4  ~~  I believe it's 4
4  ~~  That's 4
# how precise a value is
4.57  ~~  So it is 4.57 to 2 decimal places.
4.57  ~~  The answer is 4.57 to 2 decimal places, as it was asked.
"""

FRAGMENT = r"""
# comparisons and bounds
4  ~~  So x > 4.
4  ~~  So x ≥ 4.
4  ~~  So x is at least 4.
4  ~~  So n divides 4.
4  ~~  Hence we need x != 4
4  ~~  Thus n is less than or equal to 4
4  ~~  Thus n is just under 4
4  ~~  Thus it is every number up to 4
4  ~~  So the answer lies between 3 and 4
4  ~~  so the result is x > $4$ here
# before the number
4  ~~  So the result is 3 * 4.
4  ~~  So the result is 3 + 4.
4  ~~  So the result is 3 x 4.
4  ~~  So the result is 3 over 4.
4  ~~  So the result is 10 ^ 4 .
4  ~~  So the result is 3 ** 4 here
4  ~~  So the result is x+4.
4  ~~  So the result is 2x+4
4  ~~  So the result is sqrt(4)
4  ~~  So the result is log 4
4  ~~  We get f(4) in the end
4  ~~  We get C(7, 4) in the end
4  ~~  We get (x, 4) in the end
4  ~~  so it's P(X = 4) or so
4  ~~  We get \frac{3}{4} as wanted by all of the people.
4  ~~  So she needs 2 1/4 cups.
4  ~~  It's 3 ± 4 in this case
4  ~~  So the result is x^-4 for us
4  ~~  So the number is 101 base 4 here
4  ~~  n is coprime to 4
4  ~~  It's half past 4
4  ~~  It is price * 4 for them
4  ~~  so the result is $3$ + $4$ here
4  ~~  So it is 2 to the power of 4
4  ~~  so it's 7 vs 4 in the end
4  ~~  it equals 7 less 4
4  ~~  the logarithm of 4
4  ~~  root 4
4  ~~  So it is root 4
4  ~~  the answer is root 4
4  ~~  almost 4
4  ~~  So it is nearly 4
4  ~~  The answer is almost 4.
4  ~~  base 4
4  ~~  So it is to be written in base 4.
4  ~~  quarter past 4
4  ~~  So it is ten past 4.
4  ~~  So it is 7 % 4
7  ~~  So it is 7 % 4
4  ~~  So we get 2x = 4
4  ~~  Hence x^2 = 4.
4  ~~  So 4 divides n
4  ~~  It differs from 4
4  ~~  So it is the sum of x and 4
# the name of something
4  ~~  This follows from Theorem 4
4  ~~  By Lemma 3 it follows from step 4.
4  ~~  We have seen that in Example 4
4  ~~  So it is as we see in (4)
# after the number
4  ~~  it is 4 more than x
4  ~~  It's tempting to say 4, but it's wrong
4  ~~  is it 4?
4  ~~  So we find n = 4!
4  ~~  So we have 4! of them
4  ~~  So the result is 4!.
4  ~~  As 3! = 6, the result is 4!
4  ~~  We arrange four books. The answer is 4!
4  ~~  #### 4!
4  ~~  $4!$
4  ~~  So the result is 4i
4  ~~  So the result is 4π
4  ~~  So the result is 4 pi
4  ~~  So the result is 4x.
4  ~~  So the result is 4n + 1 here
4  ~~  So it is 4(x + y) here
4  ~~  So it is 4 and a half hours
4  ~~  So it is 4 fifths of them
3  ~~  The answer is 3 + 4 for both of them
3  ~~  The answer is 3√2 for both of them all
3  ~~  The answer is 3 or 4 for both of them all
# one of several
4  ~~  Hence x = 3 or x = 4.
4  ~~  Thus $x = 3$ or $x = 4$.
4  ~~  Therefore, $x = 3$ or $4$.
4  ~~  Therefore, $x = 3$ or 4.
4  ~~  So the value could be 3 or 4.
4  ~~  It's 3 cm or 4 cm here
4  ~~  maybe 5, maybe 4
4  ~~  The solutions are x = 3 and x = 4.
4  ~~  Solving, we get x = 3, x = 4.
4  ~~  So the point is at x = 3, y = 4.
4  ~~  so $x = 3$, $y = 4$ here
4  ~~  so the factors: 1, 2, 4
4  ~~  Options: 1 2 3 4
4  ~~  So there are 2 (or 4)
4  ~~  So there are 2, maybe 4
4  ~~  so it's either two or 4
# pairs
4  ~~  so it's 2 hours to 4 hours
4  ~~  so it's 2% to 4%
4  ~~  The ratio is 3 to 4
4  ~~  So the probability is 3 out of 4.
4  ~~  So the range is 3 to 4.
4  ~~  so the ratio is $3$ to $4$ here
3/4  ~~  So x is 3 and y is 4.
# doubt
4  ~~  I don't think it's 4
4  ~~  I do not think that the answer is 4
4  ~~  I doubt it is 4
4  ~~  We couldn't find 4
# how precise a value is
2  ~~  So it is 4.57 to 2 decimal places.
"""


@pytest.mark.parametrize(("gold", "completion"), table(WHOLE))
def test_the_whole_is_taken(gold, completion):
    assert check(gold, completion)
    assert check(completion, gold)


@pytest.mark.parametrize(("gold", "completion"), table(FRAGMENT))
def test_no_fragment_is_taken(gold, completion):
    assert not check(gold, completion)
    assert not check(completion, gold)


def test_long_texts_cost_no_more_than_their_end():
    for piece in ("(", "x=1,", "x = 1 or ", "1 + ", "f(", "{(", "sin ", "- ", "1 "):
        assert isinstance(extract_answer("Thus we find " + piece * 4000 + "4 in the end"), str | None)
