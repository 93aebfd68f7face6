"""How the relative error budget becomes a cut-off; torch only, no host sync, the same on every back-end.

    sum over dropped pairs of |g_i| mass_ib  <=  error_budget * sum_i 2 |g_i| (1 - p_i)

A pair is one row and one block of BLOCK consecutive vocabulary entries. Pairs are counted in a histogram of
log2(|g| mass / 2^octave), 2^octave being the power of two above the largest |g|; whatever is lighter than the last
bin falls into bin 0. Counts are integers, so the answer does not depend on the order of summation.
"""

import torch
from torch import Tensor

BLOCK = 128
BINS = 512
BINS_PER_OCTAVE = 8
DEFAULT_ERROR_BUDGET = 0.003
_NATURAL = 0.5  # of it where the vocabulary is taken as it lies: what is dropped there differs more from block means
SMALL = 4096  # entries of a vocabulary that is too small for routes to save much


def default_error_budget(vocab_size: int, ordered: bool) -> float:
    """Under which gradients stay below a quarter of the unfused bf16 path's error; ordered: see `order.pays`."""
    if vocab_size < SMALL:
        return 0.0
    return DEFAULT_ERROR_BUDGET if ordered else _NATURAL * DEFAULT_ERROR_BUDGET


def octave_of(grad: Tensor) -> Tensor:
    """0-d: the exponent of the power of two at or above the largest |grad|."""
    largest = grad.abs().amax() if grad.numel() else grad.new_zeros(())
    return largest.clamp_min(torch.finfo(grad.dtype).tiny).log2().ceil()


def cutoff_bin(counts: Tensor, allowed: Tensor) -> Tensor:
    """counts [BINS] of pairs, allowed 0-d in units of 2^octave -> 0-d int32: drop every pair up to this bin (-1: none).

    Each pair counts as the upper edge of its bin, 2^((bin - (BINS - 1)) / BINS_PER_OCTAVE).
    """
    exponents = torch.arange(1 - BINS, 1, device=counts.device, dtype=torch.float32) / BINS_PER_OCTAVE
    heaviest = counts * exponents.exp2() * (1.0 + 2e-4)  # the slack covers fp32 rounding; not all devices have fp64
    # Not cumsum, which use_deterministic_algorithms refuses for floating numbers on a CUDA device.
    dropped = heaviest.expand(BINS, BINS).tril().sum(-1)
    return ((dropped <= allowed).sum() - 1).int()
