"""A training run evaluated while it trains: checkpoints come and go, watchers are killed, runs end."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
from support import ROOT, torchrun

from dftcore import checkpoint
from dftcore.evaluation import watching
from dftcore.files import read_log

SAMPLING = {"samples": 2, "max_new_tokens": 8, "sampling_batch_size": 4, "prompt": "problem", "dtype": "float32"}


@pytest.fixture(scope="module")
def trained(tiny_model, problems, tmp_path_factory):
    """A finished run of 4 steps with a checkpoint at 2 and at 4."""
    from dftcore.options import parse_options
    from dftcore.training import TrainOptions, train

    run = tmp_path_factory.mktemp("watched") / "run"
    options = {"model": tiny_model, "data": problems / "train.jsonl", "output": run, "batch-size": 4, "max-steps": 4}
    options |= {"save-every": 2, "dtype": "float32", "max-length": 64, "lr": 0.01}
    train(parse_options(TrainOptions, [w for k, v in options.items() for w in (f"--{k}", str(v))], "train.py", ""))
    return run


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def watched(run, problems):
    return {"watch": run, "benchmarks": problems / "test.jsonl", "limit": 4, "poll_seconds": 0.1, **SAMPLING}


def drawn(run, step):
    records = read_log(run / f"watch/step-{step:08d}/samples.jsonl")
    return [{k: v for k, v in record.items() if k not in ("seconds", "run")} for record in records]


def test_every_checkpoint_of_a_finished_run_on_two_ranks(run, program, problems):
    shutil.rmtree(run / "checkpoints/step-00000004")  # the last one is also what final/ holds
    done = torchrun(2, "evaluate.py", **watched(run, problems))
    assert done.status == 0, done.err
    assert [point["step"] for point in json.loads((run / "watch/watch.json").read_text())] == [2, 4]
    assert "step 2: test 0.0% (0.0% to 49.0%)" in done.out
    assert (run / "watch/watch.png").read_bytes().startswith(b"\x89PNG")
    assert not list(run.glob("watch/*/model")), "exported models are removed"
    assert drawn(run, 2) != drawn(run, 4)
    again = program("evaluate.py", **watched(run, problems))
    assert (again.status, again.out) == (0, ""), "nothing is left to do"
    other = program("evaluate.py", **{**watched(run, problems), "samples": 3})
    assert "--samples: the steps in" in other.refusal
    assert "were evaluated with 2, now 3" in other.refusal


def test_a_killed_watcher_goes_on_and_follows_the_run_to_its_end(run, program, problems, tmp_path):
    """Step 4 and final/ appear only after the watcher was killed over step 2; the result is an unbroken one's."""
    later = [(run / "checkpoints/step-00000004", tmp_path / "step"), (run / "final", tmp_path / "final")]
    for path, place in later:
        path.rename(place)
    words = [word for k, v in watched(run, problems).items() for word in (f"--{k.replace('_', '-')}", str(v))]
    command = [sys.executable, str(ROOT / "evaluate.py"), *words]
    part = run / "watch/step-00000002/samples.rank-0.jsonl"

    def until(ready):
        deadline = time.monotonic() + 120
        while not ready():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)

    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    until(lambda: part.exists() and part.read_bytes())
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (run / "watch/step-00000002/model").is_dir()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        until((run / "watch/watch.json").exists)
        for path, place in later:  # final/ last, as training does
            place.rename(path)
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "step 4: test" in out
    broken = {step: drawn(run, step) for step in (2, 4)}
    shutil.rmtree(run / "watch")
    assert program("evaluate.py", **watched(run, problems)).status == 0
    assert broken == {step: drawn(run, step) for step in (2, 4)}


def test_a_checkpoint_that_training_removes_meanwhile_is_passed_over(run, monkeypatch):
    export, said = watching.export_checkpoint, []

    def removed(options):
        if options.step == 2:
            shutil.rmtree(run / "checkpoints/step-00000002")
        export(options)

    monkeypatch.setattr(watching, "export_checkpoint", removed)
    options = watching.WatchedOptions(run, poll_seconds=0.01)
    step, model = watching._wait(options, run / "watch", said.append)
    assert (step, model) == (4, run / "watch/step-00000004/model")
    assert said == ["step 2: removed by training before it was read; --keep-checkpoints keeps more of them"]
    assert not (run / "watch/step-00000002").exists()


def test_a_damaged_checkpoint_is_named_not_passed_over(run, program, problems):
    (path,) = checkpoint.complete(run / "checkpoints")[0].glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    assert "step-00000002 is damaged" in program("evaluate.py", **watched(run, problems)).refusal


def test_a_directory_without_a_run_is_refused(program, problems, tmp_path):
    assert "holds no config.yaml" in program("evaluate.py", **watched(tmp_path, problems)).refusal


def test_a_watcher_ends_when_nothing_comes(run, program, problems):
    shutil.rmtree(run / "final")  # training died before its end
    refusal = program("evaluate.py", **watched(run, problems), idle_minutes=0.001).refusal
    assert f"--watch: training in {run} has taken no step for 0.001 minutes" in refusal
    assert (run / "watch/step-00000004/results.json").is_file()
    (run / "watch/settings.json").write_text("{")
    assert "settings.json is damaged" in program("evaluate.py", **watched(run, problems)).refusal
