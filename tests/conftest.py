"""Fixtures shared by all tests: tiny models, generated data, programs run in this process."""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import ROOT, Finished, make_model, run_options, torchrun

# Sums over another number of threads round differently, here as in launched programs.
os.environ["OMP_NUM_THREADS"] = "1"
# Before CUDA is looked for: programs of eight ranks would share too few GPUs, and figures are compared bit for bit.
if not os.environ.get("DFTCORE_TEST_GPU"):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Tests neither read nor fill the user's cache, nor reach for the Hub."""
    before = {name: os.environ.get(name) for name in ("DFTCORE_CACHE", "HF_HUB_OFFLINE")}
    os.environ.update(DFTCORE_CACHE=str(tmp_path_factory.mktemp("cache")), HF_HUB_OFFLINE="1")
    yield
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A Llama with an untied head."""
    return make_model(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def tied_model(tmp_path_factory) -> Path:
    """A Qwen2 whose head is its embedding, with attention biases."""
    return make_model(tmp_path_factory.mktemp("models") / "tiny-qwen2", family="qwen2", tied=True)


@pytest.fixture(scope="session")
def problems(tmp_path_factory) -> Path:
    """A directory with train.jsonl (96 problems) and test.jsonl (12)."""
    from dftcore.data.problems import write_problems

    directory = tmp_path_factory.mktemp("problems")
    write_problems(directory / "train.jsonl", "train", 96, (1, 2), seed=3)
    write_problems(directory / "test.jsonl", "test", 12, (1, 2), seed=3)
    return directory


@pytest.fixture(scope="session")
def unbroken(tiny_model, problems, tmp_path_factory) -> Path:
    """Ten steps of DFT on one rank; what every other way of running them must equal."""
    output = tmp_path_factory.mktemp("runs") / "unbroken"
    done = torchrun(1, "train.py", **run_options(tiny_model, problems, output))
    assert done.status == 0, done.err
    return output


@pytest.fixture
def like_large_problems(monkeypatch) -> None:
    """Few rows and small vocabularies take the path of many and large ones."""
    monkeypatch.setattr("dftcore.kernels.order.FEWEST_ROWS", 1)
    monkeypatch.setattr("dftcore.kernels.budget.SMALL", 0)
    monkeypatch.setattr("dftcore.losses.scan.HELD_ELEMENTS", 0)


@pytest.fixture
def program(capfd, monkeypatch) -> Callable[..., Finished]:
    """Run train.py, evaluate.py or a verb of `python -m dftcore` in this process: program("train.py", model=...)."""
    from dftcore.cli import run_program

    monkeypatch.syspath_prepend(str(ROOT))

    def call(name: str, *words: str, **options: object) -> Finished:
        flags = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        module, verb = (name.removesuffix(".py"), []) if name.endswith(".py") else ("dftcore.__main__", [name])
        monkeypatch.setattr(sys, "argv", [name, *verb, *flags, *words])
        capfd.readouterr()
        try:
            status = run_program(name, importlib.import_module(module).main)
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        out, err = capfd.readouterr()
        return Finished(status, out, err)

    return call
