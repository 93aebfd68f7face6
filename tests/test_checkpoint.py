"""Saves in the background: the state of their step, one at a time, complete or invisible."""

import threading
from dataclasses import replace

import pytest
import torch
from torch import nn

from dftcore import checkpoint
from dftcore.checkpoint import Saver
from dftcore.distributed import process_group
from dftcore.errors import UserError
from dftcore.optim import OptimizerOptions, adamw


@pytest.fixture
def state():
    torch.manual_seed(0)
    module = nn.Linear(4, 3)
    optimizer = adamw(module, OptimizerOptions(lr=0.1))
    return module, optimizer


@pytest.fixture
def disk(monkeypatch):
    """A disk that writes only while the event is set."""
    ready, write = threading.Event(), checkpoint.write_tensors
    monkeypatch.setattr(checkpoint, "write_tensors", lambda *what: ready.wait(60) and write(*what))
    yield ready
    ready.set()


@pytest.fixture
def world():
    with process_group() as world:
        yield world


def train(module, optimizer):
    module(torch.ones(4)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def everything(module, optimizer):
    moments = [optimizer.state[p][name] for p in module.parameters() for name in ("exp_avg", "exp_avg_sq")]
    return [tensor.detach().clone() for tensor in [*module.parameters(), *moments]]


def test_a_save_holds_the_state_of_its_step_while_training_goes_on(state, disk, world, tmp_path):
    train(*state)
    then = everything(*state)
    with Saver(tmp_path, world, {"lr": 0.1}, keep=2) as saver:
        saver.save(1, *state)  # returns although nothing can be written
        train(*state)
        assert not checkpoint.complete(tmp_path)
        disk.set()
    (path,) = checkpoint.complete(tmp_path)
    assert path == tmp_path / "step-00000001"
    assert checkpoint.describe(path)["updates"] == 1
    assert not any(torch.equal(a, b) for a, b in zip(everything(*state), then, strict=True))
    checkpoint.load(path, *state)
    assert all(torch.equal(a, b) for a, b in zip(everything(*state), then, strict=True))
    assert {int(entry["step"]) for entry in state[1].state.values()} == {1}


def test_the_next_save_waits_for_the_one_under_way_and_old_ones_go(state, disk, world, tmp_path):
    with Saver(tmp_path, world, {}, keep=2) as saver:
        saver.save(1, *state)
        threading.Timer(0.3, disk.set).start()
        saver.save(2, *state)
        assert [path.name for path in checkpoint.complete(tmp_path)][:1] == ["step-00000001"]
        saver.save(3, *state, wait=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_a_save_that_is_waited_for_takes_no_memory_beside_the_copies(state, disk, world, tmp_path, monkeypatch):
    written, write = [], checkpoint.write_tensors
    monkeypatch.setattr(checkpoint, "write_tensors", lambda *what: written.append(what[1]) or write(*what))
    disk.set()
    with Saver(tmp_path, world, {}, keep=2) as saver:
        saver.save(1, *state)
        saver.save(2, *state, wait=True)
    assert len(written) == 2
    assert all(tensor is saver.copies[name] for tensors in written for name, tensor in tensors.items())


def test_without_a_background_a_save_is_done_when_it_returns(state, disk, world, tmp_path):
    disk.set()
    with Saver(tmp_path, world, {}, keep=1, background=False) as saver:
        saver.save(1, *state)
        assert saver.copies == {}, "no second copy of the state is held"
        assert checkpoint.complete(tmp_path)


def test_parts_on_the_disks_of_other_nodes_are_not_published(state, world, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_PATIENCE", 0.0)
    line = r"does not see rank-1-of-2.safetensors .* a directory that all nodes share"
    two = replace(world, size=2)
    with Saver(tmp_path, two, {}, keep=1, background=False) as saver, pytest.raises(UserError, match=line):
        saver.save(1, *state)
    assert not list(tmp_path.iterdir())


def test_a_byte_that_has_changed_is_noticed_and_its_file_named(state, world, tmp_path):
    with Saver(tmp_path, world, {}, keep=1, background=False) as saver:
        saver.save(1, *state)
    (path,) = checkpoint.complete(tmp_path)
    checkpoint.load(path, *state)
    file = path / "rank-0-of-1.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged \(rank-0-of-1.safetensors\); remove that directory"):
        checkpoint.load(path, *state)


def test_a_trained_parameter_that_the_optimizer_does_not_know_is_never_left_out(state, world, tmp_path):
    module, optimizer = state
    module.bias = nn.Parameter(torch.zeros(3))
    with Saver(tmp_path, world, {}, keep=1) as saver, pytest.raises(RuntimeError, match="bias"):
        saver.save(1, module, optimizer)


def test_a_failed_save_is_told_then_raised_and_leaves_nothing(state, world, tmp_path, monkeypatch):
    def full(path, *_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "write_tensors", full)
    with Saver(tmp_path, world, {}, keep=1) as saver:
        saver.save(1, *state)
        saver.thread.join()
        assert saver.failed
        with pytest.raises(OSError, match="No space left on device"):
            saver.save(2, *state)
    assert not list(tmp_path.iterdir())
