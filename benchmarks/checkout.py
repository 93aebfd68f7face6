"""Import this first: where dftcore is not installed, the benchmarks take it from the checkout they lie in."""

import os
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if find_spec("dftcore") is None:
    sys.path.append(str(ROOT))


def commit() -> str:
    """The commit that is measured, short; a copy without its history is told it by DFTCORE_COMMIT."""
    with suppress(OSError, subprocess.CalledProcessError):  # without git, or outside a repository
        command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
        return (
            os.environ.get("DFTCORE_COMMIT")
            or subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()
        )
    return "unknown"
