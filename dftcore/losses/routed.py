"""The torch back-end: token log-probabilities that hold one small slice of logits at a time, on any device.

    dz_iv = g_i (1[v = y] - softmax_iv)                             for any upstream gradient g_i of logprob_i

The forward (see `scan`, and `screening` for bf16) keeps logprob, lse and the log of each block's mass. The backward
(see `gradients`) routes (see `routing`): each vocabulary block gathers the rows that put mass on it, recomputes their
logits, and writes its rows of dW once; dH is summed block after block. Blocks are runs of the vocabulary as
`kernels.order` sorts it; those that all rows need are taken together, as dense slabs. Arithmetic is fp32 (fp64 for fp64
inputs); where `screening` pays, the parts of dH are bf16 products of a dz that is rounded after the subtraction, summed
in fp32. Of a small problem (see `_holds`) the softmax is kept instead, in N V more numbers, and the gradient is exact.

Cost 2 NDV + 6 NDV (share of pairs kept) + 4/BLOCK NDV, of the 6 NDV of the unfused path. Memory beyond the gradients:
n V / BLOCK numbers for the masses, n D for dH, one slice of logits with its rows of W and, in the backward, of dW.

Both halves are operators of torch.library, so torch.compile takes the loss as one graph.
"""

# Annotations stay objects in this file: torch.library reads them to build the operators' schemas.
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dftcore.kernels import order as orders
from dftcore.losses import scan
from dftcore.losses.gradients import Gradients, from_routes, from_softmax
from dftcore.losses.reference import compute_dtype
from dftcore.losses.routing import block_count, route
from dftcore.losses.scan import ROWS, Transform, chunks, scan_exactly
from dftcore.losses.screening import pays, screen
from dftcore.losses.vocabulary import Vocabulary

STATISTICS = ("entropy", "top1", "sum_p2")


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
    """hidden [N, D], weight [V, D], targets [N] -> logprob [N] with autograd, detached statistics [N]; ignored: 0.

    differentiable: whether a backward may follow, for which the vocabulary's order is made or the softmax kept. Raises
    ValueError for a target outside the vocabulary.
    """
    routes = differentiable and error_budget > 0.0
    held = differentiable and _holds(hidden, weight, softcap, routes)
    logprob, _lse, _log_mass, _order, _softmax, *statistics = _forward(
        hidden, weight, targets, bias, softcap, temperature, ignore_index, error_budget,
        [name in outputs for name in STATISTICS], routes and not held and orders.pays(hidden.shape[0]), held,
    )  # fmt: skip
    found = {name: values.detach() for name, values in zip(STATISTICS, statistics, strict=True) if name in outputs}
    return logprob, found


def _holds(hidden: Tensor, weight: Tensor, softcap: float | None, routes: bool) -> bool:
    """Whether to keep the softmax for the backward: of a small problem, but for what is screened in bf16."""
    small = hidden.shape[0] * weight.shape[0] <= scan.HELD_ELEMENTS
    return small and softcap is None and not (routes and pays(hidden, weight))


def valid_rows(targets: Tensor, ignore_index: int, vocab_size: int) -> Tensor:
    """Indices of the targets [N] that count: ignored rows never enter a GEMM."""
    rows = (targets != ignore_index).nonzero().squeeze(-1)
    kept = targets[rows]
    if kept.numel() and not 0 <= int(kept.min()) <= int(kept.max()) < vocab_size:
        raise ValueError(
            f"targets: values run from {int(kept.min())} to {int(kept.max())}, outside the vocabulary"
            f" of {vocab_size} (ignore_index is {ignore_index})"
        )
    return rows


