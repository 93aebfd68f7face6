"""The study under benchmarks/, end to end on a tiny model: every objective trained, evaluated, tabled, resumed."""

import json
import subprocess
import sys

import pytest
from support import ROOT, run_options

from dftcore.files import write_json_lines


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_whole_study_and_nothing_twice(program, tiny_model, tmp_path):
    """A model taught to say 4 or 5 is right about half the time, so there is something to verify and to pair."""
    rows = [{"id": str(n), "problem": f"{n % 3} or so?", "solution": f"It is {4 + n % 2}."} for n in range(200)]
    write_json_lines(tmp_path / "rows.jsonl", rows)
    taught = run_options(
        tiny_model, tmp_path, tmp_path / "taught", data=tmp_path / "rows.jsonl", max_steps=60, epochs=9
    )
    done = program("train.py", "--no-preflight", **{**taught, "objective": "sft", "lr": 0.02})
    assert done.status == 0, done.err
    command = [
        sys.executable, ROOT / "benchmarks/study.py", "--output", tmp_path / "study", "--model",
        tmp_path / "taught/final", "--train", tmp_path / "rows.jsonl", "--test", tmp_path / "rows.jsonl",
        "--warm-steps", "0", "--seeds", "1", "--no-grid", "--ranks", "1", "--dtype", "float32",
        "--results", tmp_path / "results",
    ]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "results/study.json").read_text())
    methods = ["start", "sft", "dft", "iw_sft", "threshold q=0.2", "rft", "dpo beta=0.1"]
    assert [row["method"] for row in found["rows"]] == methods
    assert all(row["questions"] == 64 and 0.1 < row["value"] < 0.9 for row in found["rows"])
    assert len(found["verdicts"]) == len(methods) - 1
    assert (tmp_path / "results/study.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "study/report.html").read_text()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "study").rglob("*.safetensors")}
    assert subprocess.run(list(map(str, command)), capture_output=True, check=False).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "study").rglob("*.safetensors")} == times
