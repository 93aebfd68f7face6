"""Backward, dH of one group of blocks, scattered to the listed rows in fixed point, three numbers to a word.

    dH_fixed[i, d] += round(sum_v G[slot, v] W_vd / unit_id)       v in the slot's block

    word j of a row holds columns j, j + words and j + 2 words as f0 + f1 2^21 + f2 2^42

Different blocks add to the same row in any order; integer addition makes the sum the same every time. The unit comes
from |dH_id| <= row_bound_i column_bound_d: row_bound = 2 |g_i| (1 - p_i) >= sum_v |G_iv|, column_bound = max_v |W_vd|,
so that no sum leaves its field. A unit is 2^-19 of the bound: a field holds twice that, for the rounding of each block
and for logits that come out a little larger than in the forward, as those of other tile shapes can.
"""

import triton
import triton.language as tl

from dftcore.kernels.tiles import FIELD_BITS, FIELD_ONE, bound, to_field


@triton.jit
def scatter_product(
    b_g,  # [BM, BV], used if BK is BV
    p_g,  # [BM] pointers to rows of G, used if it is less
    m_m,
    p_weight,
    p_order,
    i_b,
    b_row_scale,  # [BM] fp32
    p_column_bound,  # [D] fp32
    o_d,  # [BD]
    m_d,
    V,
    stride_wv,
    stride_wd,
    BV: tl.constexpr,
    BK: tl.constexpr,
    BM: tl.constexpr,
    BD: tl.constexpr,
):
    """sum_v G W_v in units, [BM, BD] int64."""
    b_out = tl.zeros((BM, BD), dtype=tl.float32)
    for i_k in range(0, BV, BK):
        o_k = i_k + tl.arange(0, BK)
        b_part = b_g
        if BK < BV:
            b_part = tl.load(p_g[:, None] + o_k[None, :], mask=m_m[:, None], other=0.0)
        o_v = tl.load(p_order + tl.minimum(i_b * BV + o_k, V - 1)).to(tl.int64)  # G is 0 in the columns past the end
        p_w = p_weight + o_v[:, None] * stride_wv + (o_d * stride_wd)[None, :]
        b_out = tl.dot(b_part, tl.load(p_w, mask=m_d[None, :], other=0.0), b_out, input_precision="ieee")
    b_column_scale = 1.0 / bound(tl.load(p_column_bound + o_d, mask=m_d, other=1.0))
    return to_field(b_out * b_column_scale[None, :] * b_row_scale[:, None])  # in this order nothing overflows


@triton.jit
def hidden_scatter_kernel(
    p_g,  # [slots, BV]
    p_weight,  # [V, D]
    p_order,  # [V] int32: which row of W lies at a column
    p_lists,  # int32: rows
    p_list_starts,  # [blocks] int64
    p_counts,  # [blocks] int32
    p_slots,  # [blocks] int64
    p_tile_block,  # [tiles] int32
    p_tile_start,  # [blocks] int32
    p_group,  # [2] int32: the group's first tile, and the next group's
    p_row_bound,  # [N] fp32
    p_column_bound,  # [D] fp32
    p_fixed,  # [N, words] int64
    V,
    D,
    words,  # at least D / 3
    stride_wv,
    stride_wd,
    BM: tl.constexpr,
    BV: tl.constexpr,
    BK: tl.constexpr,  # BV: G stays on chip for all slices; less where that is too much for fp32
    BD: tl.constexpr,
    SLICES: tl.constexpr,  # of BD words, which one program does one after the other with the same G
):
    first = tl.load(p_group)
    tiles = tl.load(p_group + 1) - first
    for i in range(tl.program_id(0), tiles * tl.cdiv(words, SLICES * BD), tl.num_programs(0)):
        i_t = first + i % tiles  # part by part, so that the words being added to stay in level-2 cache
        i_b = tl.load(p_tile_block + i_t).to(tl.int64)
        o_m = (i_t - tl.load(p_tile_start + i_b)) * BM + tl.arange(0, BM)
        m_m = o_m < tl.load(p_counts + i_b)
        b_row = tl.load(p_lists + tl.load(p_list_starts + i_b) + o_m, mask=m_m, other=0).to(tl.int64)
        p_rows = p_g + (tl.load(p_slots + i_b) + o_m) * BV
        b_g = tl.load(p_rows[:, None] + tl.arange(0, BV)[None, :], mask=m_m[:, None], other=0.0) if BK == BV else 0.0
        b_scale = 1.0 / bound(tl.load(p_row_bound + b_row)) * FIELD_ONE
        start = i // tiles * (SLICES * BD)
        for i_w in range(start, tl.minimum(start + SLICES * BD, words), BD):
            o_w = i_w + tl.arange(0, BD)
            m_w = o_w < words
            o_1, o_2 = o_w + words, o_w + 2 * words
            b_0 = scatter_product(
                b_g, p_rows, m_m, p_weight, p_order, i_b, b_scale, p_column_bound, o_w, m_w & (o_w < D), V,
                stride_wv, stride_wd, BV, BK, BM, BD,
            )  # fmt: skip
            b_1 = scatter_product(
                b_g, p_rows, m_m, p_weight, p_order, i_b, b_scale, p_column_bound, o_1, m_w & (o_1 < D), V,
                stride_wv, stride_wd, BV, BK, BM, BD,
            )  # fmt: skip
            b_2 = scatter_product(
                b_g, p_rows, m_m, p_weight, p_order, i_b, b_scale, p_column_bound, o_2, m_w & (o_2 < D), V,
                stride_wv, stride_wd, BV, BK, BM, BD,
            )  # fmt: skip
            b_word = b_0 + (b_1 << FIELD_BITS) + (b_2 << (2 * FIELD_BITS))
            p_out = p_fixed + b_row[:, None] * words + o_w[None, :]
            tl.atomic_add(p_out, b_word, mask=m_m[:, None] & m_w[None, :], sem="relaxed")
