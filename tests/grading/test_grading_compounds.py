"""Quantities in several units, times of day, units in letters, values said twice. Judged both ways round."""

import pytest
from grading_tables import assert_both_ways, judged, table

from dftcore.grading import extract_answer

SAME = r"""
# several units of one kind
2 hours 20 minutes  ~~  140 minutes
2 hours 20 minutes  ~~  2 h 20 min
2 hours 20 minutes  ~~  2h20m
2 hours 20 minutes  ~~  2 hours, 20 minutes
2 hours 20 minutes  ~~  2 hours and 20 minutes
2\text{ hours and }20\text{ minutes}  ~~  140 \text{ min}
\text{2 hours 20 minutes}  ~~  8400 seconds
2 hours 20 minutes  ~~  140
1 hour 1 minute 5 seconds  ~~  3665 \text{ s}
6 feet 2 inches  ~~  74 inches
6'2"  ~~  6 ft 2 in
6^\prime 2^{\prime\prime}  ~~  74 in
6′2″  ~~  6 feet and 2 inches
4 weeks 3 days  ~~  31 days
2 years 5 months  ~~  29 months
7 pounds 8 ounces  ~~  7.5 pounds
3 kg 250 g  ~~  3.25 kg
4 dollars 25 cents  ~~  \$4.25
# times of day
5:40 PM  ~~  17:40
5:40 p.m.  ~~  5:40
5:40  ~~  5:40 a.m.
5:40 pm  ~~  5:40 in the afternoon
noon  ~~  12:00 PM
12 midnight  ~~  12 a.m.
# units in letters
7\ \Omega  ~~  7 ohms
7\text{ k}\Omega  ~~  7000\,\Omega
7\ \mu\text{m}  ~~  7000 nm
7\ \mathrm{\mu F}  ~~  7 \times 10^{-6} F
7 µs  ~~  7 microseconds
3\ \mathrm{m/s^2}  ~~  3 \frac{m}{s^2}
40^\circ\text{C}  ~~  40 degrees Celsius
\frac{\pi}{3}\text{ rad}  ~~  60^\circ
120^\circ  ~~  120 \deg
# a value said twice
3/5  ~~  \frac35 (60\%)
60\%  ~~  3/5 (60%)
3/5  ~~  0.6 (i.e. 3/5)
3/5  ~~  \boxed{\frac35 \ (\text{or } 0.6)}
9\pi  ~~  9\pi (\approx 28.3)
2.5 hours  ~~  2.5 hours (150 minutes)
150 minutes  ~~  2.5 hours (150 minutes)
60^\circ  ~~  \frac{\pi}{3} (60^\circ)
x = 3/5  ~~  x = 3/5 (= 0.6)
5  ~~  5 (five)
12  ~~  4 (3)
"""

DIFFERENT = r"""
# several units of one kind
2 hours 20 minutes  ~~  220 minutes
2 hours 20 minutes  ~~  2.2 hours
2 hours 20 minutes  ~~  22
2 hours 20 minutes  ~~  20 minutes
2 hours 20 minutes  ~~  2 hours
2 hours or 20 minutes  ~~  140 minutes
6 feet 2 inches  ~~  2 feet 6 inches
6'2"  ~~  62
6'2"  ~~  74 feet
6 feet 2 inches  ~~  6.2 feet
# parts that do not add up
20 minutes 2 hours  ~~  140 minutes
2 km, 3000 m  ~~  5 km
2 m, 3 s  ~~  5
-2 feet 6 inches  ~~  -18 inches
-2 hours 20 minutes  ~~  -100 minutes
# times of day
17:40 am  ~~  17:40
0:40 pm  ~~  12:40
5:40 PM  ~~  5:40 AM
5:40 PM  ~~  17:04
17:40  ~~  5:40 a.m.
5:40 PM  ~~  5.4
noon  ~~  midnight
# units in letters
7\ \Omega  ~~  7 V
7\text{ k}\Omega  ~~  7\,\Omega
7\ \mu\text{m}  ~~  7 mm
40^\circ\text{C}  ~~  40 degrees Fahrenheit
\frac{\pi}{3}\text{ rad}  ~~  30^\circ
# brackets that hold another value, or a factor
3/5  ~~  \frac35 (61\%)
61\%  ~~  \frac35 (61\%)
3/5  ~~  0.6 (or 0.7)
9/25  ~~  \frac35 (60\%)
4  ~~  4 (3)
2  ~~  2 (1+1)
8  ~~  2^3 (8)
f(3)  ~~  3
n (n+1)  ~~  n
"""

FOUND = r"""
The drive takes 2 hours and 20 minutes.  ~~  2 hours and 20 minutes
He is 6 feet 2 inches tall.  ~~  6 feet 2 inches
The answer is 2 hours 20 minutes for the whole of the trip.  ~~  2 hours 20 minutes
He trains 3 days a week and 20 minutes a day.  ~~  20
They meet at (3, -4).  ~~  (3, -4)
They meet at (3, -4) and (0, 1).  ~~  (3, -4) and (0, 1)
The values are 3, 5, and 9.  ~~  3, 5, and 9
x is 3 or 9 then  ~~  3 or 9
It costs 3 dollars and he has 9 left.  ~~  9
The answer is 9, not 3.  ~~  9
The answer is 9 (not 3).  ~~  9
The answer is 9 and not 3.  ~~  9
The answer is 9, as $3^2=9$.  ~~  9
"""


@pytest.mark.parametrize(("left", "right", "verdict"), judged(SAME, DIFFERENT))
def test_verdicts(left, right, verdict):
    assert_both_ways(left, right, verdict)


@pytest.mark.parametrize(("text", "answer"), table(FOUND))
def test_values_of_several_numbers_are_found_whole(text, answer):
    assert extract_answer(text) == answer
