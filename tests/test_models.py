"""Loading, sharing and exporting weights; documents in a packed row do not see each other."""

import json
import shutil

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support import make_model, make_tokenizer
from torch.testing._internal.distributed.fake_pg import FakeStore

from dftcore import models
from dftcore.data.batching import collate
from dftcore.data.documents import Counts, Documents
from dftcore.diagnostics import Observed
from dftcore.distributed import World
from dftcore.errors import UserError
from dftcore.objectives import Objective
from dftcore.parallel import shard


def loaded(directory, objective="dft") -> models.LanguageModelLoss:
    module = models.LanguageModelLoss(models.build(models.load_config(directory)), Objective(objective))
    models.load_weights(module, directory, torch.device("cpu"))
    return module


def some_documents(seed=0, count=4) -> Documents:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 30, count)
    tokens = rng.integers(3, 500, lengths.sum()).astype(np.int32)
    targets = np.where(rng.random(len(tokens)) < 0.7, np.roll(tokens, -1), -100).astype(np.int32)
    classes = rng.integers(0, 4, len(tokens)).astype(np.uint8)
    return Documents(
        tokens, targets, classes, np.cumsum([0, *lengths]), np.arange(count), Counts(count, 0, 0, 0, 0), ""
    )


@pytest.fixture(params=["tiny_model", "tied_model"])
def directory(request):
    return request.getfixturevalue(request.param)


def test_weights_and_rotary_buffers_equal_from_pretrained(directory):
    from transformers import AutoModelForCausalLM

    ours = loaded(directory).language_model
    theirs = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    for (name, a), (other, b) in zip(
        [*ours.named_parameters(), *ours.named_buffers()],
        [*theirs.named_parameters(), *theirs.named_buffers()],
        strict=True,
    ):
        assert name == other
        assert torch.equal(a, b), name
    ids = torch.arange(3, 40)[None]
    assert torch.equal(ours(ids).logits, theirs(ids).logits)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_reads_only_its_rows(directory, rank, monkeypatch):
    read = {}

    class Watched:
        """A safetensors file, or a tensor of it, that remembers which rows are read."""

        def __init__(self, found, name=""):
            self.found, self.name = found, name

        def __enter__(self):
            return Watched(self.found.__enter__())

        def __exit__(self, *about):
            return self.found.__exit__(*about)

        def __getattr__(self, name):
            return getattr(self.found, name)

        def get_slice(self, name):
            return Watched(self.found.get_slice(name), name)

        def __getitem__(self, rows):
            read[self.name] = rows
            return self.found[rows]

    monkeypatch.setattr(models, "safe_open", lambda *where, **how: Watched(safe_open(*where, **how)))
    store = FakeStore()
    dist.init_process_group("fake", rank=rank, world_size=2, store=store)
    try:
        module = models.LanguageModelLoss(models.build(models.load_config(directory)), Objective("dft"))
        shard(module, World(rank, 2, torch.device("cpu"), store), torch.float32)
        models.load_weights(module, directory, torch.device("cpu"))
        for name, stored in load_file(directory / "model.safetensors").items():
            half = -(-len(stored) // 2)
            rows = slice(0, half) if rank == 0 else slice(half, len(stored))
            assert read.pop(name) == rows, name
            assert torch.equal(module.language_model.get_parameter(name).to_local(), stored[rows]), name
        assert not read
    finally:
        dist.destroy_process_group()


def test_tied_parameters_stay_one(tied_model):
    model = loaded(tied_model).language_model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


@pytest.mark.parametrize("objective", ["sft", "dft"])
def test_packed_equals_padded_equals_separate_documents(directory, objective):
    module, documents = loaded(directory, objective), some_documents()
    together, apart = [list(range(len(documents)))], [[i] for i in range(len(documents))]

    def gradient(groups, packing):
        module.zero_grad()
        total = 0.0
        for group in groups:
            loss, *_ = module(collate(documents, group, packing, pad_token_id=0), 50.0)
            loss.backward()
            total += loss.item()
        return total, torch.cat([p.grad.flatten() for p in module.parameters()])

    alone, alone_gradient = gradient([[row] for row in apart], packing=True)
    two_rows = [[0, 1], [2, 3]]
    for groups, packing in (([together], True), ([apart], False), ([together, []], True), ([two_rows], True)):
        loss, grad = gradient(groups, packing)
        assert loss == pytest.approx(alone, rel=2e-6)
        assert (grad - alone_gradient).norm() < 2e-6 * alone_gradient.norm()


def test_the_loss_is_the_formula_on_the_models_own_logits(tiny_model):
    module, documents = loaded(tiny_model, "dft"), some_documents()
    batch = collate(documents, [[0], [1], [2], [3]], packing=False, pad_token_id=0)
    logits = module.language_model(batch.input_ids, attention_mask=batch.attention_mask).logits.double()
    valid = batch.targets >= 0
    logprob = logits.log_softmax(-1)[valid].gather(-1, batch.targets[valid][:, None])[:, 0]
    loss, sums, _ = module(batch, 7.0)
    assert loss.item() == pytest.approx((-(logprob.exp() * logprob)).sum().item() / 7.0, rel=1e-5)
    found = Observed(sums.tolist())
    assert found["nll"] == pytest.approx(-logprob.sum().item(), rel=1e-5)
    assert found["prob"] == pytest.approx(logprob.exp().sum().item(), rel=1e-5)
    assert found["targets"] == valid.sum()


def damaged_copy(directory, tmp_path, change):
    copy = tmp_path / "damaged"
    shutil.copytree(directory, copy)
    change(copy)
    return copy


def test_a_missing_tensor_is_named(tiny_model, tmp_path):
    def change(copy):
        state = load_file(copy / "model.safetensors")
        del state["model.norm.weight"]
        save_file(state, copy / "model.safetensors")

    with pytest.raises(UserError, match=r"no tensor 'model.norm.weight'"):
        loaded(damaged_copy(tiny_model, tmp_path, change))


def test_a_shape_that_config_denies_is_named(tiny_model, tmp_path):
    def change(copy):
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps({**config, "vocab_size": 600}))

    with pytest.raises(UserError, match=r"shape \[515, 48\], config.json says \[600, 48\]"):
        loaded(damaged_copy(tiny_model, tmp_path, change))


def test_a_torn_weight_file_is_named(tiny_model, tmp_path):
    def change(copy):
        whole = (copy / "model.safetensors").read_bytes()
        (copy / "model.safetensors").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(UserError, match=r"model.safetensors is missing or damaged"):
        loaded(damaged_copy(tiny_model, tmp_path, change))


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path):
    directory = make_model(tmp_path / "small", vocabulary=300)
    tokenizer = make_tokenizer(directory)
    with pytest.raises(UserError, match="model's vocabulary ends at 299"):
        models.check_vocabulary(tokenizer, models.load_config(directory), directory)


@pytest.mark.parametrize(("name", "line"), [("no/such/dir", "no directory no/such/dir"), (".", "holds no config.json")])
def test_a_model_that_is_not_there(name, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=line):
        models.find_model(name)


def test_quantized_weights_are_refused(tiny_model, tmp_path):
    def change(copy):
        config = json.loads((copy / "config.json").read_text())
        config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
        (copy / "config.json").write_text(json.dumps(config))

    with pytest.raises(UserError, match="quantized weights"):
        models.load_config(damaged_copy(tiny_model, tmp_path, change))
