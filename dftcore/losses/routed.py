"""The torch back-end: token log-probabilities that hold one small slice of logits at a time, on any device.

    dz_iv = g_i (1[v = y] - softmax_iv)                             for any upstream gradient g_i of logprob_i

The forward (see `scan`, and `screening` for bf16) keeps logprob, lse and the log of each block's mass. The backward
routes (see `routing`): each vocabulary block gathers the rows that put mass on it, recomputes their logits, and writes
its rows of dW once; dH is summed block after block. Blocks are runs of the vocabulary as `kernels.order` sorts it;
those that all rows need are taken together, as dense slabs. Arithmetic is fp32 (fp64 for fp64 inputs); where
`screening` pays, the parts of dH are bf16 products of a dz that is rounded after the subtraction, summed in fp32.

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
from dftcore.kernels.budget import BLOCK
from dftcore.losses.reference import compute_dtype
from dftcore.losses.routing import block_count, blocks, route, slabs
from dftcore.losses.scan import ROWS, Transform, chunks, scan_exactly, slice_width
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

    differentiable: whether a backward may follow, for which the vocabulary's order is made. Raises ValueError for a
    target outside the vocabulary.
    """
    logprob, _lse, _log_mass, _order, *statistics = _forward(
        hidden, weight, targets, bias, softcap, temperature, ignore_index, error_budget,
        [name in outputs for name in STATISTICS],
        error_budget > 0.0 and orders.pays(hidden.shape[0]) and differentiable,
    )  # fmt: skip
    found = {name: values.detach() for name, values in zip(STATISTICS, statistics, strict=True) if name in outputs}
    return logprob, found


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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """logprob [N], lse [N], log_mass [N, B], the order of the vocabulary [V] or [0], the statistics [N] or [0]."""
    rows, transform = valid_rows(targets, ignore_index, weight.shape[0]), Transform(softcap, temperature)
    found = _empty(hidden, weight, bias, wanted, ordered)
    logprob, lse, log_mass, order, *statistics = found
    for values in (logprob, lse, *statistics):
        values.zero_()
    if not rows.numel():
        torch.arange(order.numel(), out=order)
        return found
    outputs = [name for name, want in zip(STATISTICS, wanted, strict=True) if want]
    narrow = error_budget > 0.0 and softcap is None and not outputs and pays(hidden, weight)
    with torch.autocast(hidden.device.type, enabled=False):
        if order.numel():
            order.copy_(orders.vocabulary_order(hidden, rows, rows.numel(), weight, bias))
        vocabulary = Vocabulary(weight, bias, order)
        places = vocabulary.places(targets[rows])
        for part in chunks(rows.shape[0], ROWS):
            chosen = rows[part]
            scan = screen if narrow else scan_exactly
            logprob[chosen], lse[chosen], more = scan(
                hidden.index_select(0, chosen), vocabulary, places[part], transform, log_mass[part], outputs
            )
            for name, values in more.items():
                statistics[STATISTICS.index(name)][chosen] = values
    log_mass[: rows.shape[0]].sub_(lse[rows].unsqueeze(-1))
    return found


