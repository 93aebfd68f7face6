"""Import this first: where dftcore is not installed, the benchmarks take it from the checkout they lie in."""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("dftcore") is None:
    sys.path.append(str(Path(__file__).resolve().parents[1]))
