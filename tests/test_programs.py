"""What a newcomer mistypes: each mistake is one clear line, a non-zero status, and nothing half-written."""

import json
import subprocess
import sys

import pytest
import torch
from support import ROOT, make_model, make_tokenizer


def options(model, problems, output, /, **changes):
    return {
        "model": model,
        "data": problems / "train.jsonl",
        "output": output,
        "max_steps": 1,
        "dtype": "float32",
        **changes,
    }


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"data": "absent.jsonl"}, "--data: no file or directory absent.jsonl"),
        ({"data": "README.md"}, "no file or directory README.md"),
        ({"model": "absent/model/x"}, "--model: no directory absent/model/x"),
        ({"model": "org/absent"}, "--model: cannot download 'org/absent' from the Hub"),
        ({"data": "org/absent"}, "--data: cannot load 'org/absent' (split 'train') from the Hub"),
        ({"columns": "problem=question"}, "no column 'question' among 'id', 'problem'"),
        ({"columns": "problm=question"}, "unknown name 'problm'; did you mean problem?"),
        ({"columns": "question"}, "not of the form name=column"),
        ({"objective": "dtf"}, "unknown objective 'dtf'; did you mean dft?"),
        ({"objective": "grpo"}, "not available yet: it needs the online loop"),
        ({"objective": "power"}, "needs a value for alpha"),
        ({"objective": "power", "objective_args": "alhpa=1"}, "no parameter 'alhpa'; did you mean alpha?"),
        ({"objective": "power", "objective_args": "alpha=x"}, "--objective-args: 'alpha=x' is not of the form"),
        ({"lr": "fast"}, "--lr: 'fast' is not a number above 0"),
        ({"dtype": "float16"}, "--dtype: 'float16' is not one of float32, bfloat16"),
        ({"batchsize": 8}, "unknown option --batchsize; did you mean --batch-size?"),
        ({"chat_template": "user-asistant"}, "did you mean user-assistant?"),
        ({"max_length": 3}, "no row of"),
        ({"config": "absent.yaml"}, "--config: no file absent.yaml"),
        ({"seed": 10**20}, "--seed: 100000000000000000000 is out of range"),
        ({"data": ""}, "--data: empty"),
        ({"error_budget": 2}, "--error-budget: 2 is out of range"),
        pytest.param(
            {"loss_backend": "triton"},
            "triton needs a CUDA device and there is none",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
        ({"normalization": "legacy-verl"}, "--normalization: legacy-verl takes the mean of each pass"),
        ({"normalization": "legacy"}, "--normalization: 'legacy' is not one of exact, legacy-verl"),
        ({"validation_data": "absent.jsonl"}, "--validation-data: no file or directory absent.jsonl"),
        ({"validation_data": "x.jsonl", "validation_split": 5}, "--validation-split: held-out rows come from"),
        ({"validation_split": 2.5}, "--validation-split: 2.5 is neither a number of rows nor a share below 1"),
        ({"validation_split": 96}, "--validation-split: 96 of 96 rows are 96; leave some of each part"),
        ({"validate_every": 0}, "--validate-every: 0 is out of range"),
        ({"diagnostics_every": 0}, "--diagnostics-every: 0 is out of range"),
        ({"tokenise_workers": 0}, "--tokenise-workers: 0 is out of range"),
        ({"profile": 0}, "--profile: 0 is out of range"),
        ({"track": "tensorbord"}, "--track: unknown tracker 'tensorbord'; did you mean tensorboard?"),
        ({"objective": "unlikelihood"}, "data rows carry no marks"),
        ({"no_resum": ""}, "did you mean --no-resume?"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_and_leaves_nothing(program, tiny_model, problems, tmp_path, monkeypatch, change, line):
    monkeypatch.chdir(tmp_path)
    refusal = program("train.py", **options(tiny_model, problems, tmp_path / "run", **change)).refusal
    assert line in refusal
    assert not (tmp_path / "run").exists()


def test_a_vocabulary_mismatch_is_refused_before_training(program, problems, tmp_path):
    directory = make_model(tmp_path / "small", vocabulary=300)
    make_tokenizer(directory)
    refusal = program("train.py", **options(directory, problems, tmp_path / "run")).refusal
    assert "the tokenizer has token id" in refusal
    assert "use the tokenizer that belongs to this model" in refusal


def test_a_torn_weight_file_is_refused(program, problems, tmp_path):
    directory = make_model(tmp_path / "torn")
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    assert "missing or damaged" in program("train.py", **options(directory, problems, tmp_path / "run")).refusal


def test_an_output_that_is_a_file_is_refused(program, tiny_model, problems, tmp_path):
    (tmp_path / "run").write_text("not a directory")
    for output in (tmp_path / "run", tmp_path / "run/below"):
        assert "is not a directory" in program("train.py", **options(tiny_model, problems, output)).refusal
    assert (tmp_path / "run").read_text() == "not a directory"


@pytest.mark.parametrize("name", ["train.py", "evaluate.py", "demo", "export", "preflight", "problems"])
def test_help_says_what_every_option_does(program, name):
    done = program(name, "--help")
    assert done.status == 0
    assert "--output" in done.out
    assert done.err == ""


def test_verbs_are_listed_and_a_wrong_one_is_refused(program):
    assert "demo" in program("--help").out
    assert "unknown verb 'dmo'; did you mean demo?" in program("dmo").refusal


def test_problems_verb_writes_rows(program, tmp_path):
    done = program("problems", output=tmp_path / "p.jsonl", count=7, split="test", levels="1,4")
    assert done.status == 0
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [row["level"] for row in rows] == [1, 4, 1, 4, 1, 4, 1]
    assert "levels run from 1 to 4" in program("problems", output=tmp_path / "q.jsonl", levels="9").refusal


def test_grading_loads_no_torch():
    code = "import sys, dftcore.grading; assert 'torch' not in sys.modules and 'sympy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
