"""Routing, first step: how many (row, block) pairs fall into each bin of log2(|g| mass); see `budget`.

counts [BINS] int32 must start at 0. A row's own target block is always kept and not counted. Integer atomics: the
result does not depend on their order.
"""

import triton
import triton.language as tl


@triton.jit
def histogram_kernel(
    p_log_mass,  # [blocks, N] fp16, by compact position
    p_rows,  # [N] int32
    p_count,  # [1] int32
    p_target,  # [N] int64
    p_offset,  # [N] fp32: log2(|g| / 2^octave) - lse
    p_counts,  # [BINS] int32
    N,
    blocks,
    BLOCK: tl.constexpr,
    BINS: tl.constexpr,
    PER_OCTAVE: tl.constexpr,
    BN: tl.constexpr,
    PER_PROGRAM: tl.constexpr,  # blocks a program walks
):
    o_n = tl.program_id(0) * BN + tl.arange(0, BN)
    count = tl.load(p_count)
    if tl.program_id(0) * BN >= count:
        return
    m_n = o_n < count
    b_row = tl.load(p_rows + o_n, mask=m_n, other=0)
    b_offset = tl.load(p_offset + b_row, mask=m_n, other=0.0)
    b_own = tl.load(p_target + b_row, mask=m_n, other=0) // BLOCK
    first = tl.program_id(1) * PER_PROGRAM
    b_counts = tl.zeros((BINS,), tl.int32)
    for i_b in range(first, tl.minimum(first + PER_PROGRAM, blocks)):
        m_pair = m_n & (b_own != i_b)
        b_mass = tl.load(p_log_mass + tl.cast(i_b, tl.int64) * N + o_n, mask=m_n, other=0.0).to(tl.float32)
        b_bin = tl.ceil((b_mass + b_offset) * PER_OCTAVE + (BINS - 1))
        b_bin = tl.minimum(tl.maximum(b_bin, 0.0), BINS - 1.0).to(tl.int32)
        # What is not to be counted goes to bin 0, and is taken off it again: histogram's own mask is too recent.
        b_counts += tl.histogram(tl.where(m_pair, b_bin, 0), BINS)
        b_counts -= tl.where(tl.arange(0, BINS) == 0, tl.sum((~m_pair).to(tl.int32), 0), 0)
    tl.atomic_add(p_counts + tl.arange(0, BINS), b_counts, sem="relaxed")
