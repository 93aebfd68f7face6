"""Which (row, vocabulary block) pairs the backward computes, and what stands in for the rest.

The gradient of a row's logits is g_i (onehot - softmax_i), and a trained model puts almost all of softmax_i into a few
blocks. A block's share of it is its softmax mass, which the forward kept. Pairs are dropped, lightest first, while

    sum over dropped pairs of |g_i| mass_ib  <=  error_budget * sum_i 2 |g_i| (1 - p_i)

where the right-hand sum is the L1 norm of the whole logit gradient. A row's own target block is always kept. A dropped
block is not forgotten: its mass is spread evenly over its columns, which replaces W_v by the block's mean.

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


@dataclass(frozen=True)
class Routes:
    """keep [n, B] bool: computed exactly. share [n, B]: g mass / block size where dropped, else 0 (None: all kept)."""

    keep: Tensor
    share: Tensor | None


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
        return Routes(torch.ones_like(log_mass, dtype=torch.bool), None)
    mass = log_mass.exp() * grad.unsqueeze(-1)
    octave = octave_of(grad)
    place = (mass.abs().log2_() - octave).mul_(BINS_PER_OCTAVE).add_(BINS - 1).ceil_()
    bins = place.nan_to_num_(nan=BINS - 1).clamp_(0, BINS - 1).int()  # what is not finite is kept, and so stays seen
    bins.scatter_(-1, (targets // BLOCK).unsqueeze(-1), BINS)  # above every cutoff
    counts = torch.bincount(bins.flatten(), minlength=BINS + 1)[:BINS]
    allowed = error_budget * 2.0 * (grad * torch.expm1(logprob)).abs().double().sum() / octave.double().exp2()
    keep = bins > cutoff_bin(counts, allowed)
    sizes = torch.full((log_mass.shape[1],), float(BLOCK), dtype=mass.dtype, device=mass.device)
    sizes[-1] = vocab_size - BLOCK * (log_mass.shape[1] - 1)
    return Routes(keep, mass.div_(sizes).masked_fill_(keep, 0.0))


def block_count(vocab_size: int) -> int:
    return math.ceil(vocab_size / BLOCK)


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
