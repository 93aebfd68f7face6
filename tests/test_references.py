"""The reference's log-probabilities: the model's own, cached by content, made part by part; every refusal one line."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import make_model

from dftcore import models, references
from dftcore.data import chat, sources
from dftcore.data.documents import tokenise
from dftcore.distributed import process_group
from dftcore.parallel import ScaleOptions

RUN = {"dtype": "float32", "batch_size": 8, "max_length": 128, "max_steps": 1, "objective": "iw_sft"}


@pytest.fixture
def documents(tiny_model, problems):
    return tokenise(sources.find_source(str(problems / "train.jsonl")), chat.load_tokenizer(str(tiny_model)), {}, 128)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DFTCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "references"


def found(model, documents):
    config, tokenizer = models.load_config(model), chat.load_tokenizer(str(model))
    reference = references.find_reference(str(model), tokenizer, config, torch.float32, ScaleOptions())
    with process_group() as world:
        return references.with_reference(documents, reference, tokenizer.pad_token_id, world).reference


def test_they_are_the_models_own_log_probabilities(tiny_model, documents, cache):
    from transformers import AutoModelForCausalLM

    reference = found(tiny_model, documents)
    assert reference.dtype == np.float32
    assert reference.shape == documents.tokens.shape
    assert not reference[documents.targets < 0].any()
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    for index in (0, 17, len(documents) - 1):
        tokens, targets = (torch.from_numpy(array).long() for array in documents.document(index))
        logprob = model(tokens[None]).logits[0].double().log_softmax(-1)
        expected = logprob.gather(-1, targets.clamp_min(0)[:, None]).squeeze(-1) * (targets >= 0)
        ours = torch.from_numpy(reference[documents.span(index)]).double()
        torch.testing.assert_close(ours, expected.detach(), rtol=1e-5, atol=1e-5)


def test_an_interrupted_computation_goes_on_with_the_missing_part(tiny_model, documents, cache, monkeypatch):
    monkeypatch.setattr(references, "PART", 2000)
    whole = found(tiny_model, documents)
    (directory,) = cache.iterdir()
    parts = sorted(directory.iterdir())
    assert len(parts) == 6
    before = {path: path.stat().st_mtime_ns for path in parts}
    parts[2].unlink()
    assert np.array_equal(found(tiny_model, documents), whole)
    changed = [path.name for path in sorted(directory.iterdir()) if path.stat().st_mtime_ns != before[path]]
    assert changed == ["part-00002.safetensors"]
    monkeypatch.setattr(models, "build", None)  # all there: no model is loaded
    assert np.array_equal(found(tiny_model, documents), whole)


def altered(model, path, change):
    shutil.copytree(model, path)
    state = load_file(path / "model.safetensors")
    change(state)
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})
    return path


def run_options(model, problems, output, /, **changes):
    return {"model": model, "data": problems / "train.jsonl", "output": output, **RUN, **changes}


def test_another_model_is_another_reference(tiny_model, documents, cache, tmp_path):
    def change(state):
        state["model.norm.weight"] *= 1.5

    other = altered(tiny_model, tmp_path / "other", change)
    assert not np.allclose(found(other, documents), found(tiny_model, documents))
    assert len(list(cache.iterdir())) == 2


def test_a_run_goes_on_only_with_the_reference_it_began_with(program, tiny_model, problems, tmp_path, cache):
    def change(state):
        state["model.norm.weight"] *= 1.5

    other = altered(tiny_model, tmp_path / "other", lambda state: None)
    options = run_options(tiny_model, problems, tmp_path / "run", reference=other)
    assert program("train.py", **options).status == 0
    shutil.rmtree(other)
    altered(tiny_model, other, change)
    assert "the reference model differs from the run in" in program("train.py", **options).refusal


def test_a_damaged_cache_is_named_with_the_mend(program, tiny_model, problems, tmp_path, cache):
    options = run_options(tiny_model, problems, tmp_path / "run")
    assert program("train.py", **options).status == 0
    (part,) = cache.rglob("*.safetensors")
    part.write_bytes(part.read_bytes()[:100])
    refusal = program("train.py", **run_options(tiny_model, problems, tmp_path / "other")).refusal
    assert f"the cached reference {part} is damaged; remove that file" in refusal
    part.unlink()
    assert program("train.py", **run_options(tiny_model, problems, tmp_path / "other")).status == 0


def test_a_reference_without_finite_log_probabilities_is_refused(program, tiny_model, problems, tmp_path, cache):
    def change(state):
        state["model.norm.weight"][0] = float("nan")

    bad = altered(tiny_model, tmp_path / "bad", change)
    refusal = program("train.py", **run_options(tiny_model, problems, tmp_path / "run", reference=bad)).refusal
    assert "targets no finite log-probability" in refusal
    assert not list(cache.rglob("*.safetensors"))


def test_models_that_cannot_be_the_reference(program, tiny_model, problems, tmp_path):
    def refusal(**changes):
        return program("train.py", **run_options(tiny_model, problems, tmp_path / "run", **changes)).refusal

    assert "--reference: no directory /no/such; give a model directory or a Hub id" in refusal(reference="/no/such")
    small = make_model(tmp_path / "small", vocabulary=450)
    assert "has a vocabulary of 450, the model in training one of 515" in refusal(reference=small)
    shutil.copytree(tiny_model, tmp_path / "torn")
    (tmp_path / "torn/tokenizer.json").write_text("{")
    assert f"--reference: no tokenizer could be loaded from {tmp_path}/torn" in refusal(reference=tmp_path / "torn")
    assert "Objective('dft') uses no reference model" in refusal(reference=tiny_model, objective="dft")
    following = {"objective": "psft", "reference": tiny_model}
    assert "uses no reference model" in refusal(**following)
    assert "refresh=1.5 is not a whole number of steps" in refusal(objective="psft", objective_args="refresh=1.5")
    assert not (tmp_path / "run").exists()


def test_a_lost_old_policy_is_named_with_the_mend(program, tiny_model, problems, tmp_path):
    options = run_options(
        tiny_model, problems, tmp_path / "run", objective="psft", objective_args="refresh=4", max_steps=3, save_every=2
    )
    assert program("train.py", **options).status == 0
    shutil.rmtree(tmp_path / "run/final")
    shutil.rmtree(tmp_path / "run/checkpoints/step-00000003")
    (path,) = tmp_path.glob("run/checkpoints/old-policy-*")
    path.unlink()
    assert (
        f"{path} is missing or damaged; remove the run's newest checkpoints" in program("train.py", **options).refusal
    )
