"""Pairs that a lenient checker might take for the same, by the mistake that would be made. Checked both ways round."""

import pytest
from grading_tables import table

from dftcore.grading import explain

DIFFERENT = r"""
# another number
1/2  ~~  2
5  ~~  -5
5  ~~  5.001
42  ~~  41.9999
1/3  ~~  0.33
0.0000001  ~~  0.0000002
100000000000  ~~  99999999999
15625  ~~  1.56e4
20  ~~  0.2
1.6  ~~  1.65
3.8e35  ~~  3.9e35
3.8e35  ~~  3.8e34
1e3  ~~  3
\pi  ~~  22/7
\pi  ~~  3.1415
# vast, tiny or nearly equal
2^{1000000}  ~~  2^{1000000}+1
3^{2025}  ~~  2^{2025}
\frac{1}{2004!}  ~~  \frac{1}{2006!}
\sqrt{10^{100}+1}  ~~  10^{50}
10^{50}+\sqrt2  ~~  10^{50}+\sqrt3
10^{100}\pi  ~~  10^{100}\pi+1
e^{\pi\sqrt{163}}  ~~  262537412640768744
\cos(0.0000000001)  ~~  1
10^{10^{10^{10}}}  ~~  10^{10}
\sqrt{2+\sqrt3}+\sqrt{5}  ~~  4.169
# digits run together or apart
12  ~~  (1,2)
123  ~~  \{1,2,3\}
123  ~~  1,23
42  ~~  4 2
6  ~~  2 3
10  ~~  4 10/3
\frac{1}{23}  ~~  \frac{12}{3}
(2,251,252)  ~~  (2,251,255)
\frac{a}{bc}  ~~  \frac{ab}{c}
x^{12}  ~~  x^1 2
32349  ~~  32, 349
# sign, branch and order of operations
|x|  ~~  x
\sqrt{x^2}  ~~  x
-2^2  ~~  4
2^{3^2}  ~~  64
i  ~~  -i
x-1  ~~  1-x
\lfloor x\rfloor  ~~  x
\lfloor\sqrt{n-1}\rfloor  ~~  \lfloor\sqrt{n-2}\rfloor
(x+1)^2  ~~  x^2+1
\sin^2 x  ~~  \sin x^2
\sqrt{x+y}  ~~  \sqrt x+\sqrt y
# one symbol for another
x^2+2x+1  ~~  y^2+2y+1
f(x)  ~~  f(y)
a  ~~  A
x_1  ~~  x_2
2x  ~~  2
2m  ~~  2
x=2  ~~  y=2
x>5  ~~  y>5
52_8  ~~  52_9
101_2  ~~  5
# a part of the answer
5  ~~  5,6
\sqrt{67}  ~~  \sqrt{67},-\sqrt{85}
\pm5  ~~  5
x=1,y=2  ~~  x=2,y=1
x=1,y=2  ~~  2,1
1,1,2  ~~  1,2,2
2x+z=1  ~~  1
x^2=4  ~~  x=2
7=11a+c  ~~  11a+c
5\text{ apples and }3\text{ pears}  ~~  5
2  ~~  [2]
42  ~~  42 \text{ or } 43
42  ~~  x=42=43
42  ~~  43=42
1,2,\ldots,10  ~~  1,2,\ldots,11
# brackets and order
(1,2)  ~~  (2,1)
(1,2)  ~~  [1,2]
(1,2)  ~~  \{1,2\}
[0,1]  ~~  0<x<1
x>3  ~~  x\ge3
x>3  ~~  x<3
[1,2]\cup[3,4]  ~~  [1,4]
(1,2),(3,4)  ~~  (1,4),(3,2)
x>0\text{ and }x<5  ~~  x>0\text{ or }x<5
\emptyset  ~~  \{0\}
\{\emptyset\}  ~~  \emptyset
\begin{pmatrix}1&2\end{pmatrix}  ~~  \begin{pmatrix}1\\2\end{pmatrix}
3:2  ~~  2:3
12:30  ~~  2:5
# another unit
5\text{ cm}  ~~  5\text{ m}
5 hours  ~~  5 minutes
\$5  ~~  5 cents
20\%  ~~  0.02
30^\circ  ~~  \frac{\pi}{3}
3 apples  ~~  3 pears
28  ~~  28/100
# another word
\text{Yes}  ~~  \text{No}
Monday  ~~  Tuesday
\text{(B)}  ~~  \text{(D)}
listen  ~~  silent
on  ~~  no
odd $n$  ~~  even $n$
oddd  ~~  odd
undefined  ~~  0
# nothing, and nothing finite
\boxed{}  ~~  \boxed{}
$$  ~~  $$
nan  ~~  nan
\frac10  ~~  \frac10
\frac{x}{0}  ~~  \frac{x}{0}
\infty  ~~  \frac10
\infty  ~~  -\infty
\infty-\infty  ~~  \infty-\infty
0  ~~  -
0  ~~  No answer
\text{}  ~~  \text{}
# equations with other solutions
x^2+y^2=1  ~~  x^2-y^2=1
x^2/4+y^2/3=1  ~~  x^2/16+y^2/12=1
2x+3y=6  ~~  2x+3y=7
x^5-x-1=0  ~~  x^5-x-2=0
x+y<3  ~~  x+y>3
y''+y=0  ~~  y''-y=0
\sum_{k=0}^{n-1} F_k F_{n-k-1}  ~~  \sum_{k=0}^{n-2} F_k F_{n-k-2}
# near misses of many kinds
\{2k+1 : k\in\mathbb{Z}\}  ~~  \{2k : k\in\mathbb{Z}\}
\{x^2 : x>0\}  ~~  \{x : x>0\}
\{x\in\mathbb{Z} : x>2\}  ~~  (2,\infty)
\begin{cases}x=1\\y=2\end{cases}  ~~  x=2, y=1
x_1=2, x_2=3  ~~  x_1=3, x_2=2
\log_{10} 2  ~~  \ln 2
9.8 m/s^2  ~~  9.8 km/s^2
\frac{37}{4} m  ~~  \frac{37}{4}
7.6 Z  ~~  7.6
6m  ~~  6
\mathbb{R}-\{3\}  ~~  \mathbb{R}
P(X>2)=0.3  ~~  P(X>3)=0.4
f^{-1}(x)=x  ~~  f(x)=2x
\{1\}\cup\{2\}  ~~  \{1,3\}
C  ~~  \textbf{(D) }12
12  ~~  \textbf{(C) }13
A,C  ~~  A,B
A and C  ~~  A
\text{(A) and (C)}  ~~  A
f(x)=x,f(x)=-x  ~~  f(x)=x
2:3:4  ~~  2:4:3
2:3  ~~  2:3:4
1/7  ~~  0.\overline{142858}
x^10  ~~  x^1 0
x^10+1  ~~  x^{11}+1
y=2x+1  ~~  x=2y+1
(x-1)^2+y^2=4  ~~  (x+1)^2+y^2=4
0<x<1  ~~  0<y<2
0<x<1  ~~  0<x\le1
\frac{dy}{dx}=2x  ~~  \frac{dy}{dx}=3x
max  ~~  min
\max(a,b)  ~~  \min(a,b)
2^{100}  ~~  1.27\times10^{30}
2^{100}  ~~  1267650600228229401496703205377
100!  ~~  100!+1
\binom{100}{50}  ~~  \binom{100}{49}
10^{10}  ~~  10^{11}
\sqrt{2}  ~~  \sqrt[3]{2}
e^{-x}  ~~  e^{x}
x^{-n}  ~~  x^{n}
\sin x+\cos x  ~~  \sin x-\cos x
a_{n+1}  ~~  a_n+1
a_{n}  ~~  a_{m}
x'  ~~  x
\dot{x}  ~~  x
\vec{a}  ~~  a
\bar{x}  ~~  x
0  ~~  \text{No solution}
\emptyset  ~~  \text{all real numbers}
[0,\infty)  ~~  (0,\infty)
(-\infty,3)  ~~  (3,\infty)
(-1,2)  ~~  (-1,2]
1  ~~  1\text{ or }2
x=1\text{ or }x=2  ~~  x=1
1  ~~  \{1,1,2\}
(1,1)  ~~  1
(1,2,3)  ~~  (1,2)
(1,2)  ~~  1,2
\text{neither}  ~~  \text{either}
5\%  ~~  0.5
5\%  ~~  500
-5  ~~  5
–5  ~~  5
3.14159  ~~  3.14158
1.23e10  ~~  1.24e10
1.2e-5  ~~  1.2e-6
0.002  ~~  0.0021
1.00  ~~  1.01
1000000  ~~  1000001
1,000  ~~  1.000
1.5  ~~  15
2 \text{ cm}^2  ~~  2\text{ cm}^3
60 \text{ km/h}  ~~  60 \text{ m/s}
12 \text{ pm}  ~~  12 \text{ am}
\$10  ~~  €10
\frac{1}{2}  ~~  \frac{1}{2}x
\pi r^2  ~~  2\pi r
\frac{x}{y}  ~~  \frac{y}{x}
x+1  ~~  x
x y  ~~  x+y
\infty  ~~  x
1  ~~  \frac{0}{0}
\sum_{n=1}^{\infty}\frac{1}{n^2}  ~~  \sum_{n=1}^{\infty}\frac{1}{n^3}
\int x\,dx  ~~  \int x^2\,dx
\begin{pmatrix}1&0\\0&1\end{pmatrix}  ~~  1
\begin{pmatrix}1\\2\end{pmatrix}  ~~  \begin{pmatrix}1\\2\\3\end{pmatrix}
\begin{pmatrix}1\\2\end{pmatrix}  ~~  \frac12
\begin{pmatrix}n\\k\end{pmatrix}  ~~  \begin{pmatrix}n\\j\end{pmatrix}
the sum is even  ~~  the sum is odd
man bites dog  ~~  dog bites man
# readings found by looking for wrong verdicts
at least 5  ~~  at most 5
\tan\frac{\pi}{2}  ~~  \tan\frac{\pi}{2}
first 3 primes  ~~  last 3 primes
\ln 0  ~~  \ln 0
# near misses from physics, geometry and prose
I and III  ~~  I and II
\text{A, B, and D}  ~~  A,B,C
10:30 \text{ am}  ~~  10:30 pm
x^2+y^2=25  ~~  x^2+y^2=5
\sum_{i=1}^{n}a_i  ~~  \sum_{i=1}^{n-1}a_i
\frac{1}{2}\sin x  ~~  \sin\frac{x}{2}
\sin(x+\pi)  ~~  \sin x
2.0 \times 10^{-7}  ~~  2.0\times 10^{7}
5\times 10^3  ~~  5^3
x^{2y}  ~~  x^2y
x^23  ~~  3x^2
\sqrt{2x}  ~~  \sqrt{2}x
\frac{1}{2x}  ~~  \frac12 x
\ln x^2  ~~  (\ln x)^2
\sin^{-1}x  ~~  \frac{1}{\sin x}
-x^2  ~~  (-x)^2
a-b-c  ~~  a-(b-c)
a/b/c  ~~  a/(b/c)
2^{-3}  ~~  -8
(0,1)\cup(1,2)  ~~  (0,2)
[0,1]  ~~  (0,1)
\{0,1\}  ~~  [0,1]
(0,1)  ~~  \{0,1\}
x>2  ~~  x>2, x<5
0  ~~  \emptyset
\{0\}  ~~  \{\}
n  ~~  n+1
n!  ~~  n
n!!  ~~  (n!)!
2n!  ~~  (2n)!
e^{2}  ~~  e2
\log_2 3  ~~  \log_3 2
\gcd(4,6)  ~~  \mathrm{lcm}(4,6)
|a|b  ~~  |ab|
\|a\|  ~~  a
\hat{x}  ~~  \vec{x}
y''  ~~  y'
100\%  ~~  10
99 \%  ~~  0.9
1 \text{ m}  ~~  1\text{ ft}
32^\circ\text{F}  ~~  32^\circ\text{C}
\frac{\pi}{180}  ~~  1
1^\circ  ~~  \frac{\pi}{90}
\begin{pmatrix}1&2\\3&4\end{pmatrix}  ~~  \begin{pmatrix}1&2\\3&5\end{pmatrix}
\begin{vmatrix}1&2\\3&4\end{vmatrix}  ~~  \begin{pmatrix}1&2\\3&4\end{pmatrix}
\text{never}  ~~  \text{always}
a\cdot b  ~~  a\times c
5,5  ~~  5
2,3,5,7  ~~  2,3,5
2 or 3  ~~  2
\pm 1  ~~  \pm 2
x=\pm 2  ~~  x=2
3\pm\sqrt5  ~~  3\pm\sqrt{6}
1-2  ~~  1,-2
1/2/3  ~~  1/(2/3)
1+2i  ~~  2+i
\overline{AB}  ~~  \overline{AC}
\angle A  ~~  \angle B
AB  ~~  AC
# words that compute with the number or scale it
7  ~~  7 squared
7  ~~  7 \text{ thirds}
7  ~~  7 million
7  ~~  \$7 \text{ billion}
4 \text{ cm}  ~~  4 cm squared
7  ~~  7 \text{ wrong}
# bounds, denials and signs in words
7  ~~  at least 7
7  ~~  not 7
7  ~~  negative 7
7  ~~  The answer is less than 7.
7  ~~  x is not equal to $7$
7  ~~  the answer isn't 7
7  ~~  7 (or 8)
7  ~~  The answer is 7, but could be 8.
# a number up to 1 is a share already
0.3  ~~  0.3\%
1  ~~  1\%
\frac{3}{8}  ~~  0.375\%
19/7  ~~  2.714\%
# units that only share a word
4 dollars per ticket  ~~  4 tickets
4 \text{ red balls}  ~~  4 \text{ blue balls}
# times of day
7:00 PM  ~~  7:00 AM
7:00 PM  ~~  7:30 PM
# no list member starts with a zero
2,000  ~~  2, 0
2,000  ~~  2, 00
# order before an ellipsis
2, 4, 6, \ldots  ~~  4, 2, 6, \ldots
# unreadable mathematics keeps its case and its braces
2 \pmod n  ~~  2 \pmod N
\frac{1}{23  ~~  \frac{12}{3
7  ~~  7...
# fractions that split the whole group
{a+1 \over 2}  ~~  a+\frac12
# connectives and options
p \land q  ~~  p \lor q
D  ~~  \textbf{(C)} D
"""


@pytest.mark.parametrize(("left", "right"), table(DIFFERENT))
def test_different_answers(left, right):
    found = explain(left, right)
    assert found.verdict is False, found
    assert found.status == "ok", found
    assert explain(right, left).verdict is found.verdict, "not symmetric"


@pytest.mark.parametrize(("left", "right"), [("", ""), ("0", "")])
def test_nothing_is_no_answer(left, right):
    assert not explain(left, right).verdict
    assert not explain(right, left).verdict
