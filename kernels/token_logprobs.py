"""Token log-probabilities as operators of torch.library: opaque to torch.compile, differentiable, no host sync.

    logprob, entropy, top1, sum_p2 = token_logprobs(hidden, weight, targets, ...)

    logprob_i = z_{i, y_i} - log sum_v e^{z_iv},   z = softcap tanh((hidden W^T + bias) / softcap) / temperature

hidden [N, D] and weight [V, D] of one type (fp32, fp16, bf16) and any strides, targets [N] int64; logprob [N] fp32, 0
at ignored tokens, NaN where a target lies outside the vocabulary; statistics [N] fp32, or [0] when not asked for.
"""

# Annotations stay objects in this file: torch.library reads them to build the operators' schemas.
from typing import Any

import torch
from torch import Tensor

from dftcore.kernels.backward import gradients
from dftcore.kernels.budget import BLOCK
from dftcore.kernels.launch import Head, Scan, scan
from dftcore.kernels.routes import upstream


def _head(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, softcap: float | None, temperature: float
) -> Head:
    """The kernels take vectors as they lie, and strides of hidden and weight as long as a row's offsets fit 32 bits."""
    hidden, weight = (t if t.stride(1) * t.shape[1] < 2**31 else t.contiguous() for t in (hidden, weight))
    bias = None if bias is None else bias.contiguous()
    return Head(hidden, weight, bias, targets.contiguous(), softcap, temperature)


@torch.library.custom_op("dftcore::token_logprobs", mutates_args=())
def _forward(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    softcap: float | None,
    temperature: float,
    ignore_index: int,
    error_budget: float,
    moments: bool,
    top1: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    head = _head(hidden, weight, bias, targets, softcap, temperature)
    found = scan(head, ignore_index, error_budget > 0.0, moments, top1)
    return (
        found.logprob, found.lse, found.log_mass, found.rows, found.count, found.order,
        found.entropy, found.top1, found.sum_p2,
    )  # fmt: skip


@_forward.register_fake
def _(hidden, weight, targets, bias, softcap, temperature, ignore_index, error_budget, moments, top1):  # type: ignore[no-untyped-def]
    rows, blocks = hidden.shape[0], (weight.shape[0] + BLOCK - 1) // BLOCK if error_budget > 0.0 else 0

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return hidden.new_empty(shape, dtype=dtype)

    statistics = (empty(rows if moments else 0), empty(rows if top1 else 0), empty(rows if moments else 0))
    order = weight.shape[0] if error_budget > 0.0 else 0
    integers = (empty(size, dtype=torch.int32) for size in (rows, 1, order))
    return empty(rows), empty(rows), empty(blocks, rows, dtype=torch.float16), *integers, *statistics


@torch.library.custom_op("dftcore::token_logprobs_backward", mutates_args=())
def _backward(
    grad: Tensor,
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    logprob: Tensor,
    lse: Tensor,
    log_mass: Tensor,
    rows: Tensor,
    count: Tensor,
    order: Tensor,
    softcap: float | None,
    temperature: float,
    ignore_index: int,
    error_budget: float,
    need_hidden: bool,
    need_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    head = _head(hidden, weight, bias, targets, softcap, temperature)
    found = Scan(logprob, lse, log_mass, rows, count, order, lse, lse, lse)
    up = upstream(head, found, grad, ignore_index)
    head = head.ordered(order) if error_budget > 0.0 else head  # not before `upstream`, which looks for ignore_index
    grad_hidden, grad_weight, grad_bias = gradients(head, found, up, error_budget, need_hidden, need_weight)
    return (
        hidden.new_empty(0) if grad_hidden is None else grad_hidden,
        hidden.new_empty(0) if grad_weight is None else grad_weight,
        hidden.new_empty(0) if grad_bias is None else grad_bias,
    )


@_backward.register_fake
def _(  # type: ignore[no-untyped-def]
    grad, hidden, weight, targets, bias, logprob, lse, log_mass, rows, count, order,
    softcap, temperature, ignore_index, error_budget, need_hidden, need_weight,
):  # fmt: skip
    return (
        hidden.new_empty(hidden.shape if need_hidden else 0),
        torch.empty_like(weight) if need_weight else hidden.new_empty(0),
        torch.empty_like(bias) if need_weight and bias is not None else hidden.new_empty(0),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden, weight, targets, bias, *ctx.options = inputs
    ctx.save_for_backward(hidden, weight, targets, bias, *output[:6])
    ctx.set_materialize_grads(False)  # else the other outputs' gradients are made, as zeros of their size


def _gradients(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if grad is None:  # no gradient reaches the log-probabilities
        return (None,) * 10
    hidden, weight, targets, bias, *saved = ctx.saved_tensors
    softcap, temperature, ignore_index, error_budget, *_rest = ctx.options
    need_hidden, need_weight, _targets, need_bias, *_rest = ctx.needs_input_grad
    grad_hidden, grad_weight, grad_bias = _backward(
        grad, hidden, weight, targets, bias, *saved, softcap, temperature, ignore_index, error_budget,
        need_hidden, need_weight or need_bias,
    )  # fmt: skip
    needed = zip((grad_hidden, grad_weight, grad_bias), (need_hidden, need_weight, need_bias), strict=True)
    grad_hidden, grad_weight, grad_bias = (g if need else None for g, need in needed)
    return grad_hidden, grad_weight, None, grad_bias, *[None] * 6


_forward.register_autograd(_gradients, setup_context=_save)


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    temperature: float = 1.0,
    ignore_index: int = -100,
    error_budget: float,
    moments: bool = False,
    top1: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """logprob, with autograd, and the detached entropy, top1 and sum_p2; see the module for shapes and types."""
    logprob, *rest = _forward(
        hidden, weight, targets, bias, softcap, temperature, ignore_index, error_budget, moments, top1
    )
    entropy, top, sum_p2 = (values.detach() for values in rest[-3:])
    return logprob, entropy, top, sum_p2
