"""A grid of runs: what it leaves, what it does not do again, what it refuses before the first run."""

import json

import pytest
import yaml


@pytest.fixture
def plan(tiny_model, problems, tmp_path):
    """Writes plan.yaml with these changes to its sections; the grid has two runs."""

    def write(**sections):
        whole = {
            "train": {
                "model": str(tiny_model),
                "data": str(problems / "train.jsonl"),
                "max_steps": 2,
                "batch_size": 4,
                "dtype": "float32",
                "packing": False,
            },
            "grid": {"objective": ["dft", "power alpha=0.5"]},
            "evaluate": {
                "benchmarks": str(problems / "test.jsonl"),
                "samples": 1,
                "limit": 2,
                "max_new_tokens": 4,
                "dtype": "float32",
            },
        }
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump({**whole, **sections}))
        return {"plan": path, "output": tmp_path / "sweep", "ranks": 1}

    return write


def test_a_sweep_runs_what_is_missing_and_only_that(program, plan, tmp_path):
    done = program("sweep", **plan())
    assert done.status == 0, done.err
    names = ["objective=dft", "objective=power-alpha=0.5"]
    records = json.loads((tmp_path / "sweep/sweep.json").read_text())
    assert [record["run"] for record in records] == names
    assert all(record["steps"] == 2 and record["accuracy"]["test"]["questions"] == 2 for record in records)
    assert records[0]["nll"] == pytest.approx(records[1]["nll"], rel=0.05)
    assert "| power alpha=0.5 | 2" in done.out
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").rglob("*.safetensors")}
    (tmp_path / "sweep" / names[1] / "eval/results.json").unlink()
    again = program("sweep", **plan())
    assert again.status == 0, again.err
    assert "evaluate objective=power" in again.out
    assert "train objective" not in again.out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").rglob("*.safetensors")} == times
    refusal = program("sweep", **plan(train={"model": "elsewhere", "data": "x.jsonl"})).refusal
    assert "the plan says" in refusal


def test_a_run_of_other_data_under_the_same_name_is_told(program, plan, problems, tiny_model, tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_bytes((problems / "train.jsonl").read_bytes())
    train = {"model": str(tiny_model), "data": str(data), "max_steps": 1, "batch_size": 4, "dtype": "float32"}
    sections = {"train": train, "grid": {"objective": ["dft"]}, "evaluate": None}
    assert program("sweep", **plan(**sections)).status == 0
    data.write_bytes((problems / "test.jsonl").read_bytes())
    done = program("sweep", **plan(**sections))
    assert done.status == 1
    assert "objective=dft (its data has changed since; remove the run to train it again)" in done.err


def test_a_run_that_fails_is_named_and_the_others_are_done(program, plan, tiny_model, tmp_path):
    sections = {"grid": {"model": [str(tmp_path / "absent"), str(tiny_model)]}, "evaluate": None}
    done = program("sweep", **plan(**sections))
    assert done.status == 1
    assert "1 of 2 runs failed: model=" in done.err.splitlines()[-1]
    (record,) = json.loads((tmp_path / "sweep/sweep.json").read_text())
    assert record["steps"] == 2


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"grid": {"lrr": [1e-5]}}, "train: unknown option --lrr; did you mean --lr?"),
        ({"grid": {"lr": [1e-5, "fast"]}}, "train: --lr: 'fast' is not a number above 0"),
        ({"grid": {"lr": 1e-5}}, "grid: lr needs a list of distinct values"),
        ({"grid": {"lr": [1e-5, 1e-5]}}, "grid: lr needs a list of distinct values"),
        ({"grid": {"output": ["a"]}}, "output is set by the program"),
        ({"grid": {}}, "needs the sections train and grid"),
        ({"evaluat": {}}, "unknown section 'evaluat'; did you mean evaluate?"),
        ({"evaluate": {"samples": 2}}, "evaluate: --benchmarks is required"),
        ({"grid": {"objective": ["power beta=1"]}}, "no parameter 'beta'"),
        ({"grid": {"objective": ["dtf"]}}, "unknown objective 'dtf'; did you mean dft?"),
        ({"grid": {"normalization": ["legacy-verl"], "packing": [True]}}, "packed rows do not have; add --no-packing"),
        ({"grid": {"objective": ["dft", "unlikelihood"]}}, "data rows carry no marks"),
    ],
    ids=str,
)
def test_a_wrong_plan_is_refused_before_the_first_run(program, plan, tmp_path, sections, line):
    assert line in program("sweep", **plan(**sections)).refusal
    assert not (tmp_path / "sweep").exists()
