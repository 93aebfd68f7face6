"""Less usual ways of writing answers: vectors, pieces, words, dates, bases, congruences. Checked both ways round."""

import pytest
from grading_tables import assert_both_ways, judged

SAME = r"""
# an x between numerals
126  ~~  18 x 7 = 126
126  ~~  18 X 7
126  ~~  18 × 7 = 126
2 \times 3 \times 5  ~~  2x3x5
# values placed by their names
(1,2)  ~~  y=2, x=1
(2,1)  ~~  y=1 and x=2
(5,4,3)  ~~  z=3, y=4, x=5
(1,2)  ~~  b=2, a=1
(2,1)  ~~  m=2, b=1
(1,2,3,4)  ~~  x=1, y=2, z=3, w=4
# vectors
2\mathbf{i}-3\mathbf{j}  ~~  (2,-3)
\begin{pmatrix}1\\-2\\3\end{pmatrix}  ~~  \hat{i}-2\hat{j}+3\hat{k}
\langle 1,2,3\rangle  ~~  \left<1,2,3\right>
\vec a\cdot\vec b  ~~  \mathbf{b}\cdot\mathbf{a}
\vec a\times\vec b  ~~  -\mathbf{b}\times\mathbf{a}
P(2,3)  ~~  (2,3)
# piecewise
f(x)=\begin{cases}x&x\ge0\\-x&x<0\end{cases}  ~~  \begin{cases}-x,&\text{if }x<0\\x,&x\geq0.\end{cases}
\begin{cases}1&n\text{ even}\\n&n\text{ odd}\end{cases}  ~~  \begin{cases}n&n\text{ odd}\\1&n\text{ even}\end{cases}
# numbers in words
-17  ~~  negative 17
three fourths  ~~  \frac34
120  ~~  one hundred and twenty
25\%  ~~  twenty-five percent
6  ~~  six apples
10^6  ~~  one million
\infty  ~~  \text{infinity}
# dates and times
July 4  ~~  4th of July
October 30, 2005  ~~  \text{30 October 2005}
8 a.m.  ~~  8:00 AM
# money
\$18.90  ~~  USD 18.90
\$3.05  ~~  3 dollars and 5 cents
# units in letters
2.5\text{ g}  ~~  2.5 g
2.5\text{ g}  ~~  2500 mg
5 m/s  ~~  5\,\mathrm{m\,s^{-1}}
5 m/s  ~~  5\frac{\text{m}}{\text{s}}
20\text{ m/s}  ~~  72 km/h
80\text{ mph}  ~~  80 mi/h
36\pi\text{ square inches}  ~~  36π sq in
# degrees
180^\circ-90^\circ  ~~  90^\circ
2\cdot45^\circ  ~~  \frac{\pi}{2}
# bases
2A7_{16}  ~~  2a7_{\text{sixteen}}
1011_2  ~~  1011 base 2
42_{10}  ~~  42
42_{10}  ~~  42 base 10
# binomial coefficients
\binom{10}{3}  ~~  C(10,3)
\binom{10}{3}  ~~  {}_{10}C_3
\binom{10}{3}  ~~  C_{10}^3
# congruences
x\equiv1\pmod 4  ~~  x ≡ 5 (mod 4)
x\equiv-1\pmod{4}  ~~  x\equiv 3\ (\text{mod } 4)
# signs
\pm1\pm i  ~~  1+i,1-i,-1+i,-1-i
\pm\sqrt3\mp1  ~~  \pm(\sqrt3-1)
# sets
\{x|x>2\}  ~~  (2,\infty)
]-\infty,-3]\cup[5,6[  ~~  (-\infty,-3]\cup[5,6)
x\in\mathbb{R}, x\ne 2  ~~  \text{all real numbers except } 2
x\ne0,1  ~~  \mathbb{R}\setminus\{0,1\}
\lbrace 1,2\rbrace  ~~  \{1,2\}
# spellings
{\Large 7}  ~~  \color{blue}{7}
0{.}5  ~~  1/2
3:4  ~~  3 \text{ to } 4
\operatorname{cis}60^\circ  ~~  e^{i\pi/3}
f: x\mapsto x^2  ~~  f(x)=x^2
\frac{GMm}{r}  ~~  GMmr^{-1}
\mathrm{lcm}(4,6)  ~~  12
5th  ~~  5^{\text{th}}
12  ~~  $x+y=5+7=12$
a triangle  ~~  the triangle
7  ~~  \phantom{0}7
7  ~~  \underline{7}
7  ~~  `7`
# aligned equations
\begin{align*} x &= 7 \end{align*}  ~~  x = 7
\begin{aligned} x &= 3+4 \\ &= 7 \end{aligned}  ~~  7
\begin{align} x &= 7 \\ y &= 2 \end{align}  ~~  x=7, y=2
# a quantity asked for by its definition
u/v=7/3  ~~  7/3
\frac{x}{y}=\frac73  ~~  \frac73
\lim_{x\to0}\frac{\sin x}{x}=1  ~~  1
\int_0^2 t\,dt=2  ~~  2
(C)  ~~  (c)
"""

