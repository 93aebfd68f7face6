"""Objectives that need more than a token's own statistics: exact over ranks, passes and packing, and resumable."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file
from support import torchrun

from dftcore.files import read_log, write_json_lines
from dftcore.training.old_policy import OldPolicy

QUICK = {"dtype": "float32", "batch_size": 8, "max_length": 128, "lr": 1e-3, "max_steps": 5, "save_every": 2}
OBJECTIVES = {
    "talr": ["--objective", "talr"],
    "talr-weight": ["--objective", "talr", "--objective-args", "denominator=weight"],
    "threshold-kept": ["--objective", "threshold", "--objective-args", "q=0.002", "denominator=kept"],
    "iw_sft": ["--objective", "iw_sft"],
    "psft": ["--objective", "psft", "--objective-args", "eps=0.02", "refresh=3"],
    "psft-frozen": ["--objective", "psft", "--objective-args", "eps=0.02", "refresh=0"],
    "asft": ["--objective", "asft", "--objective-args", "kl_weight=3"],
    "dpo": ["--objective", "dpo"],
}


def options(model, problems, output, **changes):
    return {"model": model, "data": problems, "output": output, **QUICK, **changes}


def column(run, name):
    return [record[name] for record in read_log(run / "metrics.jsonl")]


def weights(run):
    return load_file(run / "final" / "model.safetensors")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs by name, shared by the tests below."""
    return tmp_path_factory.mktemp("family")


@pytest.fixture(scope="module")
def data(problems, tmp_path_factory):
    """The data of each objective: solved problems, or pairs of the solution and its words in reverse."""
    rows = [json.loads(line) for line in (problems / "train.jsonl").read_text().splitlines()]
    pairs = [
        {"prompt": row["problem"], "chosen": row["solution"], "rejected": " ".join(row["solution"].split()[::-1])}
        for row in rows
    ]
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    write_json_lines(path, pairs)
    return {name: path if name == "dpo" else problems / "train.jsonl" for name in OBJECTIVES}


@pytest.fixture
def finished(runs, program, tiny_model, data):
    """The run of an objective on one rank, trained when first asked for."""

    def train(name):
        if not (runs / name / "final").exists():
            done = program("train.py", *OBJECTIVES[name], **options(tiny_model, data[name], runs / name))
            assert done.status == 0, done.err
        return runs / name

    return train


def assert_same_curve(run, expected):
    for name, tolerance in (("loss", 1e-5), ("nll", 1e-5), ("grad_norm", 1e-4)):
        assert column(run, name) == pytest.approx(column(expected, name), rel=tolerance, abs=1e-7), name


@pytest.mark.parametrize("name", OBJECTIVES)
def test_micro_batches_and_padding_change_only_rounding(finished, program, tiny_model, data, tmp_path, name):
    changed = options(tiny_model, data[name], tmp_path / "run", micro_batch_size=3)
    done = program("train.py", *OBJECTIVES[name], "--no-packing", **changed)
    assert done.status == 0, done.err
    assert_same_curve(tmp_path / "run", finished(name))


@pytest.mark.parametrize("name", ["talr", "iw_sft", "psft", "asft", "dpo"])
def test_two_ranks_give_the_losses_of_one(finished, tiny_model, data, tmp_path, monkeypatch, name):
    monkeypatch.setenv("DFTCORE_CACHE", str(tmp_path / "cache"))  # the reference is computed on two ranks as well
    done = torchrun(2, "train.py", *OBJECTIVES[name], **options(tiny_model, data[name], tmp_path / "run"))
    assert done.status == 0, done.err
    assert_same_curve(tmp_path / "run", finished(name))


@pytest.mark.parametrize("name", ["talr", "iw_sft", "psft", "asft", "dpo"])
def test_a_resumed_run_is_the_unbroken_one(finished, program, tiny_model, data, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(finished(name), run)
    shutil.rmtree(run / "final")
    shutil.rmtree(run / "checkpoints" / "step-00000005")
    done = program("train.py", *OBJECTIVES[name], **options(tiny_model, data[name], run))
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
        **options(tiny_model, problems / "train.jsonl", tmp_path / "run", objective="threshold", max_steps=1),
    )  # fmt: skip
    assert done.status == 0, done.err
    kept, whole = read_log(run / "metrics.jsonl")[0], read_log(tmp_path / "run" / "metrics.jsonl")[0]
    share = whole["mean_weight"]
    assert 0.05 < share < 0.95
    assert kept["loss"] == pytest.approx(whole["loss"] / share, rel=1e-5)
    assert kept["grad_norm"] == pytest.approx(whole["grad_norm"] / share, rel=1e-4)


def test_the_start_model_is_its_own_reference_at_first(finished):
    """Ratios of 1, so SFT's loss; no divergence; margins of 0."""
    for name in ("iw_sft", "psft", "psft-frozen"):
        first = read_log(finished(name) / "metrics.jsonl")[0]
        assert first["loss"] == pytest.approx(first["nll"], rel=1e-5), name
        assert first["mean_weight"] == pytest.approx(1.0, rel=1e-5), name
    first, *_, last = read_log(finished("asft") / "metrics.jsonl")
    assert abs(first["kl"]) < 1e-6
    assert last["kl"] > 1e-4
    first, *_, last = read_log(finished("dpo") / "metrics.jsonl")
    assert first["loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert abs(first["margin"]) < 1e-5
    assert last["margin"] > 1e-3
    assert last["margin"] == pytest.approx(last["reward_chosen"] - last["reward_rejected"])
    assert last["loss"] < first["loss"]
    assert 0.5 < last["accuracy"] <= 1.0


def test_the_old_policy_follows_every_few_steps(finished):
    """Weights return to 1 when p_old is taken anew; a frozen one lets them fall to 0 as tokens pass the clip."""
    following, frozen = (column(finished(name), "mean_weight") for name in ("psft", "psft-frozen"))
    assert following[3] == pytest.approx(1.0, rel=1e-5)
    assert following[:3] == pytest.approx(frozen[:3], rel=1e-5)
    assert frozen[3] < 0.9


def test_old_policies_that_no_checkpoint_needs_are_removed(tmp_path):
    for step in (4, 6):
        (tmp_path / f"step-{step:08d}").mkdir()
        (tmp_path / f"step-{step:08d}" / "state.json").write_text("{}")
    for start in (0, 3, 6):
        (tmp_path / f"old-policy-{start:08d}.safetensors").touch()
    OldPolicy(3, None, tmp_path, 0, None)._prune()
    kept = sorted(path.name for path in tmp_path.glob("old-policy-*"))
    assert kept == ["old-policy-00000003.safetensors", "old-policy-00000006.safetensors"], "a run may go on from step 4"


def test_the_anchor_holds_the_model_back(finished, program, tiny_model, data, tmp_path):
    done = program(
        "train.py", "--objective-args", "kl_weight=1e-9",
        **options(tiny_model, data["asft"], tmp_path / "free", objective="asft"),
    )  # fmt: skip
    assert done.status == 0, done.err
    assert column(tmp_path / "free", "kl")[-1] > 1.2 * column(finished("asft"), "kl")[-1]
    done = program("train.py", **options(tiny_model, data["asft"], tmp_path / "dft", objective="dft"))
    assert done.status == 0, done.err
    assert column(tmp_path / "free", "loss") == pytest.approx(column(tmp_path / "dft", "loss"), rel=1e-6)
