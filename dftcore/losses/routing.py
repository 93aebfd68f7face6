"""Which (row, vocabulary block) pairs the backward computes, and what stands in for the rest.

The gradient of a row's logits is g_i (onehot - softmax_i), and a trained model puts almost all of softmax_i into a few
blocks. A block's share of it is its softmax mass, which the forward kept. Pairs are dropped, lightest first, while

    sum over dropped pairs of |g_i| mass_ib  <=  error_budget * sum_i 2 |g_i| (1 - p_i)

where the right-hand sum is the L1 norm of the whole logit gradient. A row's own target block is always kept. A dropped
block is not forgotten: its mass is spread evenly over its columns, which replaces W_v by the block's mean. A block that
nearly every row keeps is computed for all of them: neighbours of that kind make dense slabs, with nothing to gather.

Letters: n valid rows, V vocabulary, B = ceil(V / BLOCK) blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dftcore.kernels.budget import (
    BINS,
    BINS_PER_OCTAVE,
    BLOCK,
    cutoff_bin,
    octave_of,
)

_WHOLE = 0.9  # share of the rows from which on a block is kept for all


@dataclass(frozen=True)
class Routes:
    """keep [n, B] bool: computed exactly. share [n, B]: g mass / block size where dropped, else 0 (None: all kept).

    whole [B] bool, on the CPU: the blocks that all rows keep.
    """

    keep: Tensor
    share: Tensor | None
    whole: Tensor


def route(
    grad: Tensor,
    logprob: Tensor,
    log_mass: Tensor,
    targets: Tensor,
    vocab_size: int,
    error_budget: float,
) -> Routes:
    """grad, logprob and targets [n], log_mass [n, B] (log of the gradient mass in each block) -> the routes."""
    if error_budget == 0.0 or grad.numel() == 0:
        return Routes(torch.ones_like(log_mass, dtype=torch.bool), None, torch.ones(log_mass.shape[1]).bool())
    mass = log_mass.exp() * grad.unsqueeze(-1)
    octave = octave_of(grad)
    place = (mass.abs().log2_() - octave).mul_(BINS_PER_OCTAVE).add_(BINS - 1).ceil_()
    bins = place.nan_to_num_(nan=BINS - 1).clamp_(0, BINS - 1).int()  # what is not finite is kept, and so stays seen
    bins.scatter_(-1, (targets // BLOCK).unsqueeze(-1), BINS)  # above every cutoff
    counts = torch.bincount(bins.flatten(), minlength=BINS + 1)[:BINS]
    allowed = error_budget * 2.0 * (torch.ldexp(grad, -octave) * torch.expm1(logprob)).abs().sum()
    keep = bins > cutoff_bin(counts, allowed)
    whole = keep.sum(0) >= _WHOLE * keep.shape[0]
    keep |= whole
    sizes = torch.full((log_mass.shape[1],), float(BLOCK), dtype=mass.dtype, device=mass.device)
    sizes[-1] = vocab_size - BLOCK * (log_mass.shape[1] - 1)
    return Routes(keep, mass.div_(sizes).masked_fill_(keep, 0.0), whole.cpu())


def block_count(vocab_size: int) -> int:
    return math.ceil(vocab_size / BLOCK)


def slabs(whole: Tensor, widest: int) -> Iterator[tuple[int, int]]:
    """whole [B] -> first and last + 1 of each run of such blocks, no run longer than `widest`."""
    index, marks = 0, whole.tolist()
    while index < len(marks):
        stop = index
        while stop < len(marks) and marks[stop] and stop - index < widest:
            stop += 1
        if stop > index:
            yield index, stop
        index = max(stop, index + 1)


def blocks(keep: Tensor, targets: Tensor, vocab_size: int) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """keep [n, B] -> for each block: its columns, its rows, and where among them (position, column) a target sits."""
    block, row = keep.T.contiguous().nonzero().unbind(-1)
    at_target = (targets[row] // BLOCK == block).nonzero().squeeze(-1)
    counts = keep.sum(0).tolist()
    hits = torch.bincount(block[at_target], minlength=len(counts)).tolist()
    start = 0
    for index, (rows, found) in enumerate(zip(row.split(counts), at_target.split(hits), strict=True)):
        columns = slice(index * BLOCK, min((index + 1) * BLOCK, vocab_size))
        yield columns, rows, found - start, targets[row[found]] - columns.start
        start += rows.shape[0]
