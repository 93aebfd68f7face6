"""LoRA: only adapters learn, the head's gradient is never computed, and the merged model is base plus adapter."""

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import column, run_options, torchrun, weights

from dftcore.losses import routed

LORA = {"lora_rank": 4, "lr": 1e-2}


@pytest.fixture(scope="module")
def adapted(tiny_model, problems, tmp_path_factory):
    """Ten steps of DFT with adapters on one rank."""
    output = tmp_path_factory.mktemp("runs") / "adapted"
    done = torchrun(1, "train.py", **run_options(tiny_model, problems, output, **LORA))
    assert done.status == 0, done.err
    return output


def logits(model):
    with torch.no_grad():
        return model(torch.arange(3, 40)[None]).logits


def test_the_merged_model_is_base_plus_adapter_and_nothing_else_changed(adapted, tiny_model):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    before = logits(base)
    merged = logits(AutoModelForCausalLM.from_pretrained(adapted / "final", dtype=torch.float32))
    with_adapter = logits(PeftModel.from_pretrained(base, adapted / "final/adapter"))
    assert torch.allclose(merged, with_adapter, atol=1e-5)
    assert (merged - before).abs().max() > 0.1, "it learned"
    stored = load_file(tiny_model / "model.safetensors")
    changed = {name for name, value in weights(adapted).items() if not torch.equal(value, stored[name])}
    projections = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert changed == {name for name in stored if name.split(".")[-2] in projections}
    assert column(adapted, "nll")[-1] < column(adapted, "nll")[0] - 0.1


def test_checkpoints_hold_only_adapters(adapted):
    state = load_file(adapted / "checkpoints/step-00000010/rank-0-of-1.safetensors")
    assert state
    assert all(".lora_A." in name or ".lora_B." in name for name in state)
    assert {name.partition("/")[0] for name in state} == {"param", "exp_avg", "exp_avg_sq"}


def test_two_ranks_equal_one_and_the_run_resumes_on_one(adapted, program, tiny_model, problems, tmp_path):
    run = tmp_path / "run"
    options = run_options(tiny_model, problems, run, **LORA, keep_checkpoints=9)
    done = torchrun(2, "train.py", "--activation-checkpointing", **options)
    assert done.status == 0, done.err
    shutil.rmtree(run / "final")
    for late in ("step-00000009", "step-00000010"):
        shutil.rmtree(run / "checkpoints" / late)
    done = program("train.py", **options)
    assert done.status == 0, done.err
    assert "resumed at 6" in done.out
    assert column(run, "loss") == pytest.approx(column(adapted, "loss"), rel=1e-5)
    for name, value in weights(adapted).items():
        assert torch.allclose(value, weights(run)[name], atol=2e-5), name


def test_export_of_a_checkpoint_merges_as_the_run_did(adapted, program, tmp_path):
    done = program("export", run=adapted, step=10, output=tmp_path / "out")
    assert done.status == 0, done.err
    for name, value in weights(adapted).items():
        assert torch.equal(value, load_file(tmp_path / "out/model.safetensors")[name]), name
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "out/adapter" / name).read_bytes() == (adapted / "final/adapter" / name).read_bytes()


@pytest.mark.parametrize(("words", "computed"), [({}, {True}), ({"lora_rank": 4}, {False})])
def test_no_gradient_of_a_frozen_head_is_computed(
    program, tiny_model, problems, tmp_path, monkeypatch, words, computed
):
    found = set()

    class Spy(routed.Gradients):
        def finish(self):
            found.add(self.grad_weight is not None)
            return super().finish()

    monkeypatch.setattr(routed, "Gradients", Spy)
    options = run_options(tiny_model, problems, tmp_path / "run", **words, loss_backend="torch")
    done = program("train.py", **{**options, "max_steps": 1})
    assert done.status == 0, done.err
    assert found == computed


def test_tied_weights_in_bfloat16_compute_with_few_targets(program, tied_model, problems, tmp_path):
    options = run_options(tied_model, problems, tmp_path / "run", **LORA)
    done = program("train.py", **{**options, "lora_targets": "q_proj,v_proj", "dtype": "bfloat16", "max_steps": 2})
    assert done.status == 0, done.err
    state = load_file(tmp_path / "run/checkpoints/step-00000002/rank-0-of-1.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    assert {name.split(".")[-4] for name in state} == {"q_proj", "v_proj"}
    config = json.loads((tmp_path / "run/final/adapter/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tied_model)
    assert sorted(config["target_modules"]) == ["q_proj", "v_proj"]


def test_another_base_model_in_the_same_place_does_not_resume(adapted, program, tiny_model, problems, tmp_path):
    model, run = tmp_path / "model", tmp_path / "run"
    shutil.copytree(tiny_model, model)
    options = run_options(model, problems, run, **LORA)
    assert program("train.py", **{**options, "max_steps": 2}).status == 0
    shutil.rmtree(run / "final")
    state = load_file(model / "model.safetensors")
    save_file({name: tensor * 2 for name, tensor in state.items()}, model / "model.safetensors", {"format": "pt"})
    refusal = program("train.py", **{**options, "max_steps": 2}).refusal
    assert "the model in --model differs from the run in" in refusal


@pytest.mark.parametrize(
    ("targets", "line"),
    [
        ("q_proj,v_porj", "--lora-targets: no linear layer inside the decoder is named 'v_porj'; did you mean v_proj?"),
        ("lm_head", "no linear layer inside the decoder is named 'lm_head'; known: down_proj, gate_proj, k_proj"),
        ("embed_tokens", "no linear layer inside the decoder is named 'embed_tokens'"),
    ],
    ids=str,
)
def test_targets_that_the_model_lacks_are_refused(program, tiny_model, problems, tmp_path, targets, line):
    options = run_options(tiny_model, problems, tmp_path / "run", **LORA, lora_targets=targets)
    assert line in program("train.py", **options).refusal


@pytest.mark.parametrize("words", [{"lora_alpha": 32}, {"lora_targets": "q_proj"}], ids=str)
def test_options_of_lora_without_a_rank_are_refused(program, tiny_model, problems, tmp_path, words):
    refusal = program("train.py", **run_options(tiny_model, problems, tmp_path / "run", **words)).refusal
    assert "they change nothing without --lora-rank" in refusal


def test_without_peft_the_mend_is_named(program, tiny_model, problems, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setattr("dftcore.lora.find_spec", lambda name: None)
    refusal = program("train.py", **run_options(tiny_model, problems, tmp_path / "run", **LORA)).refusal
    assert "--lora-rank: needs the package peft; install with pip install -e .[lora]" in refusal
