"""Objectives that need more than a token's own statistics: exact over ranks, passes and packing, and resumable."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from support import torchrun

from dftcore.files import read_log

QUICK = {"dtype": "float32", "batch_size": 8, "max_length": 128, "lr": 1e-3, "max_steps": 5, "save_every": 2}
OBJECTIVES = {
    "talr": ["--objective", "talr"],
    "talr-weight": ["--objective", "talr", "--objective-args", "denominator=weight"],
    "threshold-kept": ["--objective", "threshold", "--objective-args", "q=0.002", "denominator=kept"],
}


def options(model, problems, output, **changes):
    return {"model": model, "data": problems / "train.jsonl", "output": output, **QUICK, **changes}


def column(run, name):
    return [record[name] for record in read_log(run / "metrics.jsonl")]


def weights(run):
    return load_file(run / "final" / "model.safetensors")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs by name, shared by the tests below."""
    return tmp_path_factory.mktemp("family")


@pytest.fixture
def finished(runs, program, tiny_model, problems):
    """The run of an objective on one rank, trained when first asked for."""

    def train(name):
        if not (runs / name / "final").exists():
            done = program("train.py", *OBJECTIVES[name], **options(tiny_model, problems, runs / name))
            assert done.status == 0, done.err
        return runs / name

    return train


@pytest.mark.parametrize("name", OBJECTIVES)
def test_micro_batches_and_padding_change_only_rounding(finished, program, tiny_model, problems, tmp_path, name):
    changed = options(tiny_model, problems, tmp_path / "run", micro_batch_size=3)
    done = program("train.py", *OBJECTIVES[name], "--no-packing", **changed)
    assert done.status == 0, done.err
    for column_name in ("loss", "nll", "grad_norm"):
        expected = pytest.approx(column(finished(name), column_name), rel=1e-5)
        assert column(tmp_path / "run", column_name) == expected, column_name


@pytest.mark.parametrize("name", ["talr"])
def test_two_ranks_give_the_losses_of_one(finished, tiny_model, problems, tmp_path, name):
    done = torchrun(2, "train.py", *OBJECTIVES[name], **options(tiny_model, problems, tmp_path / "run"))
    assert done.status == 0, done.err
    for column_name in ("loss", "nll", "grad_norm"):
        expected = pytest.approx(column(finished(name), column_name), rel=1e-5)
        assert column(tmp_path / "run", column_name) == expected, column_name


@pytest.mark.parametrize("name", ["talr"])
def test_a_resumed_run_is_the_unbroken_one(finished, program, tiny_model, problems, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(finished(name), run)
    shutil.rmtree(run / "final")
    shutil.rmtree(run / "checkpoints" / "step-00000005")
    done = program("train.py", *OBJECTIVES[name], **options(tiny_model, problems, run))
    assert done.status == 0, done.err
    assert "resumed at 4" in done.out
    assert column(run, "loss") == column(finished(name), "loss")
    for tensor_name, value in weights(finished(name)).items():
        assert torch.equal(value, weights(run)[tensor_name]), tensor_name


def test_talr_follows_the_median_loss_of_the_step_before(finished):
    run = finished("talr")
    tau, nll = column(run, "tau"), column(run, "nll")
    assert tau[0] == 1.0
    assert column(run, "loss")[0] == pytest.approx(0.065, abs=0.06), "p^1 in the first step"
    assert all(0.5 * nll[step] < tau[step + 1] < 1.5 * nll[step] for step in range(4))


def test_the_mean_over_other_denominators(finished, program, tiny_model, problems, tmp_path):
    run = finished("threshold-kept")
    done = program(
        "train.py", "--objective-args", "q=0.002",
        **options(tiny_model, problems, tmp_path / "run", objective="threshold", max_steps=1),
    )  # fmt: skip
    assert done.status == 0, done.err
    kept, whole = read_log(run / "metrics.jsonl")[0], read_log(tmp_path / "run" / "metrics.jsonl")[0]
    share = whole["mean_weight"]
    assert 0.05 < share < 0.95
    assert kept["loss"] == pytest.approx(whole["loss"] / share, rel=1e-5)
    assert kept["grad_norm"] == pytest.approx(whole["grad_norm"] / share, rel=1e-4)
