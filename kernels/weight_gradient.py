"""Backward, dW and dbias of one group of blocks: each [BV, BD] tile has one owner, summed in registers, written once.

    dW[v, :]  = scale (sum over the block's rows of G[slot, v] h_i  -  spread[b, :] / SHARE_SCALE)
    dbias[v]  = scale (sum over the block's rows of G[slot, v]      -  spread_bias[b] / SHARE_SCALE)

v is the block's column; with ORDER, it is row order[v] of dW that this one goes to.

spread[b] = sum_i share[b, i] h_i comes from this same kernel, applied to the shares, whose columns are the blocks.
"""

import triton
import triton.language as tl

from dftcore.kernels.tiles import SHARE_SCALE


@triton.jit
def weight_gradient_kernel(
    p_g,  # [slots, BV]
    p_hidden,  # [N, D]
    p_lists,  # int32: rows
    p_list_starts,  # [blocks] int64: where the block's rows begin in lists
    p_counts,  # [blocks] int32
    p_slots,  # [blocks] int64: where the block's rows begin in G
    p_group,  # [2] int32: the group's first block, and the next group's
    p_spread,  # [blocks, D] or unused
    p_spread_bias,  # [blocks] or unused
    p_scale,  # [1] fp32: 2^octave
    p_order,  # [V] int32 or unused
    p_out,  # [V, D]
    p_out_bias,  # [V] or unused
    V,
    D,
    stride_hn,
    stride_hd,
    stride_ov,
    stride_od,
    SPREAD: tl.constexpr,
    ORDER: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    BV: tl.constexpr,
    BD: tl.constexpr,
    BR: tl.constexpr,
):
    slices = tl.cdiv(D, BD)
    first = tl.load(p_group)
    scale = tl.load(p_scale)
    for i in range(tl.program_id(0), (tl.load(p_group + 1) - first) * slices, tl.num_programs(0)):
        i_b = tl.cast(first + i // slices, tl.int64)
        count = tl.load(p_counts + i_b)
        slot = tl.load(p_slots + i_b)
        p_list = p_lists + tl.load(p_list_starts + i_b)
        o_v = tl.arange(0, BV)
        o_d = i % slices * BD + tl.arange(0, BD)
        m_d = o_d < D
        b_out = tl.zeros((BV, BD), dtype=tl.float32)
        b_bias = tl.zeros((BV,), dtype=tl.float32)
        for i_r in range(0, count, BR):
            o_r = i_r + tl.arange(0, BR)
            m_r = o_r < count
            b_row = tl.load(p_list + o_r, mask=m_r, other=0).to(tl.int64)
            b_g = tl.load(p_g + (slot + o_r)[None, :] * BV + o_v[:, None], mask=m_r[None, :], other=0.0)
            p_h = p_hidden + b_row[:, None] * stride_hn + (o_d * stride_hd)[None, :]
            b_h = tl.load(p_h, mask=m_r[:, None] & m_d[None, :], other=0.0)
            b_out = tl.dot(b_g, b_h, b_out, input_precision="ieee")
            if HAS_BIAS:
                b_bias += tl.sum(b_g.to(tl.float32), 1)
        if SPREAD:
            b_spread = tl.load(p_spread + i_b * D + o_d, mask=m_d, other=0.0).to(tl.float32)
            b_out -= b_spread[None, :] * (1.0 / SHARE_SCALE)
        o_row = i_b * BV + o_v
        m_row = o_row < V
        if ORDER:
            o_row = tl.load(p_order + o_row, mask=m_row, other=0).to(tl.int64)
        p_tile = p_out + o_row[:, None] * stride_ov + (o_d * stride_od)[None, :]
        m_tile = m_row[:, None] & m_d[None, :]
        tl.store(p_tile, (b_out * scale).to(p_out.dtype.element_ty), mask=m_tile)
        if HAS_BIAS:
            if SPREAD:
                b_bias -= tl.load(p_spread_bias + i_b).to(tl.float32) * (1.0 / SHARE_SCALE)
            if i % slices == 0:
                tl.store(p_out_bias + o_row, (b_bias * scale).to(p_out_bias.dtype.element_ty), mask=m_row)
