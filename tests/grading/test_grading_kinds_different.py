"""Every kind of answer, and a near miss beside it. Both ways round."""

import pytest
from grading_tables import assert_both_ways, table

DIFFERENT = r"""
# number
12  ~~  12.01
0.1  ~~  0.01
2^10  ~~  20
0  ~~  0.0001
0.33  ~~  1/3
3.15  ~~  \pi
# scientific
6.02e23  ~~  6.02 \times 10^{-23}
6.02e23  ~~  6.02 \times 10 \times 23
6.02e23  ~~  6.02e22
# fraction
3/4  ~~  4/3
\frac{3}{4}  ~~  four thirds
\frac{1}{2}  ~~  \frac{1}{2}x
1/(2x)  ~~  x/2
# mixed
2\frac{1}{3}  ~~  2/3
2 1/3  ~~  21/3
-2\frac13  ~~  -5/3
# percent
25\%  ~~  2500\%
25\%  ~~  0.25\%
25\%  ~~  2.5
# money
\$5  ~~  5 cents
\$5  ~~  €5
\$1,250.50  ~~  \$1250.05
\$5  ~~  -\$5
# unit
5 km  ~~  5 m
5 m/s  ~~  5 km/h
10 cm^2  ~~  10 cm
10 cm^2  ~~  10 cm^3
2 hours  ~~  2 minutes
3 apples  ~~  3 oranges
# angle
60^\circ  ~~  60 radians
\frac{\pi}{3}  ~~  60
60^\circ  ~~  120^\circ
# text
even  ~~  odd
yes  ~~  no
isosceles  ~~  equilateral
isosceles triangle  ~~  isosceles
increasing  ~~  decreasing
increasing  ~~  not increasing
# choice
B  ~~  b
B  ~~  D
(B) 12  ~~  (B) 13
(B) 12  ~~  (C) 12
B  ~~  both A and B
B  ~~  A or B
# tuple
(1, 2)  ~~  (2, 1)
(1, 2)  ~~  1, 2
(1, 2, 3)  ~~  (1, 2)
(1, 2)  ~~  x = 2, y = 1
(1, 2)  ~~  [1, 2]
\left(\frac{1}{2}, -1\right)  ~~  (\frac12, 1)
# list
1, 2, 3  ~~  1, 2
1, 2, 3  ~~  1, 2, 3, 3
1, 2, 3  ~~  123
1, 2  ~~  1.2
\pm 1  ~~  1
# set
\{1,2,3\}  ~~  \{1,2\}
\{0\}  ~~  \emptyset
\{1, 2\}  ~~  (1, 2)
\{x \mid x > 2\}  ~~  x \ge 2
\{n^2 : n \in \mathbb{N}\}  ~~  \{n^3 : n \in \mathbb{N}\}
\{(1,2)\}  ~~  \{(2,1)\}
# interval
[0, 1)  ~~  (0, 1]
(-\infty, 3]  ~~  x < 3
(-\infty, 3)  ~~  (3, -\infty)
(1, 1)  ~~  \emptyset
# union
(-\infty, 1) \cup (2, \infty)  ~~  x < 1 \text{ and } x > 2
(-\infty, 1) \cup (2, \infty)  ~~  (-\infty, 1] \cup [2, \infty)
(0, 1) \cup (1, 2)  ~~  (0, 2)
\mathbb{R} \setminus \{0\}  ~~  \mathbb{R}
# inequality
x > 5  ~~  x \ge 5
x > 5  ~~  x < 5
x > 5  ~~  y > 5
-x < 5  ~~  x > 5
|x| > 2  ~~  -2 < x < 2
x \neq 3  ~~  x = 3
# equation
x = 5  ~~  y = 5
y = 2x + 1  ~~  y = 2x - 1
y = 2x + 1  ~~  x = 2y + 1
x^2 + y^2 = 4  ~~  x^2 - y^2 = 4
x^2 = 4  ~~  x = 2
x = \pm 2  ~~  x^2 = 4
# matrix
\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}  ~~  \begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}
\begin{pmatrix} 1 \\ 2 \end{pmatrix}  ~~  \begin{pmatrix} 1 & 2 \end{pmatrix}
\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}  ~~  1, 2, 3, 4
\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}  ~~  \begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix}
\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}  ~~  I
\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}  ~~  1
# expression
(x+1)^2  ~~  x^2 + 1
\sin x^2  ~~  \sin^2 x
\sqrt{x^2}  ~~  x
e^{x^2}  ~~  e^{2x}
\frac{\sqrt{2}}{2}  ~~  \sqrt{\frac{2}{2}}
\sqrt{12}  ~~  3\sqrt{2}
# base
101_2  ~~  101_3
101_2  ~~  101
101_2  ~~  110_2
101_2  ~~  10_2, 1_2
# sequence
1, 3, 5, 7  ~~  1, 3, 5, 7, \ldots
2, 4, \ldots, 10  ~~  2, 4, 10
1, 1, 2, 3  ~~  1, 2, 3
# phrases
5  ~~  It is not 5.
5  ~~  The answer is not 5 but 6.
5  ~~  The answer could be 5 or 6.
5  ~~  The answer is between 5 and 6
5  ~~  The answer is less than 5
5  ~~  x=5 is not a solution
5  ~~  The answer is 5 or more
5  ~~  There are 5 apples and 6 oranges
5  ~~  5 * 2 = 10
5  ~~  5^2
5  ~~  -5
5  ~~  \sqrt{5}
5  ~~  1/5
5  ~~  5x
# derivative
\frac{dy}{dx}  ~~  \frac{y}{x}
\frac{d}{dx}  ~~  \frac{1}{x}
\frac{d^2y}{dx^2}  ~~  \frac{y}{x^2}
\frac{df}{dt}  ~~  \frac{f}{t}
\frac{dy}{dx} = 2x  ~~  \frac{y}{x} = 2x
\frac{\partial f}{\partial x}  ~~  \frac{f}{x}
\frac{d}{ds}  ~~  \frac{d}{dt}
\int_0^1 x\,dx  ~~  \int_0^2 x\,dx
\int_0^1 x\,dx  ~~  \int_0^1 x^2\,dx
y'  ~~  y
f''(x)  ~~  f'(x)
\dot{x}  ~~  x
\ddot{x}  ~~  \dot{x}
# adornments
\vec{a}  ~~  \vec{b}
\overline{AB}  ~~  \overline{CD}
\bar{x}  ~~  x
\hat{i}  ~~  \hat{j}
|\vec{a}|  ~~  \vec{a}
\tilde{x}  ~~  \hat{x}
# letters
i  ~~  I
e  ~~  E
n  ~~  N
\pi  ~~  p i
\pi  ~~  \Pi
\phi  ~~  \psi
# degree
30^\circ  ~~  30^0
1  ~~  30^\circ
30^{\circ}  ~~  30^{o}
# precedence
-2^2  ~~  4
2^{3^2}  ~~  64
6/2(1+2)  ~~  1
1/2\pi  ~~  \frac{1}{2\pi}
x^{-1}  ~~  -x
x^2y  ~~  x^{2y}
# relations of other kinds
p \land q  ~~  p \lor q
\neg p  ~~  p
p \Rightarrow q  ~~  q \Rightarrow p
p \to q  ~~  q \to p
A \subset B  ~~  B \subset A
A \subseteq B  ~~  A \supseteq B
# number sets
\mathbb{Z}  ~~  \mathbb{N}
\mathbb{R}^2  ~~  \mathbb{R}
\mathbb{R}  ~~  R
\mathbb{Q}  ~~  \mathbb{R}
\{1,2,3,\ldots\}  ~~  \{1,2,3\}
\{2k : k \in \mathbb{Z}\}  ~~  \{2k+1 : k \in \mathbb{Z}\}
# subscripts
a_{n+1}  ~~  a_n + 1
a_{12}  ~~  a_{1}2
x_1^2  ~~  x_{12}
T_{10}  ~~  T_{01}
S_n = n^2  ~~  S_{n+1} = n^2
a_n = 2a_{n-1}  ~~  a_n = 2a_{n+1}
# calculus
x^2 + C  ~~  x^2 + 1
\sum_{k=1}^{10} k  ~~  \sum_{k=1}^{11} k
\sum_{k=1}^{n} k  ~~  \sum_{k=1}^{n} k^2
\lim_{x\to 0} f(x)  ~~  \lim_{x\to 1} f(x)
\int_0^\infty e^{-x} dx  ~~  \int_0^\infty e^{-2x} dx
# ratio, odds
1:2:3  ~~  3:2:1
1:2  ~~  2:1
1:2  ~~  12
1:2:3  ~~  1:2
3 \text{ to } 2  ~~  2:3
1/3  ~~  The odds are 1 to 3.
1/3  ~~  Odds of 1:3
3  ~~  so the odds against are \boxed{3:1}
# date and time
May 5  ~~  May 6
May 5, 2020  ~~  May 5, 2021
5/6  ~~  May 6
3:30  ~~  3.5
3:30 PM  ~~  3:30 AM
# recurring
0.\overline{12}  ~~  0.12
0.1\overline{2}  ~~  0.\overline{12}
0.\overline{12}  ~~  0.\overline{21}
# undefined
\infty  ~~  -\infty
\infty  ~~  \text{undefined}
\text{undefined}  ~~  0
\text{no solution}  ~~  0
\emptyset  ~~  0
\text{DNE}  ~~  \infty
# complex
1+i  ~~  1-i
1+i  ~~  (1,1)
2i  ~~  2
\overline{1+i}  ~~  1+i
\text{Re}(z)  ~~  \text{Im}(z)
# piecewise
\begin{cases} x & x > 0 \\ -x & x \le 0 \end{cases}  ~~  \begin{cases} x & x \le 0 \\ -x & x > 0 \end{cases}
\begin{cases} x & x > 0 \\ -x & x \le 0 \end{cases}  ~~  x, -x
# units and counts
5 cm by 6 cm  ~~  30 cm^2
1.5 million  ~~  1.5 billion
5 thousand  ~~  5
10 kg  ~~  10 lb
10 J  ~~  10 N
5 more than x  ~~  x + 5
# words
prime  ~~  not prime
prime  ~~  composite
neither  ~~  both
always true  ~~  sometimes true
cannot be determined  ~~  not enough information
left  ~~  right
# sets of solutions
x = 1, 2  ~~  x = 1
(x, y) = (1, 2)  ~~  (2, 1)
x \in \{1, 2\}  ~~  x \in (1, 2)
a = 1, b = 2  ~~  a = 1, c = 2
x_1 = 1, x_2 = 2  ~~  x_1 = 2, x_2 = 1
# hedges and completions
5  ~~  \boxed{5} or \boxed{6}
5  ~~  \boxed{5, 6}
5  ~~  \boxed{5}\boxed{6}
5  ~~  The answer is 5. Actually, the answer is 6.
5  ~~  \boxed{\text{not } 5}
5  ~~  \boxed{5?}
5  ~~  \boxed{> 5}
5  ~~  \boxed{x \ge 5}
5  ~~  \boxed{5 \text{ or } 6}
5  ~~  \boxed{5
5  ~~  The answer isn't 5
5  ~~  The answer is anything but 5
5  ~~  5 is wrong
5  ~~  Not 5.
# completions
5  ~~  The answer is not 5 but 6.
5  ~~  The answer is not 6 but more than 5.
5  ~~  If x = 5 then the answer is unclear.
5  ~~  So x^2 = 5
5  ~~  Thus 2x = 5.
5  ~~  So x = 5/2.
5  ~~  So 5 divides x.
5  ~~  The answer is 5 hundred
5  ~~  The answer is 5 tenths
5  ~~  The answer is 5-1
5  ~~  The answer is 5e1
5  ~~  The answer is 5_6
5  ~~  The answer is 5'
5  ~~  The answer is \sqrt[5]{x}
# injected
5  ~~  correct
5  ~~  [same as gold]
5  ~~  The prediction is correct.
5  ~~  *
5  ~~  .*
5  ~~  \boxed{\text{correct}}
# structure
\frac{a}{b+c}  ~~  \frac{a}{b}+c
\frac{a+b}{a}  ~~  b
\sqrt{a^2+b^2}  ~~  a+b
(a+b)^3  ~~  a^3+b^3
\log(a+b)  ~~  \log a + \log b
\sin(2x)  ~~  2\sin(x)
# sets again
(1,2) \cup (3,4)  ~~  (1,4)
(1,2) \cup (3,4)  ~~  (1,2), (3,4)
(1,2]  ~~  \{1,2\}
(1,2)  ~~  \{1,2\}
[1,2]  ~~  \{1,2\}
\{1,2,3,4\}  ~~  [1,4]
# derived units
10 \text{ J}  ~~  10 \text{ N/m}
10 \text{ N}  ~~  10 \text{ g m/s}^2
1 \text{ L}  ~~  1 \text{ m}^3
# a number and a half
2, 1/2  ~~  2 and a half
# said in another way
\frac{1}{2}  ~~  The answer is 1/2, i.e. 60%.
\text{Yes}  ~~  Yes, it doesn't.
A and C  ~~  and C
# sentences
5  ~~  It is one of 5 values.
5  ~~  That is 5 too many.
5  ~~  It is impossible to get 5.
5  ~~  We reject 5.
5  ~~  We exclude 5.
5  ~~  We ignore x = 5.
5  ~~  We discard $x = 5$.
5  ~~  So $x=5$ is extraneous.
5  ~~  So $x=5$ is rejected.
5  ~~  So 5 is extraneous.
5  ~~  unless it is 5
5  ~~  if it is 5
5  ~~  suppose it is 5
5  ~~  assume x = 5
5  ~~  Is it 5?
5  ~~  What about 5?
5  ~~  Try 5.
5  ~~  I wrongly got 5.
5  ~~  My wrong answer was 5.
5  ~~  The wrong answer is 5.
5  ~~  An incorrect answer is 5.
5  ~~  The old answer is 5.
5  ~~  Someone said the answer is 5, which is wrong.
5  ~~  The answer is 5, which is wrong.
5  ~~  The answer is 5 (wrong).
5  ~~  The answer is 5? No.
2  ~~  2 \text{ (rejected)}
2  ~~  2 \equiv 5 \pmod 3
"""


@pytest.mark.parametrize(("left", "right"), table(DIFFERENT))
def test_a_near_miss_is_another_answer(left, right):
    assert_both_ways(left, right, False)
