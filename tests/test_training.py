"""The loop's promises: exact whatever the ranks and passes, resumable bit for bit, nothing half-written."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from support import ROOT, column, run_options, torchrun, weights

from dftcore import checkpoint
from dftcore.files import read_log
from dftcore.optim import OptimizerOptions, learning_rate
from dftcore.training.loop import Loop


def test_a_run_directory_holds_what_the_contract_says(unbroken):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert sorted(p.name for p in unbroken.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "diagnostics.jsonl",
        "final",
        "metrics.jsonl",
        "preflight.json",
    ]
    assert [p.name for p in sorted((unbroken / "checkpoints").iterdir())] == ["step-00000009", "step-00000010"]
    assert yaml.safe_load((unbroken / "config.yaml").read_text())["objective"] == "dft"
    records = read_log(unbroken / "metrics.jsonl")
    assert [record["step"] for record in records] == list(range(1, 11))
    wanted = {"step", "loss", "nll", "mean_prob", "grad_norm", "lr", "tokens", "tokens_per_second", "seconds"}
    assert wanted <= records[0].keys()
    model = AutoModelForCausalLM.from_pretrained(unbroken / "final", dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(unbroken / "final")
    assert model.generate(**tokenizer("Ada has", return_tensors="pt"), max_new_tokens=3).shape[1] > 3


def test_training_learns(unbroken):
    assert column(unbroken, "nll")[-1] < column(unbroken, "nll")[0] - 0.3
    assert column(unbroken, "mean_prob")[-1] > column(unbroken, "mean_prob")[0]


@pytest.mark.parametrize("model", ["tiny_model", "tied_model"])
def test_two_ranks_give_the_losses_of_one(model, request, problems, tmp_path):
    model = request.getfixturevalue(model)
    runs = [tmp_path / f"ranks-{ranks}" for ranks in (1, 2)]
    for ranks, run in zip((1, 2), runs, strict=True):
        done = torchrun(ranks, "train.py", **run_options(model, problems, run))
        assert done.status == 0, done.err
    for name in ("loss", "nll", "grad_norm"):
        assert column(runs[1], name) == pytest.approx(column(runs[0], name), rel=1e-5), name
    one, two = weights(runs[0]), weights(runs[1])
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=2e-5), name


@pytest.mark.parametrize(
    "changes",
    [
        {"micro_batch_size": 3},
        {"micro_batch_size": 8},
        {"flag": "--no-packing"},
        {"flag": "--no-packing", "micro_batch_size": 3},
    ],
    ids=str,
)
def test_packing_and_micro_batches_change_only_rounding(unbroken, program, tiny_model, problems, tmp_path, changes):
    words = [changes.pop("flag")] if "flag" in changes else []
    done = program("train.py", *words, **run_options(tiny_model, problems, tmp_path / "run", **changes))
    assert done.status == 0, done.err
    assert column(tmp_path / "run", "loss") == pytest.approx(column(unbroken, "loss"), rel=1e-5)


def test_one_rank_with_eight_passes_equals_eight_ranks_with_one_equals_packed(
    unbroken, program, tiny_model, problems, tmp_path
):
    padded = {"batch_size": 8, "micro_batch_size": 1}
    runs = [tmp_path / f"ranks-{ranks}" for ranks in (1, 8)]
    one = program("train.py", "--no-packing", **run_options(tiny_model, problems, runs[0], **padded))
    assert one.status == 0, one.err
    eight = torchrun(8, "train.py", "--no-packing", **run_options(tiny_model, problems, runs[1], **padded))
    assert eight.status == 0, eight.err
    assert len(list((runs[1] / "checkpoints/step-00000010").glob("rank-*-of-8.safetensors"))) == 8
    for run in runs:
        for name in ("loss", "nll", "grad_norm"):
            assert column(run, name) == pytest.approx(column(unbroken, name), rel=1e-5), name
        for name, value in weights(unbroken).items():
            assert torch.allclose(value, weights(run)[name], atol=2e-5), name


def test_sft_and_dft_differ_from_the_first_step_on(unbroken, program, tiny_model, problems, tmp_path):
    done = program("train.py", **run_options(tiny_model, problems, tmp_path / "run", objective="sft", max_steps=2))
    assert done.status == 0, done.err
    first = read_log(tmp_path / "run/metrics.jsonl")[0]
    assert first["loss"] == pytest.approx(first["nll"])
    assert first["mean_weight"] == 1.0
    dft = read_log(unbroken / "metrics.jsonl")[0]
    assert dft["nll"] == pytest.approx(first["nll"], rel=1e-6), "the same data and model"
    assert dft["mean_weight"] == pytest.approx(dft["mean_prob"])
    assert dft["loss"] < 0.1 * dft["nll"]


def test_bfloat16_compute_keeps_float32_weights(program, tiny_model, problems, tmp_path, unbroken):
    done = program("train.py", **run_options(tiny_model, problems, tmp_path / "run", dtype="bfloat16", max_steps=3))
    assert done.status == 0, done.err
    assert column(tmp_path / "run", "nll") == pytest.approx(column(unbroken, "nll")[:3], rel=2e-2)
    state = load_file(tmp_path / "run/checkpoints/step-00000003/rank-0-of-1.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


def saved(run):
    return checkpoint.complete(run / "checkpoints")


def start(options):
    words = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def wait_for_step(output, step, process):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if len(read_log(output / "metrics.jsonl")) >= step:
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    raise TimeoutError(f"no step {step} in {output}")


def test_a_killed_run_resumes_bit_for_bit(unbroken, program, tiny_model, problems, tmp_path):
    options = run_options(tiny_model, problems, tmp_path / "run")
    process = start(options)
    wait_for_step(tmp_path / "run", 5, process)
    process.kill()
    process.wait()
    partial = tmp_path / "run/checkpoints/.step-00000006.partial"
    partial.mkdir(exist_ok=True)  # as a kill during a save leaves it
    (partial / "rank-0-of-1.safetensors").write_bytes(b"torn")
    with (tmp_path / "run/metrics.jsonl").open("a") as log:
        log.write('{"step": 5, "lo')
    done = program("train.py", **options)
    assert done.status == 0, done.err
    assert column(tmp_path / "run", "loss") == column(unbroken, "loss")
    for name, value in weights(unbroken).items():
        assert torch.equal(value, weights(tmp_path / "run")[name]), name


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_says_so_and_the_run_goes_on(unbroken, program, tiny_model, problems, tmp_path, number, status):
    options = run_options(tiny_model, problems, tmp_path / "run", save_every=0, max_steps=10)
    process = start(options)
    wait_for_step(tmp_path / "run", 2, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert "run the same command again to go on" in last
    assert not (tmp_path / "run/final").exists()
    done = program("train.py", **options)
    assert done.status == 0, done.err
    assert "resumed at 3" in done.out or "resumed at 2" in done.out
    assert column(tmp_path / "run", "loss") == column(unbroken, "loss")


def test_a_checkpoint_of_one_rank_goes_on_with_two(unbroken, program, tiny_model, problems, tmp_path):
    options = run_options(tiny_model, problems, tmp_path / "run", save_every=4, keep_checkpoints=9)
    assert program("train.py", **options).status == 0
    shutil.rmtree(tmp_path / "run/final")
    for late in ("step-00000008", "step-00000010"):
        shutil.rmtree(tmp_path / "run/checkpoints" / late)
    done = torchrun(2, "train.py", **options)
    assert done.status == 0, done.err
    assert column(tmp_path / "run", "loss") == pytest.approx(column(unbroken, "loss"), rel=1e-5)
    for name, value in weights(unbroken).items():  # six updates after the resume: wrong moments would show
        assert torch.allclose(value, weights(tmp_path / "run")[name], atol=2e-5), name


def test_a_finished_run_says_so_and_changes_nothing(unbroken, program, tiny_model, problems):
    before = {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")}
    done = program("train.py", **run_options(tiny_model, problems, unbroken))
    assert done.status == 0
    assert "is complete" in done.out
    assert {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")} == before


def test_other_options_do_not_resume_into_a_run(unbroken, program, tiny_model, problems):
    refusal = program("train.py", **run_options(tiny_model, problems, unbroken, lr=2e-3)).refusal
    assert "--lr differs" in refusal
    assert "it was 0.001, now 0.002" in refusal
    refusal = program("train.py", **run_options(tiny_model, problems, unbroken, objective="sft")).refusal
    assert "--objective differs" in refusal


def test_no_resume_sets_the_old_run_aside(unbroken, program, tiny_model, problems, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    done = program("train.py", "--no-resume", **run_options(tiny_model, problems, tmp_path / "run", max_steps=2))
    assert done.status == 0, done.err
    assert len(column(tmp_path / "run", "loss")) == 2
    assert column(tmp_path / "run.1", "loss") == column(unbroken, "loss")


def test_a_damaged_checkpoint_is_named_with_the_mend(unbroken, program, tiny_model, problems, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/final")
    newest = tmp_path / "run/checkpoints/step-00000010"
    file = newest / "rank-0-of-1.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    refusal = program("train.py", **run_options(tiny_model, problems, tmp_path / "run")).refusal
    assert f"checkpoint {newest} is damaged (rank-0-of-1.safetensors)" in refusal
    shutil.rmtree(newest)  # the mend it names
    done = program("train.py", **run_options(tiny_model, problems, tmp_path / "run"))
    assert done.status == 0, done.err
    assert column(tmp_path / "run", "loss") == column(unbroken, "loss")


def test_a_run_without_checkpoints_is_set_aside_not_overwritten(unbroken, program, tiny_model, problems, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints")
    done = program("train.py", **run_options(tiny_model, problems, tmp_path / "run", objective="sft", max_steps=1))
    assert done.status == 0, done.err
    assert "no checkpoint to go on from" in done.out
    assert weights(tmp_path / "run.1").keys() == weights(unbroken).keys()
    assert column(tmp_path / "run.1", "loss") == column(unbroken, "loss")


def test_export_never_replaces_a_directory(unbroken, program, tmp_path):
    (tmp_path / "precious").mkdir()
    refusal = program("export", run=unbroken, output=tmp_path / "precious").refusal
    assert "exists already; nothing is overwritten" in refusal
    assert (tmp_path / "precious").is_dir()


def test_export_of_a_checkpoint_is_the_model_of_that_step(unbroken, program, tmp_path):
    done = program("export", run=unbroken, step=10, output=tmp_path / "out")
    assert done.status == 0, done.err
    for name, value in weights(unbroken).items():
        assert torch.equal(value, load_file(tmp_path / "out/model.safetensors")[name]), name
    assert "there are [9, 10]" in program("export", run=unbroken, step=4, output=tmp_path / "other").refusal


def test_a_gradient_that_is_not_finite_changes_no_weight_and_stops_in_the_end(program, tiny_model, problems, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(tiny_model, bad)
    state = load_file(bad / "model.safetensors")
    state["model.norm.weight"][0] = float("inf")
    from safetensors.torch import save_file

    save_file(state, bad / "model.safetensors", metadata={"format": "pt"})
    done = program("train.py", **run_options(bad, problems, tmp_path / "run", max_steps=12, save_every=4))
    assert done.status == 1
    assert "not finite for 10 steps in a row" in done.err
    records = read_log(tmp_path / "run/metrics.jsonl")
    assert len(records) == 10
    assert records[0]["loss"] is None
    assert checkpoint.describe(tmp_path / "run/checkpoints/step-00000008")["updates"] == 0
    saved = load_file(tmp_path / "run/checkpoints/step-00000008/rank-0-of-1.safetensors")
    name = "model.embed_tokens.weight"
    assert torch.equal(saved[f"param/language_model.{name}"], state[name])
    assert not (tmp_path / "run/final").exists()


def test_a_single_gradient_that_is_not_finite_is_skipped_and_counted(
    unbroken, program, tiny_model, problems, tmp_path, monkeypatch
):
    gradients, steps = Loop._gradients, itertools.count(1)

    def spoiled(loop, *arguments):
        found = gradients(loop, *arguments)
        if next(steps) == 4:
            next(loop.module.parameters()).grad[0] = float("nan")
        return found

    monkeypatch.setattr(Loop, "_gradients", spoiled)
    run = tmp_path / "run"
    done = program("train.py", **run_options(tiny_model, problems, run, save_every=1, keep_checkpoints=10))
    assert done.status == 0, done.err
    assert "step 4: the gradient is not finite; its update was skipped" in done.out
    assert "1 skipped" in done.out
    assert [norm is None for norm in column(run, "grad_norm")] == [step == 4 for step in range(1, 11)]
    assert column(run, "loss")[:4] == column(unbroken, "loss")[:4]
    third, fourth, fifth = (load_file(path / "rank-0-of-1.safetensors") for path in saved(run)[2:5])
    assert all(torch.equal(value, third[name]) for name, value in fourth.items())
    assert not any(torch.equal(value, third[name]) for name, value in fifth.items())
    assert checkpoint.describe(saved(run)[-1])["updates"] == 9


def test_the_learning_rate_rises_then_falls_to_zero():
    options = OptimizerOptions(lr=1.0, warmup_ratio=0.1)
    rates = [learning_rate(options, step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert learning_rate(OptimizerOptions(lr=1.0, schedule="linear"), 55, 100) == pytest.approx(0.5)
    assert learning_rate(OptimizerOptions(lr=1.0, schedule="constant"), 99, 100) == 1.0


@pytest.mark.parametrize("words", [["--async-save"], ["--no-async-save"]], ids=lambda words: words[0])
def test_a_full_disk_is_one_line_at_the_next_step_and_leaves_nothing_that_looks_whole(
    program, tiny_model, problems, tmp_path, monkeypatch, words
):
    def full(_tensors, path, **_options):
        raise SafetensorError(f"Error while serializing: I/O error: {os.strerror(28)} (os error 28)")

    monkeypatch.setattr("dftcore.tensorfiles.save_file", full)
    options = run_options(tiny_model, problems, tmp_path / "run", max_steps=100, epochs=10, save_every=1)
    done = program("train.py", *words, **options)
    assert done.status == 1
    partial = tmp_path / "run/checkpoints/.step-00000001.partial"
    assert f"disk full while writing {partial}/rank-0-of-1.safetensors" in done.err
    assert "Traceback" not in done.err
    assert 1 <= len(column(tmp_path / "run", "loss")) < 100, "the run ended at a step after the failure"
    assert not list((tmp_path / "run/checkpoints").iterdir())
    assert not (tmp_path / "run/final").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_really_full_disk(program, tiny_model, problems, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", small], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        done = program("train.py", **run_options(tiny_model, problems, small / "run", max_steps=9, save_every=2))
        assert done.status == 1
        assert "disk full" in done.err
        assert "Traceback" not in done.err
        assert not list(small.glob("run/checkpoints/step-*"))
    finally:
        subprocess.run(["umount", small], check=True)
