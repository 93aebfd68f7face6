"""Answers with words and letters about them: options, letters that multiply, words after a number. Both ways round."""

import pytest
from grading_tables import assert_both_ways, judged

SAME = r"""
# words in capitals
HEAD  ~~  head
BIG  ~~  big
# equations over several lines
a=b+c  ~~  \begin{split} a &= b \\ &+ c \end{split}
# one option, however it is written
E  ~~  E. 31
E  ~~  \text{Option E}
E  ~~  \boxed{\text{E. 31 kg}}
E  ~~  **E. 31**
\textbf{(E)}\ 31  ~~  E: 31
E  ~~  (E) none of these
E  ~~  (E) cannot be determined
E  ~~  The answer is (E), not (D).
E  ~~  (E), because (D) is too small
# a list of options is a set of them
\text{(B), (D)}  ~~  (D) and (B)
(B), (D)  ~~  B and D
# letters multiply in any order
gh  ~~  hg
pqr  ~~  rqp
Rt  ~~  tR
# words stay words
Yes  ~~  YES
Bob  ~~  bob
Odd  ~~  odd
Yes  ~~  Yes, because the sides are equal.
No  ~~  No, it is not.
# words in capitals, and names of points with small letters about them
TRUE  ~~  true
EVEN  ~~  even
NORTH  ~~  north
DNE  ~~  dne
WXYZ  ~~  \text{WXYZ}
\text{Square } WXYZ  ~~  square WXYZ
# lists of words
\text{Ann, Rob}  ~~  Ann and Rob
Rob, Ann  ~~  Ann, Rob
Yes, no  ~~  \text{yes, no}
TTH, HHT  ~~  HHT, TTH
# words that scale
48  ~~  4 dozen
\text{4 dozen eggs}  ~~  48 eggs
6{,}000{,}000  ~~  6 \text{ millions}
200000  ~~  2 lakh
6000000  ~~  The town has 6 million people in it.
600000  ~~  6 \text{ hundred thousand}
0.0012  ~~  12 \text{ basis points}
0.004  ~~  4 \text{ per mille}
\frac12  ~~  a half
1000  ~~  a thousand
12  ~~  \text{a dozen}
# words that only name what is counted
6  ~~  6 \text{ red apples}
6  ~~  6 \text{ ways in total}
6  ~~  6 \text{ (correct)}
6  ~~  6\text{ fifth graders}
6  ~~  6 \text{ months}
6  ~~  6 \text{ prime numbers}
6  ~~  6 \text{ sec}
6  ~~  6 \text{ in all}
6  ~~  6 ordered pairs
6  ~~  6 positive whole numbers
6  ~~  6 people in total
6  ~~  6 sq. units
6  ~~  6 smaller cubes
6  ~~  6 cm more
# upright letters
4i  ~~  4\text{i}
4 \text{ m}  ~~  4
"""

DIFFERENT = r"""
# judgements that are taken back
no  ~~  No, I take that back.
no  ~~  No! Just kidding, it is true
no  ~~  No. Let us check. It is true.
yes  ~~  Yes, it is false.
yes  ~~  Yes, as it cannot.
yes  ~~  Yes. On reflection this fails.
# words that change the number before them
12  ~~  12 multiplied twice
12  ~~  12 too many
12  ~~  12 orders of magnitude
12  ~~  12 points lost
12  ~~  12 extraneous roots
# equations over several lines
a=b, c  ~~  \begin{split} a &= b \\ &+ c \end{split}
# several options, and options denied
E  ~~  (E) or (D)
E  ~~  The answer is (E) and (D).
E  ~~  \boxed{(E),(D)}
E  ~~  E) or D)
E  ~~  (E)(D)
E  ~~  E. 31  D. 17
E  ~~  (E) / (D)
E  ~~  (E) is wrong
E  ~~  (E) is not it
E  ~~  (E) or neither
E  ~~  (E)^2
E  ~~  (E)+(D)
\textbf{(E)}\ 31  ~~  (E) 31 or (D) 17
(B), (D)  ~~  (B)
(B), (D)  ~~  (B), (E)
(B), (D)  ~~  (A), (B), (D)
# capitals and small letters that multiply
gH  ~~  Gh
rst  ~~  RST
pg  ~~  PG
HHT  ~~  HTH
CAB  ~~  ABC
IX  ~~  XI
on  ~~  No
# names of points
WXYZ  ~~  wxyz
DEF  ~~  def
triangle DEF  ~~  triangle def
# lists of words
Yes, no  ~~  No, yes
True, False, True  ~~  True, True, False
Ann and Rob  ~~  Ann or Rob
Ann, Rob  ~~  Ann
HHT, TTH  ~~  HTH, TTH
# judgements taken back
Yes  ~~  Yes, it is not.
Yes  ~~  Yes, but only if n is even.
Yes  ~~  No, because the sides are equal.
No  ~~  No, wait, yes.
# words that scale
6  ~~  6 dozen
6  ~~  The answer is 6 dozen.
6  ~~  6 \text{ crores}
6  ~~  6 \text{ billionths}
6  ~~  6 \text{ basis points}
6  ~~  There are 6 million people in it.
6  ~~  The answer is 6 million people in total.
# words that make a statement
6  ~~  6 \text{ out of 7}
6  ~~  6 \text{ plus 2}
6  ~~  6 \text{ (mod 9)}
6  ~~  6\text{ (false)}
6  ~~  6 \text{ at least}
6  ~~  6 \text{ maximum}
6  ~~  6 \text{ under par}
6  ~~  6 \text{ more than } y
6  ~~  6 \text{ pi}
6  ~~  6 \text{ out of seven}
6  ~~  6 \text{ to the fifth}
6  ~~  6 \text{ tripled}
6  ~~  6 \text{ theta}
6  ~~  6 \text{ half}
6  ~~  6 \text{ hundredth}
6  ~~  6 \text{ cm less}
6 cm  ~~  6 cm less
6  ~~  6 \text{ years younger}
6  ~~  6 years ago
6  ~~  6 \text{ km below the summit}
6  ~~  6 dozen pairs
6  ~~  6 less common words
# words around a number
6  ~~  6 is not it
6  ~~  I found 6 but that is wrong
6  ~~  So $6$ does not work
6  ~~  6 is too small
6  ~~  the number squared, 6 squared
6  ~~  half of 6
6  ~~  four plus 6
6  ~~  There are more than 6 birds.
6  ~~  The total exceeds 6
6  ~~  It is a multiple of 6
6  ~~  twice as many as 6
6  ~~  The solutions are 4 and 6.
6  ~~  The values are 2, 4, and 6.
6  ~~  x is 4 or 6
6  ~~  either 4 or 6
# upright letters
4  ~~  4\text{i}
4  ~~  4\,\text{y}
# names against a set
\{4,9\}  ~~  p=4,q=9
# conditions that exclude each other
x<2 \text{ or } x>4  ~~  x<2 \text{ and } x>4
(-\infty,2]\cup[4,\infty)  ~~  x\le2 \text{ and } x\ge4
"""


@pytest.mark.parametrize(("left", "right", "verdict"), judged(SAME, DIFFERENT))
def test_verdicts(left, right, verdict):
    assert_both_ways(left, right, verdict)
