"""Routing, second half: each block's list of rows, in order, and the share of every pair that is dropped.

    kept    : bin > cutoff, or the block holds the row's target -> appended to lists[b], counts[b] of them
    dropped : share[b, i] = SHARE_SCALE g_i / 2^octave mass_ib / |b|     (|b|: columns of the block), 0 where kept

The shares lie like a logit gradient whose columns are the blocks: panels [N, BLOCK] of BLOCK blocks each, by compact
position, so that the kernels that multiply a logit gradient by H and by W multiply the shares too.

One program a block, which walks the rows in order: the lists are sorted, and the same every time.
"""

import triton
import triton.language as tl

from dftcore.kernels.tiles import LOG2E, SHARE_SCALE, mass_bin


@triton.jit
def lists_kernel(
    p_log_mass,  # [blocks, N] fp32, by compact position
    p_rows,  # [N] int32
    p_count,  # [1] int32
    p_target,  # [N] int64
    p_grad,  # [N] fp32: g / 2^octave
    p_offset,  # [N] fp32: log2(|g| / 2^octave) - lse log2(e)
    p_cutoff,  # [1] int32
    p_lists,  # [blocks, N] int32
    p_counts,  # [blocks] int32
    p_share,  # [ceil(blocks / BLOCK), N, BLOCK]
    N,
    V,
    BLOCK: tl.constexpr,
    BINS: tl.constexpr,
    PER_OCTAVE: tl.constexpr,
    BN: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    count = tl.load(p_count)
    cutoff = tl.load(p_cutoff)
    size = tl.minimum(BLOCK, V - i_b * BLOCK).to(tl.float32)
    found = 0
    for start in range(0, count, BN):
        o_n = start + tl.arange(0, BN)
        m_n = o_n < count
        b_row = tl.load(p_rows + o_n, mask=m_n, other=0)
        b_mass = tl.load(p_log_mass + i_b * N + o_n, mask=m_n, other=0.0)
        b_offset = tl.load(p_offset + b_row, mask=m_n, other=0.0)
        b_own = tl.load(p_target + b_row, mask=m_n, other=0) // BLOCK
        m_keep = m_n & ((mass_bin(b_mass, b_offset, BINS, PER_OCTAVE) > cutoff) | (b_own == i_b))
        b_keep = m_keep.to(tl.int32)
        tl.store(p_lists + i_b * N + found + tl.cumsum(b_keep, 0) - 1, b_row, mask=m_keep)
        found += tl.sum(b_keep, 0)
        b_grad = tl.load(p_grad + b_row, mask=m_n, other=0.0)
        b_share = tl.exp2(b_mass * LOG2E + b_offset) * (SHARE_SCALE / size)
        b_share = tl.where(m_keep, 0.0, tl.where(b_grad < 0.0, -b_share, b_share))
        p_panel = p_share + i_b // BLOCK * N * BLOCK + i_b % BLOCK
        tl.store(p_panel + o_n.to(tl.int64) * BLOCK, b_share.to(p_share.dtype.element_ty), mask=m_n)
    tl.store(p_counts + i_b, found)
