"""Attention by document equals separate documents, and models that ask for more keep what transformers gives them."""

import pytest
import torch
from transformers import LlamaConfig, MistralConfig, Qwen2Config

from dftcore import attention, models

SHAPE = {
    "vocab_size": 64,
    "hidden_size": 48,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def heads(device="cpu", dtype=torch.float64, size=12):
    torch.manual_seed(0)
    shapes = ((2, 4, 9, size), (2, 2, 9, size), (2, 2, 9, size))
    return [torch.randn(shape, device=device, dtype=dtype, requires_grad=True) for shape in shapes]


def by_document(query, key, value, boundaries):
    longest = int(boundaries.diff().max())
    found, _ = attention.documents_attention(
        torch.nn.Module(), query, key, value, None, scaling=0.3, cu_seq_lens_q=boundaries, max_length_q=longest
    )
    return found


def defined(query, key, value, boundaries):
    """Softmax attention from its formula, over the rows end to end, masked to the document and the past."""
    q, k, v = (tensor.transpose(1, 2).flatten(0, 1) for tensor in (query, key, value))
    k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
    document = torch.repeat_interleave(torch.arange(len(boundaries) - 1), boundaries.cpu().diff()).to(q.device)
    place = torch.arange(len(document), device=q.device)
    sees = (document[:, None] == document) & (place[:, None] >= place)
    scores = 0.3 * torch.einsum("qhd,khd->hqk", q, k).masked_fill(~sees, -torch.inf)
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).unflatten(0, query.shape[:1] + query.shape[2:3])


def test_documents_see_themselves_and_their_past_only():
    inputs, boundaries = heads(), torch.tensor([0, 5, 6, 9, 18], dtype=torch.int32)
    found, wanted = by_document(*inputs, boundaries), defined(*inputs, boundaries)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
    upstream = torch.randn_like(found)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, upstream), torch.autograd.grad(wanted, inputs, upstream), strict=True
    ):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="variable-length attention needs a CUDA device and `make gpu`"
)
def test_variable_length_attention_on_a_gpu():
    inputs, boundaries = heads("cuda", torch.bfloat16, 64), torch.tensor([0, 5, 6, 9, 18], dtype=torch.int32).cuda()
    found = by_document(*inputs, boundaries)
    wanted = defined(*(tensor.detach().double() for tensor in inputs), boundaries)
    assert (found.double() - wanted).norm() < 1e-2 * wanted.norm()
    found.float().square().sum().backward()
    assert all(tensor.grad.isfinite().all() for tensor in inputs)


@pytest.mark.parametrize("config", [LlamaConfig(**SHAPE), Qwen2Config(**SHAPE)], ids=lambda c: c.model_type)
def test_plain_causal_models_attend_by_document(config):
    assert models.build(config).config._attn_implementation == attention.NAME


@pytest.mark.parametrize(
    "config",
    [MistralConfig(**SHAPE, sliding_window=8), LlamaConfig(**SHAPE, attention_dropout=0.1)],
    ids=["window", "dropout"],
)
def test_models_that_ask_for_more_keep_sdpa(config):
    assert models.build(config).config._attn_implementation == "sdpa"
