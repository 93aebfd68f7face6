"""KL(reference || policy) over the whole vocabulary, per token, without ever holding the logits of either.

    KL_i = sum_v s'_iv (log s'_iv - log s_iv),     dKL_i / dz_iv = s_iv - s'_iv

s the policy's softmax, s' the reference's, which gets no gradient. Forward KL: it is large where the policy gives
little to what the reference finds likely. Both heads are walked in slices of the vocabulary, twice: for the
log-sum-exps, then for the gradient, which the forward already takes, so the reference's head need not live until the
backward. 12 NDV in all. Memory beyond the gradients: a slice of logits of each, and dH in the compute dtype.

Letters: n tokens of weight other than 0, D hidden size, V vocabulary. Arithmetic is fp32, fp64 for fp64 inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dftcore.losses.reference import compute_dtype, transform_logits

ROWS, COLUMNS = 1024, 4096  # of one slice: 16 MiB of fp32


@dataclass(frozen=True)
class Head:
    """What makes logits of hidden states: weight [V, D], bias [V], soft-cap, temperature (see `losses.reference`)."""

    weight: Tensor
    bias: Tensor | None = None
    softcap: float | None = None
    temperature: float = 1.0


def reference_kl(
    hidden: Tensor, head: Head, reference_hidden: Tensor, reference_head: Head, token_weight: Tensor
) -> tuple[Tensor, Tensor]:
    """(sum_i token_weight_i KL_i [] differentiable, KL [...] detached, 0 where the weight is 0).

    hidden [..., D], reference_hidden [..., D'], token_weight [...] detached. Its backward runs once.
    Raises ValueError when the vocabularies differ.
    """
    if head.weight.shape[0] != reference_head.weight.shape[0]:
        raise ValueError(
            f"reference_head: a vocabulary of {reference_head.weight.shape[0]}, the policy's is {head.weight.shape[0]}"
        )
    flat_weight = token_weight.detach().flatten()
    rows = flat_weight.nonzero().squeeze(-1)
    flat_hidden, flat_reference = (states.reshape(-1, states.shape[-1])[rows] for states in (hidden, reference_hidden))
    with torch.autocast(hidden.device.type, enabled=False):  # which would round the logits
        total, kl = _ReferenceKL.apply(
            flat_hidden, head.weight, head.bias, head, flat_reference.detach(), reference_head, flat_weight[rows]
        )
    return total, torch.zeros_like(flat_weight, dtype=kl.dtype).index_put((rows,), kl).reshape(token_weight.shape)


class _ReferenceKL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        head: Head,
        reference_hidden: Tensor,
        reference_head: Head,
        token_weight: Tensor,
    ) -> tuple[Tensor, Tensor]:
        dtype = compute_dtype(hidden, weight, bias)
        states, reference_states = hidden.to(dtype), reference_hidden.to(dtype)
        policy, reference = _Online(states), _Online(states)
        cross = states.new_zeros(states.shape[0])  # sum of e^{z' - max'} (z' - z)
        for columns, rows in _slices(weight.shape[0], states.shape[0]):
            z = _logits(states[rows], head, columns)
            z_reference = _logits(reference_states[rows], reference_head, columns)
            policy.add(rows, z)
            shrink, mass = reference.add(rows, z_reference)
            cross[rows] = cross[rows] * shrink + (mass * (z_reference - z)).sum(-1)
        kl = cross / reference.total + policy.lse - reference.lse
        coefficient = token_weight.to(dtype)
        ctx.gradients = _gradients(
            ctx.needs_input_grad[:3], states, head, reference_states, reference_head,
            policy.lse, reference.lse, coefficient,
        )  # fmt: skip
        ctx.mark_non_differentiable(kl)
        return (coefficient * kl).sum(), kl

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the backward of reference_kl runs once: its gradients are scaled in place")
        by_hidden, by_weight, by_bias = (None if part is None else part.mul_(grad) for part in ctx.gradients)
        ctx.gradients = None
        return by_hidden, by_weight, by_bias, None, None, None, None


class _Online:
    """The running maximum and sum of exponentials of rows whose logits come slice by slice."""

    def __init__(self, states: Tensor) -> None:
        self.maximum = states.new_full((states.shape[0],), -torch.inf)
        self.total = states.new_zeros(states.shape[0])

    def add(self, rows: slice, z: Tensor) -> tuple[Tensor, Tensor]:
        """(what older sums shrink by [m], e^{z - maximum} [m, k])."""
        maximum = torch.maximum(self.maximum[rows], z.amax(-1))
        shrink = (self.maximum[rows] - maximum).exp()
        mass = (z - maximum.unsqueeze(-1)).exp()
        self.maximum[rows], self.total[rows] = maximum, self.total[rows] * shrink + mass.sum(-1)
        return shrink, mass

    @property
    def lse(self) -> Tensor:
        return self.maximum + self.total.log()


def _gradients(
    needed: tuple[bool, ...], states: Tensor, head: Head, reference_states: Tensor, reference_head: Head,
    lse: Tensor, reference_lse: Tensor, coefficient: Tensor,
) -> list[Tensor | None]:  # fmt: skip
    """Of sum_i coefficient_i KL_i, by hidden, weight and bias; each slice of dW is summed whole and rounded once."""
    need_hidden, need_weight, need_bias = needed
    grad_hidden = torch.zeros_like(states) if need_hidden else None
    grad_weight = torch.empty_like(head.weight) if need_weight else None
    grad_bias = torch.empty_like(head.bias) if need_bias and head.bias is not None else None
    if not any(needed):
        return [None, None, None]
    for start in range(0, head.weight.shape[0], COLUMNS):
        columns = slice(start, min(start + COLUMNS, head.weight.shape[0]))
        part = head.weight[columns].to(states.dtype)
        part_grad, part_bias = torch.zeros_like(part), part.new_zeros(part.shape[0])
        for rows in _row_slices(states.shape[0]):
            z = _logits(states[rows], head, columns)
            dz = (z - lse[rows, None]).exp()
            dz -= (_logits(reference_states[rows], reference_head, columns) - reference_lse[rows, None]).exp()
            dz *= coefficient[rows, None] * _slope(z, head)
            if grad_hidden is not None:
                grad_hidden[rows].addmm_(dz, part)
            if grad_weight is not None:
                part_grad.addmm_(dz.T, states[rows])
            part_bias += dz.sum(0)
        if grad_weight is not None:
            grad_weight[columns] = part_grad.to(grad_weight.dtype)
        if grad_bias is not None:
            grad_bias[columns] = part_bias.to(grad_bias.dtype)
    return [grad_hidden, grad_weight, grad_bias]


def _slices(vocabulary: int, tokens: int) -> Iterator[tuple[slice, slice]]:
    for start in range(0, vocabulary, COLUMNS):
        for rows in _row_slices(tokens):
            yield slice(start, start + COLUMNS), rows


def _row_slices(tokens: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, tokens, ROWS))


def _logits(states: Tensor, head: Head, columns: slice) -> Tensor:
    """states [m, D] -> [m, k] final logits of these columns."""
    z = states @ head.weight[columns].to(states.dtype).T
    if head.bias is not None:
        z += head.bias[columns].to(states.dtype)
    return transform_logits(z, head.softcap, head.temperature)


def _slope(z: Tensor, head: Head) -> Tensor | float:
    """d final logit / d raw logit."""
    if head.softcap is None:
        return 1.0 / head.temperature
    return (1.0 - (z * (head.temperature / head.softcap)).square()) / head.temperature