def _empty(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, wanted: list[bool], ordered: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    dtype, rows = compute_dtype(hidden, weight, bias), hidden.shape[0]
    columns = block_count(weight.shape[0])
    entropy, top1, sum_p2 = (hidden.new_empty(rows if want else 0, dtype=dtype) for want in wanted)
    logprob, lse = (hidden.new_empty(rows, dtype=dtype) for _ in range(2))
    order = hidden.new_empty(weight.shape[0] if ordered else 0, dtype=torch.int64)
    return logprob, lse, hidden.new_empty(rows, columns, dtype=dtype), order, entropy, top1, sum_p2


@_forward.register_fake
def _(hidden, weight, targets, bias, softcap, temperature, ignore_index, error_budget, wanted, ordered):  # type: ignore[no-untyped-def]
    return _empty(hidden, weight, bias, wanted, ordered)


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
    softcap: float | None,
    temperature: float,
    ignore_index: int,
    error_budget: float,
    needed: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of hidden, weight and bias, each of no element where not `needed`."""
    with torch.autocast(hidden.device.type, enabled=False):
        rows, transform = (targets != ignore_index).nonzero().squeeze(-1), Transform(softcap, temperature)
        states, target, logp, log_z = (values.index_select(0, rows) for values in (hidden, targets, logprob, lse))
        vocabulary = Vocabulary(weight, bias, order)
        target = vocabulary.places(target)
        upstream = grad[rows] / temperature
        routes = route(upstream, logp, log_mass[: rows.shape[0]], target, weight.shape[0], error_budget)

        def logit_gradient(z: Tensor, row: Tensor | slice, hit: Tensor, column: Tensor) -> Tensor:
            """Of logits z [m, k], in place; row: which [m], hit, column: where among them the targets sit."""
            slope = transform.cap_slope(z) if softcap is not None else None
            dz = z.sub_(log_z[row].unsqueeze(-1)).exp_().neg_()
            dz[hit, column] = -torch.expm1(logp[row][hit])  # 1 - p without cancellation near p = 1
            dz.mul_(upstream[row].unsqueeze(-1))
            return dz if slope is None else dz.mul_(slope)

        narrow = error_budget > 0.0 and pays(hidden, weight)
        grads = _Gradients(states, vocabulary, lse.dtype, needed, routes.share, narrow)
        gathered = _Buffer(states.dtype, states.device)
        widened, logits = (_Buffer(lse.dtype, states.device) for _ in range(2))
        for first, stop in slabs(routes.whole, slice_width(*states.shape) // BLOCK):
            columns = slice(first * BLOCK, min(stop * BLOCK, weight.shape[0]))
            grads.begin(columns)
            hit = ((target >= columns.start) & (target < columns.stop)).nonzero().squeeze(-1)
            out = logits.shaped(rows.shape[0], columns.stop - columns.start)
            wide = widened.of(states)
            z = transform.logits(wide, grads.block, grads.block_bias, out)
            grads.add_dense(wide, logit_gradient(z, slice(None), hit, target[hit] - columns.start))
        for columns, row, hit, column in blocks(routes.keep & ~routes.whole.to(target.device), target, weight.shape[0]):
            if routes.whole[columns.start // BLOCK]:
                continue
            grads.begin(columns)
            chosen = torch.index_select(states, 0, row, out=gathered.shaped(row.shape[0], states.shape[1]))
            wide = widened.of(chosen)
            out = logits.shaped(row.shape[0], columns.stop - columns.start)
            z = transform.logits(wide, grads.block, grads.block_bias, out)
            grads.add(row, wide, logit_gradient(z, row, hit, column))
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
    grad, hidden, weight, targets, bias, logprob, lse, log_mass, order,
    softcap, temperature, ignore_index, error_budget, needed,
):  # fmt: skip
    return tuple(
        like.new_empty(like.shape) if like is not None and need else empty.new_empty(0)
        for like, need, empty in zip((hidden, weight, bias), needed, (hidden, weight, hidden), strict=True)
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden, weight, targets, bias, *options, _wanted, _ordered = inputs
    ctx.save_for_backward(hidden, weight, targets, bias, *output[:4])
    ctx.set_materialize_grads(False)  # else the other outputs' gradients are made, as zeros of their size
    ctx.options = options


def _differentiate(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if grad is None:  # no gradient reaches the log-probabilities
        return (None,) * 10
    need_hidden, need_weight, _targets, need_bias, *_rest = ctx.needs_input_grad
    needed = [need_hidden, need_weight, need_bias]
    found = _backward(grad, *ctx.saved_tensors, *ctx.options, needed)
    grad_hidden, grad_weight, grad_bias = (g if need else None for g, need in zip(found, needed, strict=True))
    return grad_hidden, grad_weight, None, grad_bias, *[None] * 6


_forward.register_autograd(_differentiate, setup_context=_save)


class _Buffer:
    """Memory for one matrix after another: on a CPU, fresh pages for each would cost a tenth of the backward."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.flat = torch.empty(0, dtype=dtype, device=device)

    def shaped(self, rows: int, columns: int) -> Tensor:
        if self.flat.numel() < rows * columns:
            self.flat = self.flat.new_empty(rows * columns)
        return self.flat[: rows * columns].view(rows, columns)

    def of(self, matrix: Tensor) -> Tensor:
        """The matrix in this type: itself, or a copy that is good until the next."""
        return matrix if matrix.dtype == self.flat.dtype else self.shaped(*matrix.shape).copy_(matrix)


class _Gradients:
    """dH, dW and dbias of the n valid rows; each block of dW has one owner and is rounded once, dH is summed in fp32.

    With `share` [n, B], every column of a dropped block has the logit gradient -share, so its part of dH is
    -share (sum of the block's W), and each of its rows of dW gets -share^T H: two GEMMs of 1/BLOCK of a dense one.
    `narrow`: for dH, dz is rounded to the inputs' type and multiplied in it; dW would not bear that beside its own
    rounding.
    """

    def __init__(
        self, hidden: Tensor, vocabulary: Vocabulary, dtype: torch.dtype, needed: Sequence[bool],
        share: Tensor | None, narrow: bool,
    ) -> None:  # fmt: skip
        need_hidden, need_weight, need_bias = needed
        weight, bias = vocabulary.weight, vocabulary.bias
        self.vocabulary, self.share, self.dtype, self.narrow = vocabulary, share, dtype, narrow
        self.hidden = hidden.new_zeros(hidden.shape, dtype=dtype) if need_hidden else None
        self.grad_weight = weight.new_empty(weight.shape) if need_weight else None
        self.grad_bias = bias.new_empty(bias.shape) if bias is not None and need_bias else None
        self.product = _Buffer(hidden.dtype if narrow else dtype, hidden.device)
        self.part, self.block_gradient = (_Buffer(dtype, hidden.device) for _ in range(2))
        self.weight_sums = (
            weight.new_zeros(share.shape[1], weight.shape[1], dtype=dtype)
            if share is not None and need_hidden
            else None
        )
        self.spread: Tensor | None = None
        if share is not None and need_weight:
            self.spread = hidden.new_zeros(share.shape[1], hidden.shape[1], dtype=dtype)
            for chunk in chunks(hidden.shape[0], ROWS):
                self.spread.addmm_(share[chunk].T, hidden[chunk].to(dtype))

    def begin(self, columns: slice) -> None:
        self.columns = columns
        self.rows = self.vocabulary.rows(columns)
        self.block = self.rows.to(self.dtype)
        self.block_bias = self.vocabulary.biases(columns, self.dtype)

    def add_dense(self, states: Tensor, dz: Tensor) -> None:
        """states [n, D] of all rows; dz [n, columns]: their logit gradient."""
        if self.grad_bias is not None:
            self.vocabulary.put(self.grad_bias, self.columns, dz.sum(0))
        if self.hidden is not None and not self.narrow:
            self.hidden.addmm_(dz, self.block)
        elif self.hidden is not None:
            self.hidden.add_(self._product(dz))
        if self.grad_weight is not None:
            out = self.block_gradient.shaped(dz.shape[1], states.shape[1])
            self.vocabulary.put(self.grad_weight, self.columns, torch.mm(dz.T, states, out=out))

    def add(self, row: Tensor, states: Tensor, dz: Tensor) -> None:
        """row [m]: indices of the rows that keep this block; states [m, D], dz [m, block]: as in `add_dense`."""
        assert self.share is not None
        index = self.columns.start // BLOCK
        if self.grad_bias is not None:
            self.vocabulary.put(self.grad_bias, self.columns, dz.sum(0) - self.share[:, index].sum())
        if self.hidden is not None and self.weight_sums is not None:
            self.weight_sums[index] = self.block.sum(0)
            self.hidden.index_add_(0, row, self.part.of(self._product(dz)))
        if self.grad_weight is not None and self.spread is not None:
            out = self.block_gradient.shaped(dz.shape[1], states.shape[1])
            torch.addmm(self.spread[index], dz.T, states, beta=-1.0, out=out)
            self.vocabulary.put(self.grad_weight, self.columns, out)

    def _product(self, dz: Tensor) -> Tensor:
        """dz [m, columns] -> its part of dH [m, D], good until the next."""
        block = self.rows if self.narrow else self.block
        return torch.mm(dz.to(block.dtype), block, out=self.product.shaped(dz.shape[0], block.shape[1]))

    def finish(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        if self.hidden is not None and self.share is not None and self.weight_sums is not None:
            self.hidden.addmm_(self.share, self.weight_sums, alpha=-1.0)
        return self.hidden, self.grad_weight, self.grad_bias
