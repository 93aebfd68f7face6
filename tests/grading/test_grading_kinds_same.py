"""Every kind of answer, written in another way. Both ways round."""

import pytest
from grading_tables import assert_both_ways, table

SAME = r"""
# number
12  ~~  12.00
1000000  ~~  1,000,000
1000000  ~~  1 000 000
1000000  ~~  10^{6}
# scientific
6.02e23  ~~  6.02 \cdot 10^{23}
6.02e23  ~~  6.02 × 10²³
6.02e23  ~~  6.02E+23
6.02e23  ~~  6.02 x 10^23
# fraction
3/4  ~~  \tfrac{3}{4}
3/4  ~~  \frac34
3/4  ~~  6/8
3/4  ~~  0.75
# mixed
2\frac{1}{3}  ~~  7/3
2 1/3  ~~  7/3
-2\frac13  ~~  -7/3
2½  ~~  2.5
# percent
25\%  ~~  1/4
25\%  ~~  0.25
25\%  ~~  25
25\%  ~~  25 percent
# money
\$5  ~~  5 dollars
\$5  ~~  5
\$5  ~~  \$5.00
\$5  ~~  500 cents
# unit
5 km  ~~  5000 m
5 km  ~~  5 kilometers
5 km  ~~  5 kilometres
5 m/s  ~~  5 meters per second
# angle
60^\circ  ~~  60
60^\circ  ~~  \frac{\pi}{3}
\frac{\pi}{2} \text{ rad}  ~~  90^\circ
180^\circ  ~~  \pi
# text
even  ~~  Even
\text{no}  ~~  No.
Monday  ~~  monday
True  ~~  true
# choice
B  ~~  (B)
B  ~~  \textbf{(B)}
(B)  ~~  B) 12
(B) 12  ~~  12
# tuple
(1, 2)  ~~  (1,2)
(1, 2)  ~~  \left( \frac{2}{2}, 2 \right)
(1, 2)  ~~  x = 1, y = 2
(0.5, -1)  ~~  (1/2, -1)
# list
1, 2, 3  ~~  3, 2, 1
1, 2, 3  ~~  1; 2; 3
1, 2  ~~  1 and 2
2, 3  ~~  2.0, 3.0
# set
\{1,2,3\}  ~~  \{3,1,2\}
\{1,2,3\}  ~~  1,2,3
\{1\}  ~~  1
\{\}  ~~  \emptyset
# interval
[0, 1)  ~~  0 \le x < 1
[0, 1)  ~~  [0, 1[
(0, 1)  ~~  ]0, 1[
(-\infty, 3)  ~~  x < 3
# union
(-\infty, 1) \cup (2, \infty)  ~~  (2, \infty) \cup (-\infty, 1)
(-\infty, 1) \cup (2, \infty)  ~~  x < 1 \text{ or } x > 2
[0, 2] \cup [1, 3]  ~~  [0, 3]
(0, 1) \cup (1, 2)  ~~  (0, 2) \setminus \{1\}
# inequality
x > 5  ~~  5 < x
2x > 10  ~~  x > 5
-x < -5  ~~  x > 5
|x| < 2  ~~  -2 < x < 2
# equation
x = 5  ~~  5
y = 2x + 1  ~~  2x - y + 1 = 0
y = 2x + 1  ~~  2x + 1
x^2 + y^2 = 4  ~~  2x^2 + 2y^2 = 8
# matrix
\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}  ~~  \begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix}
\begin{pmatrix} 1 \\ 2 \end{pmatrix}  ~~  (1, 2)
\begin{pmatrix} 1/2 & 0 \end{pmatrix}  ~~  \frac12 \begin{pmatrix} 1 & 0 \end{pmatrix}
# expression
(x+1)^2  ~~  x^2 + 2x + 1
\sin^2 x  ~~  1 - \cos^2 x
\sin 2x  ~~  2 \sin x \cos x
\ln x^2  ~~  2 \ln x
# base
101_2  ~~  101_{2}
A3_{16}  ~~  a3_{16}
0101_2  ~~  101_2
101_2  ~~  101_{\text{two}}
# sequence
2, 4, \ldots, 10  ~~  2, 4, 6, 8, 10
# phrases
6  ~~  The answer is not 5 but 6.
5  ~~  At first I thought 6, but the answer is 5.
5  ~~  5 is the answer
5  ~~  Answer: 5 (not 6)
11  ~~  There are 5 apples and 6 oranges, so 11 in total.
10  ~~  5 * 2 = 10
# derivative
\frac{dy}{dx} = 2x  ~~  dy/dx = 2x
\frac{d}{d+1}  ~~  \frac{d}{1+d}
\frac{cd}{d}  ~~  c
# letters
\pi  ~~  pi
sin x  ~~  \sin x
\log_2 8  ~~  3
\tan^{-1}(1)  ~~  \frac{\pi}{4}
# precedence
-2^2  ~~  -4
(-2)^2  ~~  4
2^{3^2}  ~~  512
2^{-1}  ~~  0.5
# relations of other kinds
\angle A = 60^\circ  ~~  60^\circ
x \equiv 3 \pmod 5  ~~  x \equiv 8 \pmod 5
# number sets
\mathbb{R}  ~~  (-\infty,\infty)
\mathbb{R}  ~~  \text{all real numbers}
# subscripts
x_1 + x_2  ~~  x_2 + x_1
x_1 x_2  ~~  x_{1} x_{2}
S_n = n^2  ~~  n^2
# calculus
x^2 + C  ~~  C + x^2
\sum_{k=1}^{10} k  ~~  55
\sum_{k=1}^{10} k  ~~  \sum_{k=0}^{10} k
\prod_{k=1}^{4} k  ~~  24
# ratio, odds
1:2  ~~  2:4
1 in 4  ~~  1/4
1 out of 4  ~~  25\%
3 \text{ to } 2  ~~  3:2
1/3  ~~  1:3
1:3  ~~  The odds are 1 to 3.
1/3  ~~  The odds are 1/3
# date and time
May 5  ~~  5 May
3:30 PM  ~~  15:30
noon  ~~  12:00
# recurring
0.\overline{3}  ~~  1/3
0.333\ldots  ~~  1/3
0.\overline{9}  ~~  1
# complex
e^{i\pi}  ~~  -1
1+i  ~~  i+1
1+i  ~~  \sqrt{2} e^{i\pi/4}
|3+4i|  ~~  5
# piecewise
\begin{cases} x & x > 0 \\ -x & x \le 0 \end{cases}  ~~  \begin{cases} -x & x \le 0 \\ x & x > 0 \end{cases}
# units and counts
5 \times 6  ~~  6 \times 5
5 ft 3 in  ~~  63 inches
1/2 hour  ~~  30 minutes
2 dozen  ~~  24
# words
red, blue  ~~  blue, red
the line y = 2x  ~~  y = 2x
Alice and Bob  ~~  Bob and Alice
# sets of solutions
x = 1 or 2  ~~  \{1, 2\}
a = 1, b = 2, c = 3  ~~  (1, 2, 3)
# hedges and completions
6  ~~  first \boxed{5}, then corrected: \boxed{6}
6  ~~  The answer is 5. Actually, the answer is 6.
5  ~~  \boxed{\approx 5}
5  ~~  \boxed{5/1}
5  ~~  \boxed{5}
5  ~~  #### 5
# completions
6  ~~  The answer is not 5 but 6.
6  ~~  It is not 5 but 6.
6  ~~  It is not 5, but 6.
6  ~~  The answer is not 5 but rather $6$.
5  ~~  The answer is 5\%
5  ~~  The answer is 5 percent
# injected
5  ~~  5 + 0n
5  ~~  \frac{5x}{x}
x^2  ~~  x^2 + 0
1/3  ~~  0.3333333
# structure
\frac{a+b}{a}  ~~  1+b/a
\log(ab)  ~~  \log a + \log b
\sin^2(x)+\cos^2(x)  ~~  1
e^{a+b}  ~~  e^a e^b
# sets again
\{1,2,...,10\}  ~~  \{1,2,3,4,5,6,7,8,9,10\}
x \in (1,2)  ~~  (1,2)
x \le -2 \text{ or } x \ge 2  ~~  |x| \ge 2
x > 0, x \ne 1  ~~  (0,1) \cup (1,\infty)
# derived units
10 \text{ J}  ~~  10 \text{ N m}
10 \text{ N}  ~~  10 \text{ kg m/s}^2
1 \text{ kPa}  ~~  1000 \text{ N/m}^2
1 \text{ Hz}  ~~  1 \text{ s}^{-1}
1 \text{ L}  ~~  1000 \text{ cm}^3
5 \text{ V/m}  ~~  5 \text{ N/C}
9.8 \text{ m/s}^2  ~~  9.8 \text{ N/kg}
# a number and a half
2.5  ~~  two and a half
2.5 hours  ~~  2 and a half hours
2.75  ~~  2 and three quarters
# said in another way
\frac{1}{2}  ~~  The answer is 1/2, i.e., 50%.
\frac{1}{2}  ~~  The answer is 1/2, that is, 0.5.
\text{Yes}  ~~  Yes, it does.
101_2  ~~  101 (base 2)
# sentences
5  ~~  There must be at least 5.
6  ~~  It is 1 more than 5, so 6.
5  ~~  I guess 5
5  ~~  The answers are 5.
10  ~~  The answer is 5 × 2 = 10
5  ~~  The answer is 5 units squared
5  ~~  The answer is 5 cm.
5  ~~  The answer is 5 because 2+3=5.
5  ~~  The answer is exactly 5.
5  ~~  The answer is simply 5.
5  ~~  The answer is therefore 5.
5  ~~  The answer is clearly equal to 5.
"""


@pytest.mark.parametrize(("left", "right"), table(SAME))
def test_another_way_of_writing_is_the_same_answer(left, right):
    assert_both_ways(left, right, True)
