"""The checkers' benchmark: what it writes, and that a checker which fails costs the others nothing."""

import json
import subprocess
import sys

from support import ROOT


def test_a_checker_that_cannot_run_is_a_row_that_says_why(tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 5\n")
    broken.chmod(0o755)
    command = [sys.executable, ROOT / "benchmarks/checker.py", "--pairs", "20", "--output", tmp_path]
    command += ["--checkers", "dftcore.grading,Math-Verify,inspect_ai math", "--python", "inspect_ai math=/nowhere"]
    done = subprocess.run([*command, "--python", f"Math-Verify={broken}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "checker.json").read_text())
    assert found["absent"] == {
        "Math-Verify": "ended with status 5",
        "inspect_ai math": "/nowhere: No such file or directory",
    }
    ours = {row["pairs"]: row for row in found["rows"]}
    assert ours["generated"]["count"] == 20
    assert ours["generated"]["correct_percent"] == ours["generated hostile"]["correct_percent"] == 100.0
    assert "|Math-Verify|absent (ended with status 5)|" in (tmp_path / "checker.md").read_text()
