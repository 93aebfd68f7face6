"""Units that are signs or letters: told from variables by what stands beside them. Both ways round."""

import pytest
from grading_tables import assert_both_ways, judged

SAME = r"""
# the micro sign, and what is marked as text
5  ~~  5 µm
5  ~~  5 \text{ µm}
5  ~~  5 \mathrm{\mu m}
5  ~~  5~\mu\text{m}
5 µm  ~~  0.005 mm
5\ \mathrm{\mu s}  ~~  5 \text{ µs}
\mu m  ~~  m \mu
# signs
5  ~~  5 \Omega
5  ~~  5 Ω
5  ~~  5 \mathrm{k}\Omega
5  ~~  5 \AA
5  ~~  5 \mathrm{\AA}
5  ~~  5 \text{ Å}
5  ~~  5 M_{\odot}
5\,\mathrm{k}\Omega  ~~  5000 \Omega
5 \AA  ~~  0.5 \text{ nm}
2 M_\odot  ~~  2 \text{ solar masses}
5  ~~  Rs. 5
5  ~~  ₹5
# words and letters
5  ~~  5 pc
5  ~~  5 AU
5  ~~  5 kWh
5  ~~  5 dyn
5  ~~  5 arcsec
5  ~~  5 N·m
4.5e33  ~~  4.5e33 erg/s
2 \text{ kWh}  ~~  7.2e6 \text{ J}
30 arcmin  ~~  0.5 degrees
1 atm  ~~  101325 Pa
# degrees, minutes and seconds
45^\circ 30'  ~~  45.5^\circ
45°30′  ~~  45.5°
-10^{\circ} 15' 36''  ~~  -10.26^\circ
"""

DIFFERENT = r"""
# variables
5  ~~  5 \mu m
5  ~~  5 \mu
5  ~~  5 \mu m g
5  ~~  5 m
5  ~~  5 \Omega^2
5  ~~  5 k\Omega
5  ~~  x\Omega
5  ~~  5 M
5  ~~  5pc
5  ~~  5 m\cdot g
\Omega  ~~  \omega
5\Omega  ~~  5\omega
# other units, other values
5 µm  ~~  5 mm
5 µm  ~~  6 µm
5 \Omega  ~~  5 \AA
5 \mathrm{k}\Omega  ~~  5 \Omega
5 M_\odot  ~~  5 L_\odot
5 pc  ~~  5 AU
5 kWh  ~~  5 J
Rs. 5  ~~  \$5
45^\circ 30'  ~~  45.3^\circ
45^\circ 30'  ~~  45^\circ
45^\circ 30'  ~~  30'
# a mark before a number is no punctuation
4  ~~  !4
!4  ~~  4!
"""


@pytest.mark.parametrize(("left", "right", "verdict"), judged(SAME, DIFFERENT))
def test_verdicts(left, right, verdict):
    assert_both_ways(left, right, verdict)
