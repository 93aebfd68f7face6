"""Backward, dH where every row has every block: one owner per [BM, BD] tile walks the blocks in order.

    ADD   : dH[i, :] += scale sum over the group's blocks b, v in b of G[slot_b + position, v] W_v         (exact mode)
    FINISH: dH[i, :]  = scale (fixed[i, :] unit_i - that sum / SHARE_SCALE)                               (routed mode)

In FINISH, G holds the shares and W the sums of the blocks' rows, so that the sum is what stands in for dropped pairs.
Rows are the valid tokens; dH elsewhere is left as it was.
"""

import triton
import triton.language as tl

from dftcore.kernels.tiles import SHARE_SCALE, fixed_unit


@triton.jit
def hidden_gradient_kernel(
    p_g,  # [slots, BV]
    p_weight,  # [V, D]
    p_rows,  # [N] int32
    p_count,  # [1] int32
    p_slots,  # [blocks] int64
    p_group,  # [2] int32: the group's first block, and the next group's
    p_row_bound,  # [N] fp32 or unused
    p_column_bound,  # [D] fp32 or unused
    p_fixed,  # [N, D] int32 or unused
    p_scale,  # [1] fp32: 2^octave
    p_out,  # [N, D]
    V,
    D,
    stride_wv,
    stride_wd,
    FINISH: tl.constexpr,
    BM: tl.constexpr,
    BV: tl.constexpr,
    BK: tl.constexpr,
    BD: tl.constexpr,
):
    slices = tl.cdiv(D, BD)
    o_m = tl.program_id(0) // slices * BM + tl.arange(0, BM)
    o_d = tl.program_id(0) % slices * BD + tl.arange(0, BD)
    count = tl.load(p_count)
    if tl.program_id(0) // slices * BM >= count:
        return
    m_m, m_d = o_m < count, o_d < D
    m_tile = m_m[:, None] & m_d[None, :]
    b_row = tl.load(p_rows + o_m, mask=m_m, other=0).to(tl.int64)
    b_out = tl.zeros((BM, BD), dtype=tl.float32)
    for i in range(tl.load(p_group) * (BV // BK), tl.load(p_group + 1) * (BV // BK)):
        i_b = tl.cast(i // (BV // BK), tl.int64)
        o_k = i % (BV // BK) * BK + tl.arange(0, BK)
        p_panel = p_g + (tl.load(p_slots + i_b) + o_m)[:, None] * BV
        b_g = tl.load(p_panel + o_k[None, :], mask=m_m[:, None], other=0.0)
        o_v = tl.minimum(i_b * BV + o_k, V - 1)  # G is 0 in the columns past the end
        p_w = p_weight + o_v[:, None] * stride_wv + (o_d * stride_wd)[None, :]
        b_out = tl.dot(b_g, tl.load(p_w, mask=m_d[None, :], other=0.0), b_out, input_precision="ieee")
    scale = tl.load(p_scale)
    p_tile = p_out + b_row[:, None] * D + o_d[None, :]
    if FINISH:
        b_bound = tl.load(p_row_bound + b_row)
        b_unit = fixed_unit(b_bound, tl.load(p_column_bound + o_d, mask=m_d, other=0.0))
        b_fixed = tl.load(p_fixed + b_row[:, None] * D + o_d[None, :], mask=m_tile, other=0)
        b_out = b_fixed.to(tl.float32) * b_unit - b_out / SHARE_SCALE
        tl.store(p_tile, (b_out * scale).to(p_out.dtype.element_ty), mask=m_tile)
    else:
        tl.store(p_tile, tl.load(p_tile, mask=m_tile, other=0.0) + b_out * scale, mask=m_tile)
