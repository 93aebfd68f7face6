"""The forward of the torch back-end: an online softmax over slices of the vocabulary that stay in cache.

    logprob_i = -softplus(log sum_{v != y} e^{z_iv} - z_iy)        accurate for p near 1: the sum leaves the target out

A slice of logits is [rows, SLICE_ELEMENTS / max(rows, D)]. What is kept of it is one maximum and one sum a row, and the
log of each block's mass: 1 / BLOCK of the logits; of a small problem the softmax itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dftcore.kernels.budget import BLOCK
from dftcore.losses.vocabulary import Vocabulary

ROWS = 4096  # of one chunk: W is read, and converted, once per chunk
SLICE_ELEMENTS = 1 << 22  # 16 MiB of fp32 logits: about one level-3 cache
HELD_ELEMENTS = SLICE_ELEMENTS  # a softmax of up to so many elements is kept for the backward


def chunks(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def slice_width(rows: int, dim: int) -> int:
    """Columns, in whole blocks, that fill a slice: of `rows` rows of logits, or of as many rows of W in fp32."""
    return max(1, SLICE_ELEMENTS // (BLOCK * max(rows, dim))) * BLOCK


def log_probability(rest: Tensor) -> Tensor:
    """-softplus(rest), without softplus's linear cut-off; rest = log sum_{v != y} e^{z_v} - z_y."""
    return -(rest.clamp_min(0.0) + torch.log1p(torch.exp(-rest.abs())))


class Transform:
    """z <- softcap tanh(z / softcap) / temperature, in place, and its derivative."""

    def __init__(self, softcap: float | None, temperature: float) -> None:
        self.softcap, self.temperature = softcap, temperature

    def logits(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None = None) -> Tensor:
        """hidden [n, D], weight [k, D], bias [k] -> [n, k] final logits, all in the compute dtype."""
        z = torch.mm(hidden, weight.T, out=out) if bias is None else torch.addmm(bias, hidden, weight.T, out=out)
        return self.finish(z)

    def finish(self, z: Tensor) -> Tensor:
        if self.softcap is not None:
            return z.div_(self.softcap).tanh_().mul_(self.softcap / self.temperature)
        return z.mul_(1.0 / self.temperature) if self.temperature != 1.0 else z

    def cap_slope(self, z: Tensor) -> Tensor:
        """d capped / d raw = 1 - tanh^2, from the final logits."""
        assert self.softcap is not None
        return (z * (self.temperature / self.softcap)).square_().neg_().add_(1.0)


class Scan:
    """The online softmax of one chunk of rows; `add` takes each slice of final logits in turn and overwrites it.

    targets [n] int64: their columns; log_mass [n, B], whose dtype is that of the arithmetic, receives the mass of each
    block, targets left out.
    """

    def __init__(self, targets: Tensor, log_mass: Tensor, transform: Transform, outputs: Sequence[str]) -> None:
        self.targets, self.log_mass = targets, log_mass
        self.transform, self.outputs = transform, outputs
        self.target_logit = log_mass.new_empty(targets.shape)
        self.maxima: list[Tensor] = []  # per slice [rows]: the largest logit but the target's
        self.sums: list[Tensor] = []  # sum of e = exp(z - maximum)
        self.moments: list[tuple[Tensor, Tensor]] = []  # sum of e (z - maximum), sum of e^2

    def add(self, columns: slice, z: Tensor) -> None:
        """z [n, columns]"""
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
        logprob = log_probability(rest)
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


def scan_exactly(
    hidden: Tensor,
    vocabulary: Vocabulary,
    targets: Tensor,
    transform: Transform,
    log_mass: Tensor,
    outputs: Sequence[str],
    softmax: Tensor | None = None,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """hidden [n, D], targets [n]: their columns -> logprob, lse, statistics [n]; fills log_mass [n, B].

    softmax [n, V], without a soft-cap: if given, filled too, with 0 at the targets.
    """
    dtype, rows = log_mass.dtype, hidden.shape[0]
    hidden, scan = hidden.to(dtype), Scan(targets, log_mass, transform, outputs)
    slices = list(chunks(len(vocabulary), slice_width(*hidden.shape)))
    buffer = log_mass.new_empty(rows * slices[0].stop if softmax is None else 0)
    for columns in slices:
        size = columns.stop - columns.start
        out = buffer[: rows * size].view(rows, size) if softmax is None else softmax[:, columns]
        weight, bias = vocabulary.rows(columns).to(dtype), vocabulary.biases(columns, dtype)
        scan.add(columns, transform.logits(hidden, weight, bias, out))
    logprob, lse, found = scan.finish()
    if softmax is not None:
        for columns, maximum in zip(slices, scan.maxima, strict=True):
            softmax[:, columns].mul_((maximum - lse).exp_().unsqueeze(-1))
    return logprob, lse, found


def _block_sums(values: Tensor) -> Tensor:
    """[n, k] -> [n, ceil(k / BLOCK)]."""
    whole = values.shape[1] // BLOCK * BLOCK
    sums = values[:, :whole].unflatten(-1, (-1, BLOCK)).sum(-1)
    return sums if whole == values.shape[1] else torch.cat((sums, values[:, whole:].sum(-1, keepdim=True)), -1)
