"""Killed workers, signals and failing disks under a real torchrun: nothing is lost but steps, and they are said."""

import os
import random
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psutil
import pytest
import torch
import torch.distributed as dist
from support import ROOT, Started, column, make_model, run_options, torchrun, weights

from dftcore import checkpoint
from dftcore.distributed import attempt


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Large enough (2 million parameters) that a save takes a while, also beside a fast disk."""
    return make_model(tmp_path_factory.mktemp("models") / "wide", hidden=256)


@pytest.fixture(scope="module")
def two_ranks(model, problems, tmp_path_factory):
    """The unbroken run on two ranks, and its options for other outputs."""
    output = tmp_path_factory.mktemp("runs") / "two-ranks"
    done = torchrun(2, "train.py", **fault_options(model, problems, output))
    assert done.status == 0, done.err
    return output


def fault_options(model, problems, output, /, **changes):
    return run_options(model, problems, output, **{"epochs": 2, "max_steps": 12, "save_every": 2, **changes})


def worker(launcher, rank, attempt=0):
    """The process of a rank, once it exists, after so many restarts."""
    wanted = {"RANK": str(rank), "TORCHELASTIC_RESTART_COUNT": str(attempt)}
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        for child in psutil.Process(launcher.pid).children(recursive=True):
            try:
                if wanted.items() <= child.environ().items():
                    return child
            except psutil.Error:
                continue
        assert launcher.poll() is None, launcher.log.read_text()
        time.sleep(0.02)
    raise TimeoutError(f"no rank {rank}")


def wait_until(condition, launcher):
    deadline = time.monotonic() + 240
    while not condition():
        assert launcher.poll() is None, launcher.log.read_text()
        assert time.monotonic() < deadline, launcher.log.read_text()
        time.sleep(0.001)


def steps(run):
    return column(run, "step")[-1] if (run / "metrics.jsonl").exists() and column(run, "step") else 0


def saving(run):
    return any((run / "checkpoints").glob(".*.partial/rank-*")) if (run / "checkpoints").exists() else False


def wait_for_step(run, step, launcher):
    wait_until(lambda: steps(run) >= step, launcher)


def wait_for_a_save(run, after, launcher):
    wait_until(lambda: steps(run) >= after and saving(run), launcher)


def assert_equal_bit_for_bit(run, unbroken):
    assert column(run, "loss") == column(unbroken, "loss")
    for name, value in weights(unbroken).items():
        assert torch.equal(value, weights(run)[name]), name
    assert not list(run.glob("checkpoints/.*")), "torn saves are swept"


def test_workers_killed_at_a_step_and_during_a_save_restart_and_end_as_if_unbroken(
    two_ranks, model, problems, tmp_path
):
    run = tmp_path / "run"
    with Started(2, "--max-restarts", "9", **fault_options(model, problems, run)) as launcher:
        wait_for_step(run, 3, launcher)
        worker(launcher, 1).kill()
        attempt, torn = 0, False
        while not torn:
            victim = worker(launcher, 0, attempt := attempt + 1)
            wait_until(lambda: saving(run), launcher)
            victim.kill()
            victim.wait()
            torn = saving(run)
        assert launcher.wait(240) == 0, launcher.log.read_text()
    assert_equal_bit_for_bit(run, two_ranks)


def test_a_signal_to_one_rank_during_saves_stops_all_and_one_rank_goes_on(
    two_ranks, model, problems, tmp_path, program
):
    run = tmp_path / "run"
    with Started(2, **fault_options(model, problems, run, save_every=1)) as launcher:
        wait_for_step(run, 2, launcher)
        victim = worker(launcher, 1)
        for number in (signal.SIGUSR1, signal.SIGUSR1, signal.SIGTERM):  # the later ones change nothing
            victim.send_signal(number)
        assert launcher.wait(240) != 0
    said = launcher.log.read_text()
    assert f"[rank 1] stopped after step {steps(run)} of 12" in said
    assert str(ROOT / "dftcore") not in said, "no traceback but torchrun's own"
    newest = checkpoint.complete(run / "checkpoints")[-1]
    assert checkpoint.step_of(newest) == steps(run)
    done = program("train.py", **fault_options(model, problems, run))
    assert done.status == 0, done.err
    assert f"resumed at {checkpoint.step_of(newest)}" in done.out
    assert column(run, "loss") == pytest.approx(column(two_ranks, "loss"), rel=1e-4)
    for name, value in weights(two_ranks).items():
        assert torch.allclose(value, weights(run)[name], atol=1e-4), name


@pytest.mark.parametrize(
    "send", [lambda launcher: os.killpg(launcher.pid, signal.SIGINT), Started.terminate], ids=["ctrl-c", "sigterm"]
)
def test_torchrun_stopped_from_its_terminal_or_by_a_scheduler_saves_on_all_ranks(model, problems, tmp_path, send):
    run = tmp_path / "run"
    with Started(2, **fault_options(model, problems, run, save_every=0)) as launcher:
        wait_for_step(run, 2, launcher)
        send(launcher)
        assert launcher.wait(240) != 0
    said = launcher.log.read_text()
    for rank in (0, 1):
        assert f"[rank {rank}] stopped after step {steps(run)} of 12, saved in {run / 'checkpoints'}" in said
    assert [checkpoint.step_of(path) for path in checkpoint.complete(run / "checkpoints")] == [steps(run)]


def test_a_rank_that_cannot_write_its_part_stops_all_and_says_why(model, problems, tmp_path):
    run = tmp_path / "run"
    with Started(2, **fault_options(model, problems, run, save_every=6)) as launcher:
        wait_for_step(run, 1, launcher)
        partial = run / "checkpoints/.step-00000006.partial"
        (partial / "rank-1-of-2.safetensors").mkdir(parents=True)  # where the file should be
        assert launcher.wait(240) == 1
    said = launcher.log.read_text()
    assert f"[rank 1] error: {partial / 'rank-1-of-2.safetensors'}: Is a directory" in said
    assert "[rank 0] error: checkpoint" in said
    assert "was not written: another rank failed, its message says why" in said
    assert steps(run) < 12, "the run ended at a step after the failure"
    assert not list((run / "checkpoints").iterdir())


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_worker_killed_under_one_of_two_agents_restarts_all(two_ranks, model, problems, tmp_path):
    """The other agent does not count that restart, so that nothing may depend on its number."""
    run = tmp_path / "run"
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    words = ("--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}", "--rdzv-id", "1")
    options = fault_options(model, problems, run)
    words = (*words, "--max-restarts", "3")
    with Started(1, *words, node=0, **options) as first, Started(1, *words, node=1, **options) as second:
        wait_for_step(run, 3, first)
        children = psutil.Process(second.pid).children()
        next(child for child in children if "TORCHELASTIC_RESTART_COUNT" in child.environ()).kill()
        assert first.wait(240) == 0, first.log.read_text()
        assert second.wait(240) == 0, second.log.read_text()
    assert_equal_bit_for_bit(run, two_ranks)


@pytest.mark.parametrize("size", [1, 4])
def test_ranks_of_one_start_agree_on_a_name_and_take_none_of_the_start_before(size):
    """The second start finds all keys of the first; its first rank comes last."""
    store, patience = dist.HashStore(), timedelta(seconds=30)
    with ThreadPoolExecutor(size) as pool:
        before = list(pool.map(lambda rank: attempt(store, rank, size, patience), range(size)))
        later = [pool.submit(attempt, store, rank, size, patience) for rank in reversed(range(size))]
        after = [future.result() for future in later]
    assert len(set(before)) == len(set(after)) == 1
    assert set(before).isdisjoint(after)


@pytest.mark.soak
def test_twenty_random_kills_end_as_if_unbroken(two_ranks, model, problems, tmp_path):
    chance, torn = random.Random(0), 0
    for trial in range(20):
        run = tmp_path / f"run-{trial}"
        with Started(2, "--max-restarts", "1", **fault_options(model, problems, run)) as launcher:
            victim = worker(launcher, chance.randrange(2))
            if trial % 2:
                wait_for_a_save(run, chance.randrange(11), launcher)
            elif trial % 4:
                time.sleep(chance.uniform(0, 10))  # while it starts, on most machines
            else:
                wait_for_step(run, chance.randrange(11), launcher)
                time.sleep(chance.uniform(0, 0.5))
            if victim.is_running():
                victim.kill()
                victim.wait()
            torn += saving(run)
            assert launcher.wait(300) == 0, launcher.log.read_text()
        assert_equal_bit_for_bit(run, two_ranks)
    assert torn >= 3, "too few kills hit a save"
