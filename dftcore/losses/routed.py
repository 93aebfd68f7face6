"""The torch back-end: token log-probabilities that hold one small slice of logits at a time, on any device.

    logprob_i = -softplus(log sum_{v != y} e^{z_iv} - z_iy)        accurate for p near 1: the sum leaves the target out
    dz_iv     = g_i (1[v = y] - softmax_iv)                         for any upstream gradient g_i of logprob_i

The forward walks slices of [ROWS, SLICE_ELEMENTS / ROWS] logits that stay in cache, and keeps logprob, lse and the log
of each block's mass: 1 / BLOCK of the logits. The backward routes (see `routing`): each vocabulary block gathers the
rows that put mass on it, recomputes their logits, and writes its rows of dW once; dH is summed block after block.
All arithmetic is fp32 (fp64 for fp64 inputs), whatever the inputs' type.

Cost 2 NDV + 6 NDV (share of pairs kept) + 4/BLOCK NDV, of the 6 NDV of the unfused path. Memory beyond the gradients:
n V / BLOCK numbers for the masses, n D for dH, and one slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from dftcore.kernels.budget import BLOCK, DEFAULT_ERROR_BUDGET
from dftcore.losses.reference import compute_dtype
from dftcore.losses.routing import Routes, block_count, route

ROWS = 4096  # of one chunk: W is read, and converted, once per chunk
SLICE_ELEMENTS = 1 << 22  # 16 MiB of fp32 logits: about one level-3 cache


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None,
    softcap: float | None,
    temperature: float,
    outputs: Sequence[str],
    error_budget: float | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """hidden [n, D], weight [V, D], targets [n] in range -> logprob [n] with autograd, and detached statistics [n]."""
    budget = DEFAULT_ERROR_BUDGET if error_budget is None else error_budget
    logprob, *statistics = _TokenLogprobs.apply(
        hidden, weight, targets, bias, _Transform(softcap, temperature), tuple(outputs), budget
    )
    return logprob, dict(zip(outputs, statistics, strict=True))


class _Transform:
    """z <- softcap tanh(z / softcap) / temperature, in place, and its derivative."""

    def __init__(self, softcap: float | None, temperature: float) -> None:
        self.softcap, self.temperature = softcap, temperature

    def logits(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None = None) -> Tensor:
        """hidden [n, D], weight [k, D], bias [k] -> [n, k] final logits, all in the compute dtype."""
        z = torch.mm(hidden, weight.T, out=out) if bias is None else torch.addmm(bias, hidden, weight.T, out=out)
        if self.softcap is not None:
            return z.div_(self.softcap).tanh_().mul_(self.softcap / self.temperature)
        return z.mul_(1.0 / self.temperature) if self.temperature != 1.0 else z

    def cap_slope(self, z: Tensor) -> Tensor:
        """d capped / d raw = 1 - tanh^2, from the final logits."""
        assert self.softcap is not None
        return (z * (self.temperature / self.softcap)).square_().neg_().add_(1.0)


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        bias: Tensor | None,
        transform: _Transform,
        outputs: Sequence[str],
        error_budget: float,
    ) -> tuple[Tensor, ...]:
        dtype, rows = compute_dtype(hidden, weight, bias), hidden.shape[0]
        logprob = hidden.new_empty(rows, dtype=dtype)
        lse = torch.empty_like(logprob)
        log_mass = logprob.new_empty(rows, block_count(weight.shape[0]))
        statistics = {name: torch.empty_like(logprob) for name in outputs}
        for chunk in _chunks(rows, ROWS):
            scan = _Scan(hidden[chunk].to(dtype), targets[chunk], log_mass[chunk], transform, outputs)
            for columns in _chunks(weight.shape[0], max(1, SLICE_ELEMENTS // (BLOCK * scan.rows)) * BLOCK):
                scan.add(columns, weight[columns].to(dtype), None if bias is None else bias[columns].to(dtype))
            logprob[chunk], lse[chunk], found = scan.finish()
            for name, values in found.items():
                statistics[name][chunk] = values
        ctx.save_for_backward(hidden, weight, targets, bias, logprob, log_mass.sub_(lse.unsqueeze(-1)), lse)
        ctx.transform, ctx.error_budget = transform, error_budget
        ctx.mark_non_differentiable(*statistics.values())
        return logprob, *statistics.values()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_logprob: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, bias, logprob, log_mass, lse = ctx.saved_tensors
        transform: _Transform = ctx.transform
        grad = grad_logprob / transform.temperature
        routes = route(grad, logprob, log_mass, targets, weight.shape[0], ctx.error_budget)
        need_hidden, need_weight, _targets, need_bias, *_rest = ctx.needs_input_grad
        grads = _Gradients(hidden, weight, bias, lse.dtype, need_hidden, need_weight, need_bias, routes.share)
        for columns, row, hit, hit_column in _blocks(routes, targets, weight.shape[0]):
            grads.begin(columns)
            for part in _chunks(row.shape[0], ROWS):
                chosen = row[part]
                rows = hidden[chosen].to(lse.dtype)
                z = transform.logits(rows, grads.block, grads.block_bias)
                slope = transform.cap_slope(z) if transform.softcap is not None else None
                dz = z.sub_(lse[chosen].unsqueeze(-1)).exp_().neg_()
                inside = (hit >= part.start) & (hit < part.stop) if row.shape[0] > ROWS else slice(None)
                at, column = hit[inside] - part.start, hit_column[inside]
                dz[at, column] = -torch.expm1(logprob[chosen[at]])  # 1 - p without cancellation near p = 1
                dz.mul_(grad[chosen].unsqueeze(-1))
                grads.add(chosen, rows, dz if slope is None else dz.mul_(slope))
            grads.end()
        return *grads.finish(), None, None, None


def _chunks(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


class _Scan:
    """The online softmax of one chunk of rows over slices of the vocabulary."""

    def __init__(
        self, hidden: Tensor, targets: Tensor, log_mass: Tensor, transform: _Transform, outputs: Sequence[str]
    ) -> None:
        self.hidden, self.targets, self.log_mass = hidden, targets, log_mass
        self.transform, self.outputs = transform, outputs
        self.rows = hidden.shape[0]
        self.buffer = hidden.new_empty(0)
        self.target_logit = hidden.new_empty(self.rows)
        self.maxima: list[Tensor] = []  # per slice [rows]: the largest logit but the target's
        self.sums: list[Tensor] = []  # sum of e = exp(z - maximum)
        self.moments: list[tuple[Tensor, Tensor]] = []  # sum of e (z - maximum), sum of e^2

    def add(self, columns: slice, weight: Tensor, bias: Tensor | None) -> None:
        width = columns.stop - columns.start
        if self.buffer.numel() < self.rows * width:
            self.buffer = self.hidden.new_empty(self.rows * width)
        out = self.buffer[: self.rows * width].view(self.rows, width)
        z = self.transform.logits(self.hidden, weight, bias, out=out)
        hit = ((self.targets >= columns.start) & (self.targets < columns.stop)).nonzero().squeeze(-1)
        column = self.targets[hit] - columns.start
        self.target_logit[hit] = z[hit, column]
        slope = self.transform.cap_slope(z) if self.transform.softcap is not None else None
        z[hit, column] = -torch.inf
        maximum = z.amax(-1).clamp_min_(torch.finfo(z.dtype).min)  # finite, were every logit -inf
        z.sub_(maximum.unsqueeze(-1))
        shifted = z.clone() if "entropy" in self.outputs else None
        e = z.exp_()
        if shifted is not None or "sum_p2" in self.outputs:
            first = maximum if shifted is None else shifted.nan_to_num_(neginf=0.0).mul_(e).sum(-1)
            self.moments.append((first, e.square().sum(-1)))
        self.maxima.append(maximum)
        if slope is None:
            sums = _block_sums(e)
            self.sums.append(sums.sum(-1))
        else:
            self.sums.append(e.sum(-1))
            sums = _block_sums(e.mul_(slope))
        start = columns.start // BLOCK
        self.log_mass[:, start : start + sums.shape[1]] = sums.log_().add_(maximum.unsqueeze(-1))

    def finish(self) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """logprob, lse and the statistics, each [rows]; log_mass is complete too."""
        maxima, sums = torch.stack(self.maxima), torch.stack(self.sums)
        top = maxima.amax(0)
        rest = (top - self.target_logit) + (sums * (maxima - top).exp()).sum(0).log()
        logprob = -(rest.clamp_min(0.0) + torch.log1p(torch.exp(-rest.abs())))  # softplus, without its linear cut-off
        lse = self.target_logit - logprob
        found: dict[str, Tensor] = {}
        if self.moments:
            first, square = (torch.stack(moment) for moment in zip(*self.moments, strict=True))
            scale, offset, p = (maxima - lse).exp(), maxima - lse, logprob.exp()
            if "entropy" in self.outputs:
                mixed = scale * (first + sums * offset.nan_to_num(neginf=0.0))
                found["entropy"] = -(mixed.sum(0) + p * logprob.clamp_min(torch.finfo(p.dtype).min))
            if "sum_p2" in self.outputs:
                found["sum_p2"] = (scale.square() * square).sum(0) + p * p
        if "top1" in self.outputs:
            found["top1"] = (self.target_logit >= top).to(lse.dtype)
        return logprob, lse, found


def _block_sums(values: Tensor) -> Tensor:
    """[n, k] -> [n, ceil(k / BLOCK)]."""
    whole = values.shape[1] // BLOCK * BLOCK
    sums = values[:, :whole].unflatten(-1, (-1, BLOCK)).sum(-1)
    return sums if whole == values.shape[1] else torch.cat((sums, values[:, whole:].sum(-1, keepdim=True)), -1)


def _blocks(routes: Routes, targets: Tensor, vocab_size: int) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """For each block: its columns, its rows, and where among them (position, column) a target sits."""
    block, row = routes.keep.T.contiguous().nonzero().unbind(-1)
    at_target = (targets[row] // BLOCK == block).nonzero().squeeze(-1)
    counts = routes.keep.sum(0).tolist()
    hits = torch.bincount(block[at_target], minlength=len(counts)).tolist()
    pairs = zip(row.split(counts), at_target.split(hits), _chunks(vocab_size, BLOCK), strict=True)
    start = 0
    for rows, found, columns in pairs:
        yield columns, rows, found - start, targets[row[found]] - columns.start
        start += rows.shape[0]


class _Gradients:
    """dH, dW and dbias, accumulated in the compute dtype; each block of dW has one owner and is rounded once.

    With `share` [n, B], every column of a dropped block has the logit gradient -share, so its part of dH is
    -share (sum of the block's W), and each of its rows of dW gets -share^T H: two GEMMs of 1/BLOCK of a dense one.
    """

    def __init__(
        self, hidden: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype,
        need_hidden: bool, need_weight: bool, need_bias: bool, share: Tensor | None,
    ) -> None:  # fmt: skip
        self.weight, self.bias, self.share = weight, bias, share
        self.hidden_dtype = hidden.dtype
        self.hidden = hidden.new_zeros(hidden.shape, dtype=dtype) if need_hidden else None
        self.grad_weight = torch.empty_like(weight) if need_weight else None
        self.grad_bias = torch.empty_like(bias) if bias is not None and need_bias else None
        self.dtype = dtype
        self.weight_sums: list[Tensor] = []
        self.spread: Tensor | None = None
        if share is not None and need_weight:
            self.spread = hidden.new_zeros(share.shape[1], hidden.shape[1], dtype=dtype)
            for chunk in _chunks(hidden.shape[0], ROWS):
                self.spread.addmm_(share[chunk].T, hidden[chunk].to(dtype))

    def begin(self, columns: slice) -> None:
        self.columns, self.index = columns, columns.start // BLOCK
        self.block = self.weight[columns].to(self.dtype)
        self.block_bias = None if self.bias is None else self.bias[columns].to(self.dtype)
        if self.hidden is not None and self.share is not None:
            self.weight_sums.append(self.block.sum(0))
        if self.grad_weight is not None:
            self.block_grad = torch.zeros_like(self.block)
        if self.grad_bias is not None:
            self.bias_grad = self.block.new_zeros(self.block.shape[0])

    def add(self, row: Tensor, rows: Tensor, dz: Tensor) -> None:
        """row [m]: indices; rows [m, D]: their hidden states; dz [m, block]: their logit gradient."""
        if self.hidden is not None:
            self.hidden.index_add_(0, row, dz @ self.block)
        if self.grad_weight is not None:
            self.block_grad.addmm_(dz.T, rows)
        if self.grad_bias is not None:
            self.bias_grad += dz.sum(0)

    def end(self) -> None:
        if self.grad_weight is not None:
            if self.spread is not None:
                self.block_grad -= self.spread[self.index]
            self.grad_weight[self.columns] = self.block_grad
        if self.grad_bias is not None:
            if self.share is not None:
                self.bias_grad -= self.share[:, self.index].sum()
            self.grad_bias[self.columns] = self.bias_grad

    def finish(self) -> tuple[Tensor | None, Tensor | None, None, Tensor | None]:
        if self.hidden is not None and self.weight_sums and self.share is not None:
            self.hidden.addmm_(self.share, torch.stack(self.weight_sums), alpha=-1.0)
        grad_hidden = None if self.hidden is None else self.hidden.to(self.hidden_dtype)
        return grad_hidden, self.grad_weight, None, self.grad_bias