DIFFERENT = r"""
# vectors
\vec a\cdot\vec b  ~~  \vec a\times\vec b
\vec a\times\vec b  ~~  \vec b\times\vec a
2\mathbf{i}-3\mathbf{j}  ~~  (2,3)
P(2,3)  ~~  (3,2)
# piecewise
\begin{cases}x&x\ge0\\-x&x<0\end{cases}  ~~  \begin{cases}-x&x\ge0\\x&x<0\end{cases}
\begin{cases}x&x\ge0\\-x&x<0\end{cases}  ~~  \begin{cases}x&x>0\\-x&x<0\end{cases}
\begin{cases}1&n\text{ even}\\n&n\text{ odd}\end{cases}  ~~  \begin{cases}1&n\text{ odd}\\n&n\text{ even}\end{cases}
18 if x is even, otherwise 20  ~~  20
18 if x is even, otherwise 20  ~~  18 if x is odd, otherwise 20
# numbers in words
3  ~~  three hundred
3  ~~  three or four
17  ~~  minus 17
120  ~~  one hundred two
# bounds
5  ~~  below 5
5  ~~  between 4 and 5
n \text{ odd}  ~~  n
# dates and times
October 30, 2005  ~~  October 3, 2005
July 4  ~~  July 14
8 a.m.  ~~  8 p.m.
# money and units
\$3.05  ~~  3 dollars and 50 cents
2.5\text{ g}  ~~  2.5 mg
9.8\text{ m/s}^2  ~~  9.8\,\mathrm{m/s}
\frac{\pi}{6}  ~~  \frac{\pi}{6}^\circ
# an x that is a letter
126  ~~  18 x 7 = 125
3  ~~  3x
0  ~~  0x10
# values placed by their names
(2,1)  ~~  y=2, x=1
(1,2)  ~~  y=1 and x=2
(3,4,5)  ~~  z=3, y=4, x=5
(2,1)  ~~  q=2, p=1
(1,2)  ~~  m=2, b=1
# bases
2A7_{16}  ~~  2A8_{16}
120_3  ~~  012_3
a_2  ~~  A_2
52_8  ~~  42
52_8  ~~  42_{10}
42_9  ~~  42_{10}
# binomial coefficients
{}_{5}C_2  ~~  {}_5C_1
C_{10}^3  ~~  C_{10}^4
# congruences
x\equiv1\pmod 4  ~~  x\equiv1\pmod5
x\equiv1\pmod 4  ~~  x=1
# signs and floors
\pm1\pm i  ~~  \pm(1+i)
\pm\sqrt3\mp1  ~~  \pm\sqrt3\pm1
\lfloor x\rfloor+1  ~~  \lceil x\rceil
# sets
[2,5[  ~~  [2,5]
\sqrt[3]{2},\sqrt[3]{5}  ~~  \sqrt[3]{2},\sqrt[5]{5}
\text{all real numbers except } 2  ~~  \mathbb{R}
Joe and Ann  ~~  Joe or Ann
# aligned equations
\begin{align} x &= 7 \\ y &= 2 \end{align}  ~~  x=2, y=7
\begin{aligned} x &= 3+4 \\ &= 7 \end{aligned}  ~~  3+4, 8
# a quantity asked for by its definition
\frac{x}{y}=\frac73  ~~  \frac37
\frac{x}{y}=\frac73  ~~  \frac{y}{x}=\frac73
y=7x  ~~  7
x+y=7  ~~  7
\lim_{x\to0}f(x)=1  ~~  0
# prose
$f(x)=ax+b$, where $b$ is an integer and $a=0$  ~~  $f(x)=ax-b$, where $b$ is an integer and $a=0$
"""


@pytest.mark.parametrize(("left", "right", "verdict"), judged(SAME, DIFFERENT))
def test_verdicts(left, right, verdict):
    assert_both_ways(left, right, verdict)
