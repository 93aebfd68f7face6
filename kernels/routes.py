"""Host side of the routing: which pairs are computed, decided on the device from the error budget.

cut    = cut_of(...)            histogram
shares = shares_of(..., counts) shares
"""

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from dftcore.kernels.budget import BINS, BINS_PER_OCTAVE, BLOCK, cutoff_bin, octave_of
from dftcore.kernels.histogram import histogram_kernel
from dftcore.kernels.launch import Head, Scan
from dftcore.kernels.plan import panel_count
from dftcore.kernels.shares import shares_kernel


@dataclass(frozen=True)
class Upstream:
    """What reaches the logits, [N] fp32 in units of scale [1] = 2^octave: grad = g / temperature, rest = 1 - p.

    offset = log2 |grad| - lse: added to a log mass it gives log2(|grad| mass).
    """

    grad: Tensor
    rest: Tensor
    offset: Tensor
    scale: Tensor


def upstream(head: Head, found: Scan, grad_logprob: Tensor, ignore_index: int) -> Upstream:
    grad = torch.where(head.targets != ignore_index, grad_logprob.float(), 0.0) / head.temperature
    octave = octave_of(grad)
    grad = grad * (-octave).exp2()
    return Upstream(grad, -torch.expm1(found.logprob), grad.abs().log2() - found.lse, octave.exp2().reshape(1))


def cut_of(head: Head, found: Scan, up: Upstream, error_budget: float) -> Tensor:
    """[1] fp32: pairs of log2(|grad| mass) up to here are dropped."""
    rows, chosen = head.hidden.shape[0], head.tiles("histogram")
    counts = torch.zeros(BINS, dtype=torch.int32, device=head.hidden.device)
    grid = (triton.cdiv(rows, chosen.constexprs["BN"]), triton.cdiv(head.blocks, chosen.constexprs["PER_PROGRAM"]))
    with head.on_device():
        histogram_kernel[grid](
            found.log_mass, found.rows, found.count, head.targets, up.offset, counts, rows, head.blocks,
            BLOCK=BLOCK, BINS=BINS, PER_OCTAVE=BINS_PER_OCTAVE, **chosen.launch,
        )  # fmt: skip
    allowed = error_budget * 2.0 * (up.grad * up.rest).abs().sum()
    cutoff = cutoff_bin(counts, allowed)
    edge = (cutoff - (BINS - 1)).float() / BINS_PER_OCTAVE
    return torch.where(cutoff < 0, -torch.inf, edge).reshape(1)


def shares_of(head: Head, found: Scan, up: Upstream, cut: Tensor, counts: Tensor | None = None) -> Tensor:
    """Shares [panels, N, BLOCK] in the inputs' type; adds to `counts` [blocks] int32 how many rows each block keeps."""
    rows, panels, chosen = head.hidden.shape[0], panel_count(head.blocks), head.tiles("shares")
    shares = torch.empty(panels, rows, BLOCK, dtype=head.hidden.dtype, device=head.hidden.device)
    with head.on_device():
        shares_kernel[(triton.cdiv(rows, chosen.constexprs["BN"]), panels)](
            found.log_mass, found.rows, found.count, head.targets, up.grad, up.offset, cut,
            found.count if counts is None else counts, shares, rows, head.weight.shape[0], head.blocks,
            COUNT=counts is not None, BLOCK=BLOCK, **chosen.launch,
        )  # fmt: skip
    return shares
