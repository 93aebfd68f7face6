"""Backward, dH of one group of blocks, scattered to the listed rows in fixed point.

    dH_fixed[i, :] += round(sum_v G[slot, v] W_v / unit_i)         v in the slot's block

Different blocks add to the same row in any order; integer addition makes the sum the same every time. The unit comes
from |dH_id| <= row_bound_i column_bound_d: row_bound = 2 |g_i| (1 - p_i) >= sum_v |G_iv|, column_bound = max_v |W_vd|,
so that nothing overflows, in part or in whole, and one step is 2^-30 of the bound.
"""

import triton
import triton.language as tl

from dftcore.kernels.tiles import fixed_unit


@triton.jit
def hidden_scatter_kernel(
    p_g,  # [slots, BV]
    p_weight,  # [V, D]
    p_lists,  # [blocks, N] int32
    list_stride,
    p_counts,  # [blocks] int32
    p_slots,  # [blocks] int64
    p_tile_block,  # [tiles] int32
    p_tile_start,  # [blocks] int32
    p_group,  # [2] int32: the group's first tile, and the next group's
    p_row_bound,  # [N] fp32
    p_column_bound,  # [D] fp32
    p_fixed,  # [N, D] int32
    V,
    D,
    stride_wv,
    stride_wd,
    BM: tl.constexpr,
    BV: tl.constexpr,
    BK: tl.constexpr,
    BD: tl.constexpr,
):
    first = tl.load(p_group)
    tiles = tl.load(p_group + 1) - first
    for i in range(tl.program_id(0), tiles * tl.cdiv(D, BD), tl.num_programs(0)):
        i_t = first + i % tiles  # slice by slice, so that the rows being added to stay in level-2 cache
        o_d = i // tiles * BD + tl.arange(0, BD)
        m_d = o_d < D
        i_b = tl.load(p_tile_block + i_t).to(tl.int64)
        o_m = (i_t - tl.load(p_tile_start + i_b)) * BM + tl.arange(0, BM)
        m_m = o_m < tl.load(p_counts + i_b)
        b_row = tl.load(p_lists + i_b * list_stride + o_m, mask=m_m, other=0).to(tl.int64)
        slot = tl.load(p_slots + i_b)
        b_out = tl.zeros((BM, BD), dtype=tl.float32)
        for i_k in range(0, BV, BK):
            o_k = i_k + tl.arange(0, BK)
            b_g = tl.load(p_g + (slot + o_m)[:, None] * BV + o_k[None, :], mask=m_m[:, None], other=0.0)
            o_v = tl.minimum(i_b * BV + o_k, V - 1)  # G is 0 in the columns past the end
            p_w = p_weight + o_v[:, None] * stride_wv + (o_d * stride_wd)[None, :]
            b_out = tl.dot(b_g, tl.load(p_w, mask=m_d[None, :], other=0.0), b_out, input_precision="ieee")
        b_bound = tl.load(p_row_bound + b_row)
        b_unit = fixed_unit(b_bound, tl.load(p_column_bound + o_d, mask=m_d, other=0.0))
        b_fixed = tl.floor(b_out / b_unit + 0.5).to(tl.int32)
        p_out = p_fixed + b_row[:, None] * D + o_d[None, :]
        tl.atomic_add(p_out, b_fixed, mask=m_m[:, None] & m_d[None, :], sem="relaxed")
