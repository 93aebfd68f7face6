"""Models written as Hugging Face directories: loadable, whole or absent, in files of limited size."""

import json
import shutil
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

from dftcore import models
from dftcore.data import chat
from dftcore.distributed import process_group
from dftcore.objectives import Objective
from dftcore.parallel import shard
from dftcore.training import export
from dftcore.training.export import gathered, write_model


@pytest.fixture(params=["tiny_model", "tied_model"])
def directory(request):
    return request.getfixturevalue(request.param)


def test_export_is_what_from_pretrained_loads(directory, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with process_group() as world:
        _export_sharded(directory, tmp_path / "final", world)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "final", dtype=torch.float32)
    before = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    for (name, a), (_, b) in zip(again.named_parameters(), before.named_parameters(), strict=True):
        assert torch.equal(a, b + 1), name
    assert AutoTokenizer.from_pretrained(tmp_path / "final").chat_template
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def _export_sharded(directory, path, world):
    config = models.load_config(directory)
    module = models.LanguageModelLoss(models.build(config), Objective("dft"))
    shard(module, world, torch.float32)
    models.load_weights(module, directory, world.device)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    weights = gathered(module, models.stored_dtype(config))
    write_model(weights, directory, chat.load_tokenizer(str(directory)), path)


def test_export_keeps_the_sources_dtype_and_generation_settings(tiny_model, tmp_path):
    from transformers import AutoModelForCausalLM

    source = tmp_path / "source"
    shutil.copytree(tiny_model, source)
    AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16).save_pretrained(source)
    settings = {"eos_token_id": [0, 1], "repetition_penalty": 1.5}
    (source / "generation_config.json").write_text(json.dumps(settings))
    with process_group() as world:
        _export_sharded(source, tmp_path / "final", world)
    assert {t.dtype for t in load_file(tmp_path / "final/model.safetensors").values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "final/config.json").read_text())["dtype"] == "bfloat16"
    written = json.loads((tmp_path / "final/generation_config.json").read_text())
    assert written["repetition_penalty"] == 1.5
    assert written["eos_token_id"] == [0, 1, 2], "the chat template's end of turn is added"


def test_a_large_model_is_several_files_and_only_one_is_held_at_a_time(directory, tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM

    limit, held = 60_000, []
    monkeypatch.setattr(export, "FILE_BYTES", limit)
    write = export.write_tensors
    monkeypatch.setattr(
        export, "write_tensors", lambda path, tensors, _: held.append(dict(tensors)) or write(path, tensors, _)
    )
    with process_group() as world:
        _export_sharded(directory, tmp_path / "final", world)
    files = sorted((tmp_path / "final").glob("*.safetensors"))
    assert len(files) == len(held) > 2
    assert [file.name for file in files][-1] == f"model-{len(files):05d}-of-{len(files):05d}.safetensors"
    sizes = [sum(tensor.nbytes for tensor in tensors.values()) for tensors in held]
    largest = max(tensor.nbytes for tensors in held for tensor in tensors.values())
    assert max(sizes) <= max(limit, largest)
    assert all(one + two > limit for one, two in pairwise(sizes)), "no file is smaller than need be"
    listed = json.loads((tmp_path / "final/model.safetensors.index.json").read_text())
    assert listed["metadata"]["total_size"] == sum(sizes)
    assert {name: set(load_file(tmp_path / "final" / name)) for name in {f.name for f in files}} == {
        f.name: {name for name, place in listed["weight_map"].items() if place == f.name} for f in files
    }
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "final", dtype=torch.float32)
    before = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    for (name, a), (_, b) in zip(again.named_parameters(), before.named_parameters(), strict=True):
        assert torch.equal(a, b + 1), name


def test_a_failed_export_leaves_nothing(tiny_model, tmp_path, monkeypatch):
    def full(path, *_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(export, "write_tensors", full)
    with process_group() as world, pytest.raises(OSError, match="No space left"):
        _export_sharded(tiny_model, tmp_path / "final", world)
    assert not list(tmp_path.iterdir())
