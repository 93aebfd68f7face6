"""Pairs that state the same answer, by kind. Every pair is checked both ways round."""

import pytest
from grading_tables import table

from dftcore.grading import explain

SAME = r"""
# fractions and decimals
1/2  ~~  0.5
\frac12  ~~  .5
-\frac{3}{4}  ~~  \frac{3}{-4}
\dfrac{7}{8}  ~~  7/8
-1./4  ~~  -0.25
\frac{\frac12}{3}  ~~  1/6
0.1\overline{6}  ~~  1/6
007  ~~  7
12.0  ~~  12
-0  ~~  0
+5  ~~  5
# thousands
1,234,567  ~~  1234567
1{,}234  ~~  1234
1\,234\,567  ~~  1234567
10,\!000  ~~  10000
12 345 678  ~~  12345678
1,234.5  ~~  1234.5
2500,7500  ~~  7500, 2500
1,234  ~~  1234
# scientific notation
3.5e-3  ~~  0.0035
3.5 \times 10^{-3}  ~~  3.5e-3
6.02*10^23  ~~  6.02 \cdot 10^{23}
1e5  ~~  100000
-1.2\times10^5  ~~  -120000
3×10⁴  ~~  30000
2.5 x 10^{3}  ~~  2500
# mixed numbers
2 1/3  ~~  7/3
2\frac13  ~~  \frac73
-1\tfrac{1}{2}  ~~  -1.5
4\frac12\text{ hours}  ~~  4.5 hours
# percent, money, units, angles
60\%  ~~  0.6
12.5%  ~~  1/8
40 percent  ~~  40\%
\$12.50  ~~  12.5
€7  ~~  7 euros
25¢  ~~  \$0.25
5\text{ cm}  ~~  5cm
5\text{ cm}  ~~  50\text{ mm}
9\text{ m/s}  ~~  9 meters per second
1 hour  ~~  60 minutes
10\text{ cm}^2  ~~  10 square centimeters
30^\circ  ~~  30 degrees
\frac{\pi}{6}  ~~  30^\circ
3 apples  ~~  3
# decimals to the digits they show
1/3  ~~  0.3333
\sqrt{2}  ~~  1.4142135623730951
\pi  ~~  3.1416
3.1416  ~~  3.14
\frac{200}{3}  ~~  66.7
# roots and powers
\sqrt{8}  ~~  2\sqrt2
\frac{1}{\sqrt2}  ~~  \frac{\sqrt{2}}{2}
\sqrt[3]{16}  ~~  2\sqrt[3]2
√3  ~~  sqrt(3)
\sqrt{3+2\sqrt2}  ~~  1+\sqrt2
2**(1/2)  ~~  \sqrt{2}
8^{2/3}  ~~  4
\sqrt[3]{-8}  ~~  -2
2^{3^2}  ~~  512
# functions
\ln 8  ~~  3\ln 2
\log_2 8  ~~  3
\sin^2 x+\cos^2 x  ~~  1
\sin 2x  ~~  2\sin x\cos x
\tan^{-1}(1)  ~~  pi/4
e^{i\pi}  ~~  -1
|3-5|  ~~  2
5!  ~~  120
\binom{5}{2}  ~~  10
\lfloor 3.7\rfloor  ~~  3
\frac{n!}{(n-2)!}  ~~  n(n-1)
\lceil n/2\rceil  ~~  \lfloor (n+1)/2\rfloor
\sum_{k=1}^{10} k  ~~  55
\sum_{k=0}^{n} a_k b_{n-k}  ~~  \sum_{k=0}^{n} b_{n-k} a_k
\cosh x  ~~  \frac{e^x+e^{-x}}{2}
np.sqrt(4)  ~~  2
# algebra
x^2-1  ~~  (x-1)(x+1)
\frac{x^2-1}{x-1}  ~~  x+1
n*(n+1)/2  ~~  \frac{n^2+n}{2}
v_0^2  ~~  v^2_0
t/RC  ~~  \frac{t}{RC}
\sqrt{1/n}  ~~  \frac1{\sqrt n}
(1+i)^2  ~~  2i
2^{n+1}  ~~  2\cdot 2^n
I(0)e^{-t}  ~~  e^{-t}I(0)
x²+1  ~~  1+x^2
# names before values
x=5  ~~  5
5 = x  ~~  x=5
f(x)=x^2  ~~  x^2
f(x)=x^2  ~~  y=x^2
x = 2+3 = 5 \approx 5.0  ~~  5
|AB|=7  ~~  7
\angle ABC = 40^\circ  ~~  40
\frac{AB}{CD}=\frac12  ~~  1/2
(x,y)=(1,2)  ~~  x=1, y=2
180+24=204  ~~  204
# equations and inequalities
2x+3y=6  ~~  y=-\frac23x+2
x^2+y^2=4  ~~  \frac{x^2}{4}+\frac{y^2}{4}=1
x+y<3  ~~  -2x-2y>-6
y'+ry=0  ~~  y'=-ry
2>x  ~~  x<2
x<1  ~~  -x>-1
x<=2  ~~  x\leq 2
2x<6  ~~  x<3
# intervals and sets of numbers
[0,1]  ~~  0\le x\le 1
(-\infty,3]  ~~  x\le3
(-\infty,-1)\cup(1,\infty)  ~~  |x|>1
[0,2)\cup[2,3]  ~~  [0,3]
\mathbb{R}\setminus\{0\}  ~~  x\ne0
\{x\mid x>2\}  ~~  (2,\infty)
]0,1[  ~~  (0,1)
x\in[0,1)  ~~  [0,1)
x<-1 \text{ or } x>1  ~~  (1,\infty)\cup(-\infty,-1)
\left(\frac35,\frac83\right]  ~~  (0.6, 2.6667]
# lists, sets, tuples
1,2,3  ~~  3,2,1
\{1,2\}  ~~  \{2,1,1\}
1 and 2  ~~  \{1,2\}
2\pm\sqrt3  ~~  2-\sqrt3, 2+\sqrt3
x=\pm5  ~~  5,-5
(1/2, 3)  ~~  \left(0.5,3\right)
(1,2),(3,4)  ~~  (3,4) or (1,2)
(1;2)  ~~  (1,2)
1,2,\ldots,5  ~~  1,2,3,4,5
\langle 1,2\rangle  ~~  (1,2)
\emptyset  ~~  \{\}
\{5\}  ~~  5
19, 46, \text{ and } 82  ~~  46,19,82
# matrices
\begin{pmatrix}1&2\\3&4\\\end{pmatrix}  ~~  \left[\begin{array}{cc}1&2\\3&4\end{array}\right]
\begin{pmatrix}1\\2\end{pmatrix}  ~~  (1,2)
2\begin{pmatrix}1\\x\end{pmatrix}  ~~  \begin{bmatrix}2\\2x\end{bmatrix}
\begin{vmatrix}1&2\\3&4\end{vmatrix}  ~~  -2
\begin{pmatrix}1&2\\3&4\end{pmatrix}  ~~  [[1,2],[3,4]]
# text, options, ratios, bases
\text{East}  ~~  east
\text{(B)}  ~~  B
\textbf{(B)}\ 12  ~~  12
\textbf{(B)}\ 12  ~~  (B)
3:2  ~~  6:4
3:2  ~~  \frac32
12:30  ~~  12:30
52_8  ~~  52_{8}
101_{\text{two}}  ~~  101_2
\text{no solution}  ~~  \emptyset
\text{e}  ~~  e
# what cannot be computed equals itself
9^{9^{9^9}}  ~~  9^{9^{9^9}}
(10^7)!  ~~  (10^7)!
\infty  ~~  +\infty
\lim_{x\to0}f(x)  ~~  \lim_{x\to0}f(x)
f'  ~~  f'
9^{9^9}  ~~  9^{387420489}
a ; b } c  ~~  a ; b } c
7\pmod{12}  ~~  7\pmod {12}
# of many kinds
\{2k+1 : k\in\mathbb{Z}\}  ~~  \{1+2k : k\in\mathbb{Z}\}
\begin{cases}x=1\\y=2\end{cases}  ~~  x=1, y=2
\begin{cases}x=1\\y=2\end{cases}  ~~  (1,2)
= 5  ~~  5
\approx 3.14  ~~  3.14
x_1=2, x_2=3  ~~  3, 2
x_{1}=2, x_{2}=3  ~~  x=2 \text{ or } x=3
\log_{10} 2  ~~  \log 2
(4,\log_{10}2)  ~~  (4,\log 2)
9.8 m/s^2  ~~  9.8
9.8 \mathrm{~m/s^2}  ~~  9.8
5.0\times 10^{3}\ \mathrm{kg}  ~~  5000
5.0\times 10^{3} \mathrm{~kg}  ~~  5000 kg
\mathbb{R}-\{3\}  ~~  x\ne 3
f^{-1}(x)=\frac{x-1}{2}  ~~  \frac{x-1}{2}
P(X>2)=0.3  ~~  0.3
P(A\cap B)=\frac14  ~~  1/4
\frac{dy}{dx}=2x  ~~  2x
The correct answer is option B.  ~~  B
\{1\}\cup\{2\}  ~~  \{1,2\}
-\infty<x<3  ~~  (-\infty,3)
x > 5 \text{ and } x < 10  ~~  (5,10)
\{(1,2),(3,4)\}  ~~  (3,4),(1,2)
3x^2y  ~~  3yx^2
\frac{5}{2}=2.5  ~~  5/2
\mathbf{(C)}  ~~  C
\textbf{(C) }12  ~~  C
\boxed{\textbf{(C) }12}  ~~  12
The answer is $\textbf{(C)}\ 12$.  ~~  C
C) 12  ~~  C
x = 3, y = -2  ~~  (x,y) = (3,-2)
(3, -2)  ~~  x = 3, y = -2
a = 3  ~~  $a=3.0$
2\sqrt{3}\text{ cm}  ~~  2\sqrt3
\sqrt[4]{16}  ~~  2
\frac{3\pi}{4} \text{ radians}  ~~  135^\circ
x\in\{-1,1\}  ~~  \pm 1
x=-1, 1  ~~  1,-1
\left\{-1,1\right\}  ~~  -1 \text{ and } 1
7.0  ~~  7.00
0.50  ~~  \frac{1}{2}
y=\frac{1}{2}x-3  ~~  x-2y=6
y - 3 = 2(x - 1)  ~~  y = 2x+1
(x-1)^2+(y+2)^2=9  ~~  x^2-2x+y^2+4y-4=0
a\le b  ~~  b\ge a
k<0 \text{ or } k>4  ~~  k\in(-\infty,0)\cup(4,\infty)
n=4k+1  ~~  4k+1
2^{10}-1  ~~  1023
1023  ~~  2^{10}-1
\frac{2^{100}-1}{3}  ~~  \frac{1}{3}(2^{100}-1)
\frac{1}{2}\left(3^{n}-1\right)  ~~  \frac{3^n-1}{2}
\binom{n}{2}  ~~  \frac{n(n-1)}{2}
\frac{(2n)!}{n!n!}  ~~  \binom{2n}{n}
\binom{100}{50}  ~~  \frac{100!}{50!50!}
\sqrt{2}\approx 1.41  ~~  \sqrt2
18 \text{ dollars}  ~~  \$18
\$ 18  ~~  18
18\$  ~~  18
1{,}000{,}000  ~~  10^6
-3,-1,2  ~~  \{2,-1,-3\}
\text{(A) and (C)}  ~~  A, C
A,C  ~~  C and A
ABC  ~~  ABC
Tuesday  ~~  tuesday
\text{Tuesday}  ~~  Tuesday.
3 \frac{1}{2}  ~~  3.5
3 1/2  ~~  3\tfrac{1}{2}
three  ~~  three
2 hours  ~~  2
6 \text{ and } 8  ~~  8,6
(-1)^{2n}  ~~  1
i^2  ~~  -1
|1+i|  ~~  \sqrt2
e^{\ln 5}  ~~  5
\frac{1}{1-x}  ~~  -\frac{1}{x-1}
\tan\theta  ~~  \frac{\sin\theta}{\cos\theta}
\cos^{-1}(0)  ~~  90^\circ
2\cos^2 x-1  ~~  \cos 2x
\lambda  ~~  λ
10^{-4}  ~~  0.0001
6.67 \times 10^{-11}  ~~  6.67e-11
2\times3  ~~  6
\frac{6}{\sqrt{3}}  ~~  2\sqrt{3}
\left(\frac{1}{2}\right)^{10}  ~~  \frac{1}{1024}
x(x-1)(x+1)  ~~  x^3-x
[2, 5)  ~~  2 \leq x < 5
(−3, 2)  ~~  (-3,2)
2−√3  ~~  2-\sqrt{3}
(a,b,c)=(1,2,3)  ~~  a=1,b=2,c=3
f(x)=x \text{ and } f(x)=-x  ~~  f(x)=-x, f(x)=x
f(x)=x  ~~  f(x)=1\cdot x
AB=BC  ~~  BC=AB
x=y  ~~  y=x
S=\{1,2\}  ~~  \{1,2\}
\text{Odd}  ~~  \text{odd}
\mathrm{True}  ~~  true
90^{\circ}  ~~  90 \text{ degrees}
45^\circ, 60^\circ  ~~  60,45
17.5\%  ~~  17.5 \%
\frac{1}{2}:\frac{1}{3}  ~~  3:2
2:3:4  ~~  4:6:8
0.\overline{142857}  ~~  1/7
1.\overline{6}  ~~  5/3
0.1666666666666667  ~~  1/6
x^{10}  ~~  x^10
x^10+1  ~~  x^{10}+1
2^10  ~~  1024
\sqrt{x+1}  ~~  (x+1)^{0.5}
(x+1)^{1/2}  ~~  \sqrt{1+x}
\sqrt{x}\sqrt{x}  ~~  x
\log_2(x)+\log_2(y)  ~~  \log_2(xy)
\frac{\ln x}{\ln 2}  ~~  \log_2 x
\max\{a,b\}  ~~  \max(a,b)
\min(2,\frac32)  ~~  1.5
\left|x-2\right|  ~~  |2-x|
\|v\|  ~~  \lVert v\rVert
# readings found by looking for wrong verdicts
(-∞,1) U (2,∞)  ~~  x<1 or x>2
# from physics, geometry and prose
x^2+y^2-4x+6y=12  ~~  (x-2)^2+(y+3)^2=25
y=\frac{3}{2}x+1  ~~  3x-2y+2=0
\frac{x^2}{9}-\frac{y^2}{16}=1  ~~  16x^2-9y^2=144
(−∞, −2] ∪ [2, ∞)  ~~  |x|\ge 2
x\in(-\infty,1)\cup(1,\infty)  ~~  x\neq 1
-3 < x < 3  ~~  |x|<3
a>0  ~~  (0,\infty)
\left(-\infty,\frac12\right)  ~~  x<0.5
2\le k  ~~  k\geqslant2
(-2,3)  ~~  x>-2 and x<3
\{-2\}\cup[1,3)  ~~  [1,3)\cup\{-2\}
t = 2.5 \text{ s}  ~~  2.5
v = 12 \text{ m/s}  ~~  12
\text{Area} = 24  ~~  24
T = 300\,\text{K}  ~~  300
2.0 \times 10^{-7}\,\text{T}  ~~  2e-7
8.31 \text{ J/(mol K)}  ~~  8.31
1.6 \times 10^{-19}  ~~  1.6e-19
6.626\times10^{-34}\text{ J s}  ~~  6.626e-34
-0.5  ~~  -\frac12
-.5  ~~  -1/2
5e-324  ~~  5 \times 10^{-324}
3\cdot 10^{8}  ~~  300000000
3 \times 10^8 \text{ m/s}  ~~  3e8
\frac{4}{3}\pi r^3  ~~  \frac{4\pi r^3}{3}
A = \pi r^2  ~~  \pi r^2
F = ma  ~~  ma
E=mc^2  ~~  mc^2
\sqrt{\frac{2gh}{3}}  ~~  \frac{\sqrt{6gh}}{3}
e^{-\lambda t}  ~~  \exp(-\lambda t)
\frac{1}{\sqrt{1-v^2/c^2}}  ~~  (1-\frac{v^2}{c^2})^{-1/2}
\frac{1}{2}\ln\frac{1+x}{1-x}  ~~  \operatorname{artanh} x
\cos(\omega t+\phi)  ~~  \cos(\phi+\omega t)
\sin(x+\pi/2)  ~~  \cos x
A\sin\omega t  ~~  A \sin(\omega t)
\frac{\partial f}{\partial x}  ~~  \frac{\partial f}{\partial x}
\sum_{k=1}^{n}k^2  ~~  \sum_{i=1}^{n}i^2
\log_b a  ~~  \frac{\ln a}{\ln b}
x^{\frac{3}{2}}  ~~  x\sqrt{x}
(2^{x})^{3}  ~~  8^{x}
\frac{2^{n+1}-2}{2}  ~~  2^n-1
n^2-n+41  ~~  n(n-1)+41
\binom{n+1}{2}  ~~  \frac{n^2+n}{2}
\left\lfloor\frac{n}{2}\right\rfloor  ~~  \lfloor 0.5n\rfloor
\frac{n-1}{2} \text{ if } n \text{ is odd}  ~~  \frac{n-1}{2} \text{ if } n \text{ is odd}
1+2+\cdots+n  ~~  1+2+\cdots+n
1:2:3  ~~  2:4:6
\text{12 cm}  ~~  12
\text{12}  ~~  12
\mathrm{12\,cm}  ~~  12
12\,\mathrm{cm}  ~~  12
12~\mathrm{cm}  ~~  12\text{cm}
\boxed{12\ \mathrm{cm}}  ~~  12
5 \frac{3}{4} \text{ inches}  ~~  5.75
\$1.50  ~~  150 cents
75\text{ cents}  ~~  \$0.75
1{,}5  ~~  1{,}5
4x^{3}-9 x^{2}+C  ~~  -9x^2+4x^3+C
(3x+2)(x-5)  ~~  (x-5)(3x+2)
-(x-5)  ~~  5-x
\frac{a-b}{b-a}  ~~  -1
(1,-1,2)^T  ~~  (1,-1,2)^T
[1,2,3]  ~~  [1, 2, 3]
\begin{bmatrix}\frac12&0\\0&2\end{bmatrix}  ~~  \begin{pmatrix}0.5&0\\0&2\end{pmatrix}
\vec{i}+2\vec{j}  ~~  2\vec{j}+\vec{i}
\text{Friday}  ~~  friday
\text{The sequence diverges}  ~~  the sequence diverges
\text{A, B, and D}  ~~  A,B,D
A, B and D  ~~  D, A, B
II  ~~  II
\text{(D)}  ~~  D
(D)  ~~  \textbf{D}
10:30  ~~  10:30
10:30 \text{ am}  ~~  10:30 am
3^{rd}  ~~  3^{rd}
2^{nd}  ~~  2^{nd}
# scale words, raised units, units in math roman
7 \text{ million}  ~~  7{,}000{,}000
\$7 billion  ~~  7 billion dollars
4 cm squared  ~~  4 \text{ cm}^2
3 hours worked  ~~  3 hours
5 \mathrm{~m}  ~~  5
9.8 \mathrm{~m} / \mathrm{s}^{2}  ~~  9.8 m/s^2
# time of day, words with one meaning
7:00 PM  ~~  7:00 p.m.
\text{DNE}  ~~  does not exist
infinitely many  ~~  \text{infinitely many solutions}
\text{five}  ~~  5
# groups split by \over and \choose, row spacing
{a+1 \over 2}  ~~  \frac{a+1}{2}
{9 \choose 4}  ~~  \binom{9}{4}
\begin{pmatrix} 1 & 2 \\[1ex] 3 & 4 \end{pmatrix}  ~~  \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}
# a second form in brackets
1/2  ~~  1/2 (or 0.5)
# percent without its sign
35\%  ~~  35
"""


@pytest.mark.parametrize(("left", "right"), table(SAME))
def test_same_answers(left, right):
    found = explain(left, right)
    assert found.verdict is True, found
    assert found.status == "ok", found
    assert explain(right, left).verdict is found.verdict, "not symmetric"
