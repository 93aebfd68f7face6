"""Runs compared by paired bootstrap: the verdict in words, and what cannot be compared."""

import json
import re

import numpy as np
import pytest

from dftcore.evaluation.comparison import short_names


def evaluation(directory, rates, *, dataset="test", gold="4", seed=0, missing=0, **options):
    """A directory with the graded samples of questions that are answered correctly with these chances, 8 of each."""
    rng = np.random.default_rng(seed)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "samples.jsonl").open("a") as log:
        for question, rate in enumerate(rates):
            for sample in range(8):
                correct = bool(rng.random() < rate)
                row = {"dataset": dataset, "id": str(question), "sample": sample, "gold": gold, "correct": correct}
                log.write(json.dumps(row) + "\n")
    figures = dict.fromkeys(("value", "low", "high", "questions", "samples"), 0)
    results = {"options": options, "benchmarks": {dataset: {**figures, "missing_samples": missing}}}
    (directory / "results.json").write_text(json.dumps(results))
    return directory


@pytest.fixture
def runs(tmp_path):
    """base and other are equally good, better is 15 points better on every question."""
    rates = np.linspace(0.1, 0.8, 60)
    for seed, (name, gain) in enumerate({"base": 0.0, "other": 0.0, "better": 0.15}.items()):
        evaluation(tmp_path / "runs" / name / "eval", rates + gain, seed=seed)
    return tmp_path / "runs"


def compare(program, *runs, **options):
    return program("evaluate.py", "--compare", *map(str, runs), **options)


def test_the_better_run_is_named_with_its_interval(program, runs):
    done = compare(program, runs / "base/eval", runs / "better/eval")
    assert done.status == 0, done.err
    assert "- better is better than base by 1" in done.out
    assert "points (95 % interval +" in done.out
    again = compare(program, runs / "better/eval", runs / "base/eval")
    assert "- better is better than base by 1" in again.out


def test_pairing_shows_what_two_intervals_do_not(program, tmp_path):
    """Questions differ far more than the runs: the intervals of the two overlap, the paired difference excludes 0."""
    evaluation(tmp_path / "base", [0.0] * 30 + [0.9] * 30)
    evaluation(tmp_path / "better", [0.15] * 30 + [1.0] * 30)
    done = compare(program, tmp_path / "base", tmp_path / "better")
    assert "- better is better than base by" in done.out
    (_, base_high), (better_low, _) = re.findall(r"([\d.]+)% to ([\d.]+)%", done.out)
    assert float(better_low) < float(base_high)


def test_equal_runs_show_no_difference_and_three_are_compared_in_pairs(program, runs):
    done = compare(program, *(runs / name / "eval" for name in ("base", "other", "better")), output=runs / "compared")
    assert done.status == 0, done.err
    assert "- base and other: no difference shown (base minus other is " in done.out
    assert done.out.count("is better than") == 2
    assert "with many pairs one in twenty errs" in done.out
    assert (runs / "compared/comparison.md").read_text().strip() in done.out
    assert (runs / "compared/comparison.png").read_bytes().startswith(b"\x89PNG")


def test_benchmarks_are_compared_one_by_one_and_averaged(program, tmp_path):
    for seed, name in enumerate(("a", "b")):
        evaluation(tmp_path / name, np.full(40, 0.2 + 0.4 * seed), dataset="small", seed=seed)
        evaluation(tmp_path / name, np.full(80, 0.5), dataset="large", seed=seed + 5)
    done = compare(program, tmp_path / "a", tmp_path / "b", output=tmp_path / "compared")
    pairs = json.loads((tmp_path / "compared/comparison.json").read_text())["pairs"]
    found = {pair["benchmark"]: pair for pair in pairs}
    assert list(found) == ["small", "large", "average"]
    assert found["average"]["value"] == pytest.approx((found["small"]["value"] + found["large"]["value"]) / 2)
    assert "b is better than a by" in done.out
    assert "on average, 120 questions" in done.out


def test_few_questions_are_too_few_to_tell(program, tmp_path):
    evaluation(tmp_path / "a", [1.0] * 5)
    evaluation(tmp_path / "b", [0.0] * 5)
    assert "no difference shown" in (out := compare(program, tmp_path / "a", tmp_path / "b").out)
    assert "5 questions, too few to tell" in out


def test_only_shared_questions_count(program, tmp_path):
    evaluation(tmp_path / "a", [0.5] * 30)
    evaluation(tmp_path / "b", [0.5] * 20, seed=1)
    lines = compare(program, tmp_path / "a", tmp_path / "b").out.splitlines()
    line = next(line for line in lines if "a - b" in line)
    assert line.split("|")[-3:-1] == [" 20        ", " 10         "]


def test_what_else_differs_is_said_beside_the_verdict(program, tmp_path):
    evaluation(tmp_path / "a", [0.5] * 12, temperature=1.0, samples=8)
    evaluation(tmp_path / "b", [0.5] * 12, temperature=0.6, samples=8, missing=3)
    done = compare(program, tmp_path / "a", tmp_path / "b", output=tmp_path / "compared")
    assert "The runs differ in --temperature: a 1.0, b 0.6." in done.out
    assert "b lacks 3 samples of test." in done.out
    assert "--samples" not in done.out
    assert len(json.loads((tmp_path / "compared/comparison.json").read_text())["notes"]) == 2


def test_names_tell_the_runs_apart(tmp_path):
    def named(*runs):
        return short_names([tmp_path / run for run in runs])

    assert named("runs/sft/eval", "runs/dft/eval") == ["sft", "dft"]
    assert named("runs/sft/eval", "runs/sft/eval-2") == ["eval", "eval-2"]
    assert named("a/eval", "a/b/eval") == ["a", "a/b"]


@pytest.mark.parametrize(
    ("second", "line"),
    [
        (None, "--compare: give two or more output directories"),
        ("a", "is named twice"),
        ("nothing", "holds no graded samples; give the --output of a finished evaluation"),
        ("golds", "a and golds have different answers to question 0 of test"),
        ("names", "a and names share no question"),
        ("graded", "--compare: a is graded strict, graded qwen-compatible; grade one anew with --grade-only"),
        ("unfinished", "holds no graded samples; give the --output of a finished evaluation"),
    ],
)
def test_runs_that_cannot_be_compared(program, tmp_path, second, line):
    evaluation(tmp_path / "a", [0.5] * 12)
    evaluation(tmp_path / "golds", [0.5] * 12, gold="5")
    evaluation(tmp_path / "names", [0.5] * 12, dataset="another")
    evaluation(tmp_path / "graded", [0.5] * 12, grading_policy="qwen-compatible")
    (evaluation(tmp_path / "unfinished", [0.5] * 12) / "results.json").unlink()
    assert line in compare(program, tmp_path / "a", *([tmp_path / second] if second else [])).refusal
