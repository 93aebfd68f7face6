"""Causal attention over packed rows, document by document: its cost grows with each document's length, not the row's.

Registered with transformers as the attention NAME. Where a pass says where its documents end (`cu_seq_lens_q`, an
argument that transformers hands on to every layer), queries see their own document only:

    CUDA, fp16 or bf16   torch.nn.attention.varlen, one launch over all documents
    elsewhere            scaled_dot_product_attention, one document after another

A pass without boundaries (padded rows) goes to transformers' own "sdpa", mask and all. Models whose layers ask for more
(windows, score caps, sinks, dropout) keep "sdpa" for all passes, with the block mask that transformers makes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

NAME = "dftcore"
_BEYOND = ("sliding_window", "attn_logit_softcapping", "attention_chunk_size", "attention_dropout")  # of a config


def use_documents_attention(model: Any) -> None:
    """Let this model's layers attend by document, if plain causal attention is all that they ask for."""
    config = model.config
    plain = set(getattr(config, "layer_types", None) or ()) <= {"full_attention"}
    beyond = any(getattr(config, name, None) for name in _BEYOND)
    sinks = any(name.endswith("sinks") for name, _ in model.named_parameters())
    if plain and not beyond and not sinks and model._supports_attention_backend:
        _register()
        model.set_attn_implementation(NAME)


def documents_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int = 0,
    **options: Any,
) -> tuple[Tensor, None]:
    """query [B, H, T, d], key and value [B, H_kv, T, d] -> ([B, T, H, d], None).

    cu_seq_lens_q: int32 [documents + 1], over the B rows end to end; max_length_q: the longest document's tokens.
    """
    if cu_seq_lens_q is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    q, k, v = (tensor.transpose(1, 2).flatten(0, 1) for tensor in (query, key, value))  # [B T, heads, d]
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        found = _varlen(q, k, v, cu_seq_lens_q, max_length_q, scaling)
    else:
        found = _one_by_one(q, k, v, cu_seq_lens_q, scaling)
    return found.unflatten(0, (query.shape[0], query.shape[2])), None


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, boundaries: Tensor, longest: int, scaling: float | None
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    causal = (-1, 0)
    found = varlen_attn(
        query, key, value, boundaries, boundaries, longest, longest, scale=scaling, window_size=causal, enable_gqa=True
    )
    assert isinstance(found, Tensor)  # a tuple only when more is asked for
    return found


def _one_by_one(query: Tensor, key: Tensor, value: Tensor, boundaries: Tensor, scaling: float | None) -> Tensor:
    lengths = boundaries.diff().tolist()
    groups = (tensor.transpose(0, 1)[None].split(lengths, dim=2) for tensor in (query, key, value))
    found = [
        scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=q.shape[1] != k.shape[1])
        for q, k, v in zip(*groups, strict=True)
    ]
    return torch.cat(found, dim=2)[0].transpose(0, 1)


def _mask(*, attention_mask: Tensor | None = None, **options: Any) -> Any:
    """None for packed rows, whose boundaries say all; transformers' own for padded ones."""
    from transformers.masking_utils import sdpa_mask

    return None if attention_mask is None else sdpa_mask(attention_mask=attention_mask, **options)


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, documents_attention)
    AttentionMaskInterface.register(NAME, _mask)
