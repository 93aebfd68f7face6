"""Accuracy on labelled pairs, given a data directory: DFTCORE_DATA, or ../shared/data beside the repository."""

import json
import os
import time
from pathlib import Path

import pytest

from dftcore.grading import explain

DATA = Path(os.environ.get("DFTCORE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
CAP = 1.0  # seconds of processor time


def rows(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no {name} in the data directory (set DFTCORE_DATA)")
    with path.open() as lines:
        return [json.loads(line) for line in lines]


def judged(name, marker="/nonexistent/marker"):
    """(row, explanation) for every row whose texts are given, each within the time cap and symmetric."""
    found = []
    for row in rows(name):
        if row["gold"] is None or row["pred"] is None:
            continue
        gold, prediction = row["gold"].replace("{MARKER}", marker), row["pred"].replace("{MARKER}", marker)
        start = time.process_time()
        result = explain(gold, prediction)
        assert time.process_time() - start < CAP, row["id"]
        assert result.status != "error", (row["id"], result)
        assert explain(prediction, gold).verdict == result.verdict, (row["id"], "not symmetric")
        found.append((row, result))
    return found


def test_labelled_cases():
    decidable = [(row, result) for row, result in judged("checker/cases.jsonl") if row["cls"] in ("core", "hard")]
    wrong = [(row["gold"], row["pred"][-80:], result) for row, result in decidable if result.verdict != row["expected"]]
    core = [(row, result) for row, result in decidable if row["cls"] == "core"]
    assert len(wrong) <= 0.05 * len(decidable), wrong
    assert sum(result.verdict != row["expected"] for row, result in core) <= 0.03 * len(core), wrong
    assert sum(result.verdict for row, result in decidable if not row["expected"]) <= 3, wrong


def test_hostile_cases(tmp_path):
    marker = tmp_path / "marker"
    wrong = [
        (row["id"], result)
        for row, result in judged("checker/hostile.jsonl", str(marker))
        if result.verdict != row["expected"] and not row["either"]
    ]
    assert not wrong
    assert not marker.exists()


def test_variants():
    found = judged("checker/variants.jsonl")
    wrong = [(row["gold"], row["pred"], result) for row, result in found if result.verdict != row["expected"]]
    assert len(wrong) <= 0.0005 * len(found), wrong
    assert not [row for row in wrong if row[0] == "identity"]


def test_model_outputs():
    assert not [
        (row["id"], result)
        for row, result in judged("checker/gsm8k_outputs.jsonl")
        if result.verdict != row["expected"]
    ]


@pytest.mark.parametrize("name", ["math500", "minerva_math", "olympiadbench", "aime24", "amc23", "gsm8k"])
def test_every_benchmark_answer_equals_itself(name):
    for row in rows(f"benchmarks/{name}/test.jsonl"):
        answer = str(row["answer"])
        assert explain(answer, answer).verdict, answer
        assert explain(answer, rf"so it is \boxed{{{answer}}}.").verdict, answer


@pytest.mark.parametrize("name", ["math500", "minerva_math", "gsm8k"])
def test_every_worked_solution_states_its_answer(name):
    for row in rows(f"benchmarks/{name}/test.jsonl"):
        result = explain(str(row["answer"]), row["solution"])
        assert result.verdict, (row["id"], result)
