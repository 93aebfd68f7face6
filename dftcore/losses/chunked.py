"""The torch back-end: token log-probabilities that hold one bounded slice of logits at a time, on any device.

The forward walks row chunks and keeps only logprob and lse [n]. The backward recomputes each chunk's logits from the
saved inputs and forms g (onehot - softmax) in fp32, subtracting before any rounding; dW and dbias are summed in fp32.
Cost 8 NDV (2 forward, 6 backward) instead of the unfused 6 NDV; memory n + LOGIT_BYTES instead of 4 n V bytes.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from dftcore.losses.reference import compute_dtype, statistics_of, transform_logits

LOGIT_BYTES = 64 << 20  # of one slice of logits; a row is never split, so at least one row of V


def _row_chunks(rows: int, vocab_size: int, element_size: int) -> Iterator[slice]:
    size = max(1, LOGIT_BYTES // (vocab_size * element_size))
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        bias: Tensor | None,
        softcap: float | None,
        temperature: float,
        outputs: Sequence[str],
    ) -> tuple[Tensor, ...]:
        dtype = compute_dtype(hidden, weight, bias)
        rows = hidden.shape[0]
        logprob = hidden.new_empty(rows, dtype=dtype)
        lse = torch.empty_like(logprob)
        extra = {name: torch.empty_like(logprob) for name in outputs}
        wide_weight = weight.to(dtype)
        for chunk in _row_chunks(rows, weight.shape[0], logprob.element_size()):
            logits = _logits(hidden[chunk], wide_weight, bias, softcap, temperature)
            lse[chunk] = torch.logsumexp(logits, dim=-1)
            logprob[chunk] = logits.gather(-1, targets[chunk].unsqueeze(-1)).squeeze(-1) - lse[chunk]
            for name, values in statistics_of(logits, lse[chunk], targets[chunk], outputs).items():
                extra[name][chunk] = values
        ctx.save_for_backward(hidden, weight, targets, bias, logprob, lse)
        ctx.softcap, ctx.temperature = softcap, temperature
        ctx.mark_non_differentiable(*extra.values())
        return logprob, *extra.values()

    @staticmethod
    def backward(ctx: Any, grad_logprob: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, bias, logprob, lse = ctx.saved_tensors
        need_hidden, need_weight, _targets, need_bias, *_rest = ctx.needs_input_grad
        dtype = logprob.dtype
        wide_weight = weight.to(dtype)
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=dtype) if need_weight else None
        grad_bias = torch.zeros_like(bias, dtype=dtype) if need_bias else None
        for chunk in _row_chunks(hidden.shape[0], weight.shape[0], logprob.element_size()):
            logits = _logits(hidden[chunk], wide_weight, bias, ctx.softcap, ctx.temperature)
            grad = (logits - lse[chunk].unsqueeze(-1)).exp_().neg_()
            # onehot - softmax at the target is 1 - p, taken from logprob so that p near 1 does not cancel.
            grad.scatter_(-1, targets[chunk].unsqueeze(-1), -torch.expm1(logprob[chunk]).unsqueeze(-1))
            grad *= (grad_logprob[chunk] / ctx.temperature).unsqueeze(-1)
            if ctx.softcap is not None:  # d tanh: 1 - (z / softcap)^2 on the capped, unscaled logit
                grad *= 1.0 - (logits * (ctx.temperature / ctx.softcap)).square_()
            if grad_hidden is not None:
                grad_hidden[chunk] = (grad @ wide_weight).to(hidden.dtype)
            if grad_weight is not None:
                grad_weight.addmm_(grad.T, hidden[chunk].to(dtype))
            if grad_bias is not None:
                grad_bias += grad.sum(0)
        return (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None,
            None if grad_bias is None else grad_bias.to(bias.dtype),
            None,
            None,
            None,
        )


def _logits(
    hidden: Tensor, wide_weight: Tensor, bias: Tensor | None, softcap: float | None, temperature: float
) -> Tensor:
    logits = hidden.to(wide_weight.dtype) @ wide_weight.T
    if bias is not None:
        logits += bias
    return transform_logits(logits, softcap, temperature)


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None,
    softcap: float | None,
    temperature: float,
    outputs: Sequence[str],
) -> tuple[Tensor, dict[str, Tensor]]:
    """hidden [n, D], weight [V, D], targets [n] in range -> logprob [n] with autograd, and detached statistics [n]."""
    outputs = tuple(outputs)
    logprob, *extra = _TokenLogprobs.apply(hidden, weight, targets, bias, softcap, temperature, outputs)
    return logprob, dict(zip(outputs, extra, strict=True))
