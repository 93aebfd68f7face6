"""However a run is spread or fitted into memory, it learns the same."""

import os

import pytest
import torch
from safetensors.torch import load_file
from support import ROOT, column, run_options, torchrun, weights

from dftcore.errors import UserError
from dftcore.parallel import ScaleOptions, check_replicas


def assert_same_learning(run, unbroken):
    for name in ("loss", "nll", "grad_norm"):
        assert column(run, name) == pytest.approx(column(unbroken, name), rel=1e-5), name
    for name, value in weights(unbroken).items():
        assert torch.allclose(value, weights(run)[name], atol=2e-5), name


def test_two_replicas_of_two_shards_equal_one_rank_and_resume_on_one(unbroken, program, tiny_model, problems, tmp_path):
    run = tmp_path / "run"
    options = run_options(tiny_model, problems, run)
    split = {"replicas": 2, "micro_batch_size": 1, "save_every": 5, "keep_checkpoints": 9}
    first = torchrun(4, "train.py", "--no-packing", **{**options, **split})  # two passes a step on each rank
    assert first.status == 0, first.err
    assert_same_learning(run, unbroken)
    half = run / "checkpoints/step-00000005"
    assert sorted(file.name for file in half.glob("rank-*")) == [f"rank-{i}-of-2.safetensors" for i in (0, 1)]
    (run / "final").rename(tmp_path / "before")
    (run / "checkpoints/step-00000010").rename(tmp_path / "last")
    done = program("train.py", **options)
    assert done.status == 0, done.err
    assert "resumed at 5" in done.out
    assert_same_learning(run, unbroken)


def test_ranks_that_were_given_different_data_are_refused(tiny_model, problems, tmp_path):
    """As nodes with disks of their own can be; here each rank works in a directory of its own."""
    lines = (problems / "train.jsonl").read_text().splitlines(keepends=True)
    for rank in (0, 1):
        (tmp_path / str(rank)).mkdir()
        (tmp_path / str(rank) / "data.jsonl").write_text("".join(lines[rank:]))
    script = tmp_path / "train.py"
    script.write_text(
        "import os, runpy\n"
        f"os.chdir({str(tmp_path)!r} + '/' + os.environ['RANK'])\n"
        f"runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')\n"
    )
    done = torchrun(2, str(script), **run_options(tiny_model, problems, tmp_path / "run", data="data.jsonl"))
    assert done.status != 0
    assert "the data differs between ranks; give all nodes the same command and the same files" in done.err


def test_replicas_that_do_not_divide_the_ranks_are_refused(program, tiny_model, problems, tmp_path, monkeypatch):
    refusal = program("train.py", **run_options(tiny_model, problems, tmp_path / "run", replicas=2)).refusal
    assert "--replicas: 2 copies cannot share 1 rank(s) evenly; give one of 1" in refusal
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "12")
    with pytest.raises(UserError, match=r"5 copies cannot share 12 rank.s. evenly; give one of 1, 2, 3, 4, 6, 12"):
        check_replicas(ScaleOptions(replicas=5))


@pytest.mark.parametrize("words", [("--activation-checkpointing",), ("--cpu-offload",), ("--no-reshard",)], ids=str)
def test_memory_savers_change_nothing_that_is_learned(unbroken, program, tiny_model, problems, tmp_path, words):
    done = program("train.py", *words, **run_options(tiny_model, problems, tmp_path / "run", max_steps=10))
    assert done.status == 0, done.err
    assert column(tmp_path / "run", "loss") == column(unbroken, "loss")
    for name, value in weights(unbroken).items():
        assert torch.equal(value, weights(tmp_path / "run")[name]), name


def test_layers_kept_whole_are_sharded_again_before_a_save(unbroken, program, tiny_model, problems, tmp_path):
    """A validation right before it leaves every layer gathered, whose parameters the optimizer does not know."""
    run = tmp_path / "run"
    options = run_options(tiny_model, problems, run, validation_data=problems / "test.jsonl", validate_every=3)
    first = torchrun(2, "train.py", "--no-reshard", **{**options, "keep_checkpoints": 9})
    assert first.status == 0, first.err
    assert_same_learning(run, unbroken)
    (run / "final").rename(tmp_path / "before")
    for step in (9, 10):
        (run / f"checkpoints/step-{step:08d}").rename(tmp_path / f"step-{step}")
    done = program("train.py", **options)
    assert done.status == 0, done.err
    assert "resumed at 6" in done.out
    assert_same_learning(run, unbroken)


def test_activation_checkpointing_recomputes_layers_and_compilation_runs_them(
    unbroken, program, tiny_model, problems, tmp_path, monkeypatch
):
    from torch import nn
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaMLP

    calls, compiled = [], []

    def count(module: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_compiling():
            calls.append(module)
        return forward(module, hidden)

    def compile_quickly(module: nn.Module) -> None:
        compiled.append(module)
        module._compiled_call_impl = torch.compile(module._call_impl, backend="aot_eager")

    forward = LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", count)
    monkeypatch.setattr(nn.Module, "compile", compile_quickly)
    passes = {}
    for name, words in {"plain": (), "ac": ("--activation-checkpointing",), "compiled": ("--compile",)}.items():
        calls.clear()
        words = ("--no-preflight", *words)  # whose passes have no backward
        done = program("train.py", *words, **run_options(tiny_model, problems, tmp_path / name, max_steps=1))
        assert done.status == 0, done.err
        passes[name] = len(calls)
        assert column(tmp_path / name, "loss") == pytest.approx(column(unbroken, "loss")[:1], rel=1e-5)
        assert column(tmp_path / name, "grad_norm") == pytest.approx(column(unbroken, "grad_norm")[:1], rel=1e-5)
    assert passes["ac"] == 2 * passes["plain"] > 0, "each layer runs once more in the backward pass"
    assert passes["compiled"] == 0, "the layers run compiled"
    assert [isinstance(layer, LlamaDecoderLayer) for layer in compiled] == [True, True]


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_compiled_checkpointed_offloaded_layers_on_two_ranks(unbroken, tiny_model, problems, tmp_path):
    words = ("--compile", "--activation-checkpointing", "--cpu-offload")
    done = torchrun(2, "train.py", *words, **run_options(tiny_model, problems, tmp_path / "run"))
    assert done.status == 0, done.err
    assert_same_learning(tmp_path / "run", unbroken)
    state = load_file(tmp_path / "run/checkpoints/step-00000010/rank-0-of-2.safetensors")
    assert not [name for name in state if "_orig_mod" in name or "_checkpoint" in name]


@pytest.mark.parametrize("ranks", [1, 2])
def test_bfloat16_parameters_and_moments(unbroken, tiny_model, problems, tmp_path, ranks):
    options = run_options(tiny_model, problems, tmp_path / "run", dtype="bfloat16", master_dtype="bfloat16")
    done = torchrun(ranks, "train.py", **{**options, "max_steps": 3})
    assert done.status == 0, done.err
    assert column(tmp_path / "run", "nll") == pytest.approx(column(unbroken, "nll")[:3], rel=2e-2)
    state = load_file(tmp_path / f"run/checkpoints/step-00000003/rank-0-of-{ranks}.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}
