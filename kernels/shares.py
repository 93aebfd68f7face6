"""Routing, second step: how many rows each block keeps, and the share of every pair that is dropped.

    kept    : counts[b] of them                                             if COUNT; counts must start at 0
    dropped : share[b, i] = SHARE_SCALE g_i / 2^octave mass_ib / |b|        (|b|: columns of the block), 0 where kept

The shares lie like a logit gradient whose columns are the blocks: panels [N, BLOCK] of BLOCK blocks each, by compact
position, so that the kernels that multiply a logit gradient by H and by W multiply the shares too.
"""

import triton
import triton.language as tl

from dftcore.kernels.tiles import MASS_SLACK, SHARE_SCALE, kept


@triton.jit
def shares_kernel(
    p_log_mass,  # [blocks, N] fp16, by compact position
    p_rows,  # [N] int32
    p_count,  # [1] int32
    p_target,  # [N] int64
    p_grad,  # [N] fp32: g / 2^octave
    p_offset,  # [N] fp32: log2(|g| / 2^octave) - lse
    p_cut,  # [1] fp32
    p_counts,  # [blocks] int32
    p_share,  # [ceil(blocks / BLOCK), N, BLOCK]
    N,
    V,
    blocks,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
    BN: tl.constexpr,
):
    o_n = tl.program_id(0) * BN + tl.arange(0, BN)
    i_panel = tl.program_id(1)
    o_b = i_panel * BLOCK + tl.arange(0, BLOCK)
    count = tl.load(p_count)
    if tl.program_id(0) * BN >= count:
        return
    m_n, m_b = o_n < count, o_b < blocks
    m_pair = m_n[:, None] & m_b[None, :]
    b_row = tl.load(p_rows + o_n, mask=m_n, other=0)
    b_offset = tl.load(p_offset + b_row, mask=m_n, other=0.0)
    b_own = tl.load(p_target + b_row, mask=m_n, other=0) // BLOCK
    b_grad = tl.load(p_grad + b_row, mask=m_n, other=0.0)
    p_mass = p_log_mass + o_b.to(tl.int64)[None, :] * N + o_n[:, None]
    b_mass = tl.load(p_mass, mask=m_pair, other=0.0).to(tl.float32)
    m_keep = m_pair & kept(b_mass + b_offset[:, None], tl.load(p_cut), b_own[:, None], o_b[None, :])
    if COUNT:
        tl.atomic_add(p_counts + o_b, tl.sum(m_keep.to(tl.int32), 0), mask=m_b, sem="relaxed")
    b_unit = 1.0 / tl.minimum(V - o_b * BLOCK, BLOCK).to(tl.float32) * SHARE_SCALE
    b_likely = b_mass - tl.abs(b_mass) * MASS_SLACK  # without the slack, to first order
    b_share = tl.exp2(b_likely + b_offset[:, None]) * b_unit[None, :]
    b_share = tl.where(m_keep | ~m_pair, 0.0, tl.where(b_grad[:, None] < 0.0, -b_share, b_share))
    p_out = p_share + (tl.cast(i_panel, tl.int64) * N + o_n)[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    tl.store(p_out, b_share.to(p_share.dtype.element_ty), mask=m_n[:, None])
