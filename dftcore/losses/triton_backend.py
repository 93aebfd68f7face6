"""The Triton back-end: hands every token to `dftcore.kernels`, which select the valid rows themselves.

Ignored tokens are dropped on the device, because reading their number back would stall it; for the same reason a target
outside the vocabulary gives NaN here, where the other back-ends raise.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec

import torch
from torch import Tensor

from dftcore.losses.compiling import constant

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None,
    softcap: float | None,
    temperature: float,
    ignore_index: int,
    outputs: Sequence[str],
    error_budget: float,
    differentiable: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    """hidden [N, D], weight [V, D], targets [N] -> logprob [N] fp32 with autograd, detached statistics [N].

    hidden and weight of different types are multiplied in the wider one, which for fp32 is many times slower than in
    half precision: under mixed precision give both in its type. Ignored tokens get 0. differentiable: whether a
    backward may follow, for which masses are kept and the vocabulary's order is made.
    """
    # Here, because Triton exists on Linux only.
    from dftcore.kernels.token_logprobs import token_logprobs as fused

    dtype = torch.promote_types(hidden.dtype, weight.dtype)
    logprob, *found = fused(
        hidden.to(dtype),
        weight.to(dtype),
        targets,
        bias=bias,
        softcap=softcap,
        temperature=temperature,
        ignore_index=ignore_index,
        error_budget=error_budget if differentiable else 0.0,
        moments="entropy" in outputs or "sum_p2" in outputs,
        top1="top1" in outputs,
    )
    named = dict(zip(("entropy", "top1", "sum_p2"), found, strict=True))
    return logprob, {name: named[name] for name in outputs}


def power_loss(
    logprob: Tensor, targets: Tensor, token_weight: Tensor | None, exponent: float, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor]:
    """logprob fp32, targets and token_weight [...] -> p^exponent token_weight, the losses [...], and their sum []."""
    from dftcore.kernels.power_loss import power_loss as fused

    factor = None if token_weight is None else token_weight.detach().float().flatten().contiguous()
    weights, losses, total = fused(logprob.flatten(), targets.flatten().contiguous(), factor, exponent, ignore_index)
    return weights.view_as(logprob), losses.view_as(logprob), total


def in_order(hidden: Tensor, weight: Tensor, bias: Tensor | None, softcap: float | None) -> bool:
    """Whether the kernels walk a vocabulary in an order of their own, on which the default budget depends."""
    dtype = torch.promote_types(hidden.dtype, weight.dtype)
    return _in_order(dtype, hidden.device, bias is None and softcap is None)


@constant
def _in_order(dtype: torch.dtype, device: torch.device, bare: bool) -> bool:
    from dftcore.kernels.config import in_order as configured

    return configured(dtype, device, bare)


def refusal(hidden: Tensor, weight: Tensor) -> str | None:
    """Why the kernels cannot take these inputs; None if they can."""
    for name, tensor in (("hidden", hidden), ("weight", weight)):
        if tensor.dtype not in DTYPES:
            return f"{name} has type {tensor.dtype}; give it fp32, fp16 or bf16, or use backend='torch'"
    return _refusal_on(hidden.device)


@constant  # older compilers break the graph at what it asks
def _refusal_on(device: torch.device) -> str | None:
    if find_spec("triton") is None:
        return "Triton is not installed; use backend='torch'"
    if device.type == "cuda" and (torch.version.hip or torch.cuda.get_device_capability(device) < (8, 0)):
        return "the kernels need an NVIDIA GPU of compute capability 8.0 or more; use backend='torch'"
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"the inputs are on {device}; move them to a CUDA device or use backend='torch'"
    return None
