"""The checkers' benchmark: what it writes, and that a checker which fails costs the others nothing."""

import json
import subprocess
import sys

from support import ROOT


def test_a_checker_that_cannot_run_is_a_row_that_says_why(tmp_path):
    broken, silent = tmp_path / "broken", tmp_path / "silent"
    for path, status in ((broken, 5), (silent, 0)):
        path.write_text(f"#!/bin/sh\nexit {status}\n")
        path.chmod(0o755)
    command = [sys.executable, ROOT / "benchmarks/checker.py", "--pairs", "20", "--output", tmp_path]
    names = "dftcore.grading,Math-Verify,inspect_ai math,verl prime_math,lm_eval minerva_math"
    command += ["--checkers", names, "--python", "inspect_ai math=/nowhere"]
    command += ["--python", f"verl prime_math={silent}"]
    done = subprocess.run([*command, "--python", f"Math-Verify={broken}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "checker.json").read_text())
    assert found["absent"] == {
        "Math-Verify": "ended with status 5",
        "inspect_ai math": "/nowhere: No such file or directory",
        "verl prime_math": "ended with status 0",
        "lm_eval minerva_math": "not installed",
    }
    ours = {row["pairs"]: row for row in found["rows"]}
    assert ours["generated"]["count"] == 20
    assert ours["generated"]["correct_percent"] == ours["generated hostile"]["correct_percent"] == 100.0
    assert "|Math-Verify|absent (ended with status 5)|" in (tmp_path / "checker.md").read_text()
