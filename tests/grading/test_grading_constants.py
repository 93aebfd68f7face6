"""Constants that cancel, expressions given a value, and other spellings of numbers. Checked both ways round."""

import pytest
from grading_tables import assert_both_ways, judged

SAME = r"""
# constants that come to nothing
0  ~~  \sin 3\pi
0  ~~  \cos 270^\circ
0  ~~  \sqrt{10}-\sqrt{2}\sqrt{5}
0  ~~  e^{2i\pi}-1
0  ~~  \log_3 5-\frac{\ln 5}{\ln 3}
5  ~~  5+\sin 2\pi
-1  ~~  \cos\pi+i\sin\pi
# what a question asks for, and its value
17  ~~  p+q=17
17  ~~  a+b+c+d=17
\frac25  ~~  \cos\theta=\frac25
\frac25  ~~  \frac{p}{q}=\frac25
a+b=5  ~~  b=5-a
17  ~~  PQ+QR=17
m+n=5  ~~  2m+2n=10
# recurring decimals
\frac49  ~~  0.\dot{4}
\frac{7}{30}  ~~  0.2\dot{3}
\frac{3}{7}  ~~  0.\dot{4}2857\dot{1}
\frac49  ~~  .\overline{4}
\frac49  ~~  0.(4)
\frac49  ~~  0.444...
\frac{7}{30}  ~~  x = 0.2333\ldots
\frac{4}{11}  ~~  0.3636...
# marks and words around a value
\frac56  ~~  \text{about } 0.833
31  ~~  31 \checkmark
31  ~~  \therefore n=31
31  ~~  n=31\ \blacksquare
3/8  ~~  3 out of 8
3/8  ~~  3 \text{ out of } 8
# inches
31  ~~  31 in
31 in  ~~  31 \text{ inches}
31 in^2  ~~  31 square inches
# other
(0,\infty)  ~~  \mathbb{R}^+
x\ge0  ~~  x\in\mathbb{R}_{\ge 0}
\frac{\varphi}{2}  ~~  \frac12\phi
(5,6)  ~~  \{(5,6)\}
15  ~~  5!!
1\!,\!250  ~~  1250
"""

DIFFERENT = r"""
# constants that nearly come to nothing
0  ~~  10^{-30}
0  ~~  \sin(10^{-30})
0  ~~  \sin(\pi+10^{-40})
0  ~~  \sqrt3\cdot10^{-70}
0  ~~  \sin\frac{22}{7}
0  ~~  e^{-200}
3  ~~  3+\sin(\pi+10^{-40})
\sqrt3  ~~  \sqrt3+10^{-90}
\sqrt3  ~~  \sqrt3+\sin(10^{-70})
\sin(10^{-60})  ~~  3\sin(10^{-60})
# equations, and values of other expressions
17  ~~  x+y=17
17  ~~  2m+n=17
17  ~~  m+n=18
p+q=17  ~~  m+n=17
\sin\theta=\frac25  ~~  \cos\theta=\frac25
\frac{p}{q}=\frac25  ~~  \frac{q}{p}=\frac25
# decimals that go on otherwise
\frac56  ~~  0.834...
\frac49  ~~  0.45454...
\frac49  ~~  0.44...
0.5,0.444  ~~  0.5,0.444...
3/8  ~~  3
# brackets
[0,\infty)  ~~  \mathbb{R}^{+}
(5,6)  ~~  \{5,6\}
[5,6]  ~~  \{[5,6]\}
(5,6)  ~~  \{(5,6),(7,8)\}
5!!  ~~  (5!)!
"""


@pytest.mark.parametrize(("left", "right", "verdict"), judged(SAME, DIFFERENT))
def test_verdicts(left, right, verdict):
    assert_both_ways(left, right, verdict)
