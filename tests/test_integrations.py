"""The fused loss inside the transformers Trainer: equal to a loss written by hand, without logits."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.profiler import ProfilerActivity, profile
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    Trainer,
    TrainingArguments,
)

from dftcore.errors import UserError
from dftcore.integrations import fuse_loss
from dftcore.losses import scan

VOCABULARY = 515


class Examples(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Token sequences of unequal length; the first third of each is prompt."""

    def __init__(self, count: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(5, 23, (count,), generator=generator).tolist()
        self.rows = [torch.randint(3, VOCABULARY, (length,), generator=generator) for length in lengths]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        tokens = self.rows[index]
        labels = tokens.clone()
        labels[: len(tokens) // 3] = -100
        return {"input_ids": tokens, "labels": labels}


def pad(examples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    def padded(name: str, value: int) -> Tensor:
        return nn.utils.rnn.pad_sequence([e[name] for e in examples], batch_first=True, padding_value=value)

    mask = nn.utils.rnn.pad_sequence([torch.ones_like(e["labels"]) for e in examples], batch_first=True)
    return {"input_ids": padded("input_ids", 0), "labels": padded("labels", -100), "attention_mask": mask}


def by_hand(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | None = None) -> Tensor:
    """DFT from the logits: sum of p (-log p), p a constant, over the number of labels."""
    logp = outputs.logits[:, :-1].float().log_softmax(-1)
    targets = labels[:, 1:]
    chosen = logp.gather(-1, targets.clamp_min(0)[..., None]).squeeze(-1)
    valid = targets != -100
    total = -(chosen.exp().detach() * chosen)[valid].sum()
    return total / (valid.sum() if num_items_in_batch is None else num_items_in_batch)


def load(path) -> Any:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def trained(model: Any, folder, *, batch: int = 2, accumulate: int = 2, steps: int = 5, **more: Any) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=batch, gradient_accumulation_steps=accumulate,
        max_steps=steps, learning_rate=3e-3, logging_steps=1, report_to=[], save_strategy="no", use_cpu=True,
        disable_tqdm=True, seed=7, per_device_eval_batch_size=4, **more.pop("arguments", {}),
    )  # fmt: skip
    trainer = Trainer(
        model=model, args=arguments, data_collator=pad, train_dataset=Examples(24), eval_dataset=Examples(9, 1), **more
    )
    trainer.train()
    return trainer


def losses(trainer: Trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("which", ["tiny_model", "tied_model"])
def test_a_trainer_run_equals_the_loss_written_by_hand(which, request, tmp_path):
    path = request.getfixturevalue(which)
    ours = trained(fuse_loss(load(path), "dft", error_budget=0.0), tmp_path)
    reference = trained(load(path), tmp_path, compute_loss_func=by_hand)
    plain = trained(load(path), tmp_path)
    assert losses(ours) == pytest.approx(losses(reference), rel=1e-4)
    assert losses(ours) != pytest.approx(losses(plain), rel=0.5)
    for (name, mine), theirs in zip(ours.model.named_parameters(), reference.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-5, msg=name)

    with torch.no_grad():
        batches = list(ours.get_eval_dataloader())
        found = [len(b["labels"]) * float(by_hand(reference.model(**b), b["labels"])) for b in batches]
    assert ours.evaluate()["eval_loss"] == pytest.approx(sum(found) / 9, rel=1e-3)


def test_gradient_accumulation_is_exact(tiny_model, tmp_path):
    """4 x 1 and 1 x 4 examples a step, of unequal numbers of labels, are the same step."""
    runs = [
        trained(fuse_loss(load(tiny_model), "dft", error_budget=0.0), tmp_path, batch=b, accumulate=4 // b, steps=3)
        for b in (4, 1)
    ]
    assert losses(runs[0]) == pytest.approx(losses(runs[1]), rel=1e-4)
    for whole, parts in zip(runs[0].model.parameters(), runs[1].model.parameters(), strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-3, atol=2e-5)


def largest_tensor(model: Any, batch: dict[str, Tensor]) -> int:
    """Elements of the largest tensor that any operation, inside custom operators too, is given."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as record:
        model(**batch).loss.backward()
    shapes = (shape for event in record.events() for shape in event.input_shapes or [])
    return max(math.prod(shape) for shape in shapes if shape and all(isinstance(n, int) for n in shape))


def test_no_tensor_of_tokens_times_vocabulary_is_made(tiny_model, monkeypatch):
    for limit in ("SLICE_ELEMENTS", "HELD_ELEMENTS"):  # far smaller than these logits, as they are in earnest
        monkeypatch.setattr(scan, limit, 4096)
    tokens = torch.randint(3, VOCABULARY, (10, 128))  # more than the square of the budget's histogram
    batch = {"input_ids": tokens, "labels": tokens}
    logits = 10 * 127 * VOCABULARY
    assert largest_tensor(load(tiny_model), batch) >= logits
    assert largest_tensor(fuse_loss(load(tiny_model)), batch) < logits // 2


def test_generation_and_plain_calls_are_as_before(tiny_model):
    model, fused = load(tiny_model).eval(), fuse_loss(load(tiny_model)).eval()
    tokens = torch.randint(3, VOCABULARY, (2, 7))
    assert torch.equal(fused(tokens).logits, model(tokens).logits)
    assert torch.equal(
        fused.generate(tokens, max_new_tokens=5, do_sample=False),
        model.generate(tokens, max_new_tokens=5, do_sample=False),
    )
    assert fused(tokens, labels=tokens).logits is None
    copied = copy.deepcopy(fused)
    with torch.no_grad():
        copied.lm_head.weight.zero_()
    assert not copied(tokens).logits.any()
    assert fused(tokens).logits.any()


@pytest.mark.parametrize("objective", ["sft", "dft"])
def test_soft_cap_and_head_of_gemma(objective):
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, final_logit_softcapping=3.0, pad_token_id=0,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(30)
    tokens = torch.randint(1, 300, (2, 9))
    outputs = model(tokens)
    expected = by_hand(outputs, tokens)
    if objective == "sft":
        expected = nn.functional.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    found = fuse_loss(model, objective)(input_ids=tokens, labels=tokens)
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_autocast_multiplies_the_head_in_bf16(tiny_model):
    """As the model itself would; the weight keeps an fp32 gradient."""
    fused = fuse_loss(load(tiny_model), "sft", error_budget=0.0)
    tokens = torch.randint(3, VOCABULARY, (2, 9))
    with torch.autocast("cpu", torch.bfloat16):
        ours, plain = fused(tokens, labels=tokens).loss, load(tiny_model)(tokens, labels=tokens).loss
    assert ours.dtype == torch.float32
    assert ours.item() == pytest.approx(plain.item(), rel=5e-3)
    ours.backward()
    assert fused.lm_head.weight.grad.dtype == torch.float32


def quantized(model):
    model.is_quantized = True


def adapted_head(model):
    model.lm_head = type("Adapter", (nn.Linear,), {})(48, VOCABULARY)


def routed_experts(model):
    model.config.output_router_logits = True


def hooked(model):
    model.forward = lambda *args, **kwargs: None


def on_meta(model):
    model.to("meta")


WRONG = {
    quantized: "quantized",
    adapted_head: "Adapter, not a torch.nn.Linear",
    routed_experts: "router loss",
    hooked: "replaced already",
    on_meta: "meta device",
}


@pytest.mark.parametrize("spoil", WRONG, ids=lambda spoil: spoil.__name__)
def test_what_cannot_be_fused_is_refused(tiny_model, spoil):
    model = load(tiny_model)
    spoil(model)
    with pytest.raises(UserError, match=WRONG[spoil]):
        fuse_loss(model)


class Halved(LlamaForCausalLM):
    """An architecture with a transform of its own."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = output.logits / 2
        return output


def test_an_unknown_architecture_is_refused(tiny_model):
    with pytest.raises(UserError, match=r"Halved.*this architecture is not supported"):
        fuse_loss(Halved.from_pretrained(tiny_model, dtype=torch.float32))
    with pytest.raises(UserError, match="no transformers causal language model"):
        fuse_loss(nn.Linear(3, 4))


def test_another_family_is_fused():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=2, n_positions=64)).eval()
    tokens = torch.randint(0, 300, (2, 9))
    plain = model(tokens, labels=tokens).loss
    assert fuse_loss(model, "sft")(tokens, labels=tokens).loss.item() == pytest.approx(plain.item(), rel=1e-5)


def test_sharded_weights_are_refused(tiny_model, tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        model = load(tiny_model)
        model.lm_head.weight = nn.Parameter(DTensor.from_local(model.lm_head.weight.detach(), mesh))
        with pytest.raises(UserError, match="before sharding"):
            fuse_loss(model)
    finally:
        torch.distributed.destroy_process_group()


def test_objectives_that_a_trainer_cannot_feed_are_refused(tiny_model):
    model = load(tiny_model)
    for name, message in (("talr", "train.py supplies"), ("dtf", "did you mean")):
        with pytest.raises(UserError, match=message):
            fuse_loss(model, name)


def test_training_another_loss_by_accident_is_refused(tiny_model, tmp_path):
    """Label smoothing takes the labels away from the model, which would then be trained on plain cross-entropy."""
    with pytest.raises(UserError, match="label_smoothing_factor"):
        trained(fuse_loss(load(tiny_model)), tmp_path, arguments={"label_smoothing_factor": 0.1})