@torch.library.custom_op("dftcore::routed_logprobs", mutates_args=())
def _forward(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    softcap: float | None,
    temperature: float,
    ignore_index: int,
    error_budget: float,
    wanted: list[bool],
    ordered: bool,
    held: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """logprob and lse [N], log_mass [N, B]; the vocabulary's order [V], softmax [N, V] and statistics [N], or [0]."""
    rows, transform = valid_rows(targets, ignore_index, weight.shape[0]), Transform(softcap, temperature)
    found = _empty(hidden, weight, bias, wanted, ordered, held)
    logprob, lse, log_mass, order, softmax, *statistics = found
    for values in (logprob, lse, *statistics):
        values.zero_()
    if not rows.numel():
        torch.arange(order.numel(), out=order)
        return found
    outputs = [name for name, want in zip(STATISTICS, wanted, strict=True) if want]
    narrow = error_budget > 0.0 and softcap is None and not outputs and not held and pays(hidden, weight)
    with torch.autocast(hidden.device.type, enabled=False):
        if order.numel():
            order.copy_(orders.vocabulary_order(hidden, rows, rows.numel(), weight, bias))
        vocabulary = Vocabulary(weight, bias, order)
        places = vocabulary.places(targets[rows])
        for part in chunks(rows.shape[0], ROWS):
            chosen = rows[part]
            arguments = (
                hidden.index_select(0, chosen), vocabulary, places[part], transform, log_mass[part], outputs,
            )  # fmt: skip
            kept = softmax[part] if held else None
            logprob[chosen], lse[chosen], more = screen(*arguments) if narrow else scan_exactly(*arguments, kept)
            for name, values in more.items():
                statistics[STATISTICS.index(name)][chosen] = values
    log_mass[: rows.shape[0]].sub_(lse[rows].unsqueeze(-1))
    return found


def _empty(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, wanted: list[bool], ordered: bool, held: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    dtype, rows = compute_dtype(hidden, weight, bias), hidden.shape[0]
    columns = block_count(weight.shape[0])
    entropy, top1, sum_p2 = (hidden.new_empty(rows if want else 0, dtype=dtype) for want in wanted)
    logprob, lse = (hidden.new_empty(rows, dtype=dtype) for _ in range(2))
    order = hidden.new_empty(weight.shape[0] if ordered else 0, dtype=torch.int64)
    softmax = hidden.new_empty((rows, weight.shape[0]) if held else 0, dtype=dtype)
    return logprob, lse, hidden.new_empty(rows, columns, dtype=dtype), order, softmax, entropy, top1, sum_p2


@_forward.register_fake
def _(hidden, weight, targets, bias, softcap, temperature, ignore_index, error_budget, wanted, ordered, held):  # type: ignore[no-untyped-def]
    return _empty(hidden, weight, bias, wanted, ordered, held)


@torch.library.custom_op("dftcore::routed_logprobs_backward", mutates_args=())
def _backward(
    grad: Tensor,
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    logprob: Tensor,
    lse: Tensor,
    log_mass: Tensor,
    order: Tensor,
    softmax: Tensor,
    softcap: float | None,
    temperature: float,
    ignore_index: int,
    error_budget: float,
    needed: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of hidden, weight and bias, each of no element where not `needed`."""
    with torch.autocast(hidden.device.type, enabled=False):
        rows = (targets != ignore_index).nonzero().squeeze(-1)
        states, target, logp, log_z = (values.index_select(0, rows) for values in (hidden, targets, logprob, lse))
        vocabulary = Vocabulary(weight, bias, order)
        target = vocabulary.places(target)
        upstream = grad[rows] / temperature
        if softmax.numel():
            grads = Gradients(states, vocabulary, lse.dtype, needed, share=None, narrow=False)
            from_softmax(grads, softmax[: rows.shape[0]], states, target, logp, upstream)
        else:
            narrow = error_budget > 0.0 and pays(hidden, weight)
            routes = route(upstream, logp, log_mass[: rows.shape[0]], target, weight.shape[0], error_budget)
            grads = Gradients(states, vocabulary, lse.dtype, needed, routes.share, narrow)
            from_routes(grads, routes, states, target, logp, log_z, upstream, Transform(softcap, temperature))
        grad_states, grad_weight, grad_bias = grads.finish()
        grad_hidden = hidden.new_zeros(hidden.shape if needed[0] else 0)
        if grad_states is not None:
            grad_hidden.index_copy_(0, rows, grad_states.to(hidden.dtype))
    return (
        grad_hidden,
        weight.new_empty(0) if grad_weight is None else grad_weight,
        hidden.new_empty(0) if grad_bias is None else grad_bias,
    )


@_backward.register_fake
def _(  # type: ignore[no-untyped-def]
    grad, hidden, weight, targets, bias, logprob, lse, log_mass, order, softmax,
    softcap, temperature, ignore_index, error_budget, needed,
):  # fmt: skip
    return tuple(
        like.new_empty(like.shape) if like is not None and need else empty.new_empty(0)
        for like, need, empty in zip((hidden, weight, bias), needed, (hidden, weight, hidden), strict=True)
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden, weight, targets, bias, *options, _wanted, _ordered, _held = inputs
    ctx.save_for_backward(hidden, weight, targets, bias, *output[:5])
    ctx.set_materialize_grads(False)  # else the other outputs' gradients are made, as zeros of their size
    ctx.options = options


def _differentiate(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if grad is None:  # no gradient reaches the log-probabilities
        return (None,) * 11
    need_hidden, need_weight, _targets, need_bias, *_rest = ctx.needs_input_grad
    needed = [need_hidden, need_weight, need_bias]
    found = _backward(grad, *ctx.saved_tensors, *ctx.options, needed)
    grad_hidden, grad_weight, grad_bias = (g if need else None for g, need in zip(found, needed, strict=True))
    return grad_hidden, grad_weight, None, grad_bias, *[None] * 7


_forward.register_autograd(_differentiate, setup_context=_save)
