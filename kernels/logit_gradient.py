"""Backward, first step: the logit gradients of one group of blocks, at their listed rows only.

    G[slot, v] = g_i (1[v = y_i] - softmax_iv) (1 - tanh^2)      in units of 2^octave; i the slot's row, v in its block

The logits are recomputed; the difference is formed in fp32 and rounded once, on storing. At the target 1 - softmax is
from the saved log-probability. A tile is BM consecutive entries of one block's list; the group's tiles are known on the
device only, and the programs, a fixed number of them, walk these.
"""

import triton
import triton.language as tl

from dftcore.kernels.tiles import LOG2E, cap_slope, capped, logits_tile


@triton.jit
def logit_gradient_kernel(
    p_hidden,  # [N, D]
    p_weight,  # [V, D]
    p_bias,  # [V] or unused
    p_order,  # [V] int32 or unused
    p_target,  # [N] int64: columns, that is places in the order
    p_grad,  # [N] fp32: g / 2^octave / temperature
    p_rest,  # [N] fp32: 1 - p
    p_lse,  # [N] fp32, in units of ln 2
    p_lists,  # int32: rows
    p_list_starts,  # [blocks] int64: where the block's rows begin in lists
    p_counts,  # [blocks] int32
    p_slots,  # [blocks] int64: where the block's rows begin in G
    p_tile_block,  # [tiles] int32
    p_tile_start,  # [blocks] int32: the block's first tile
    p_group,  # [2] int32: the group's first tile, and the next group's
    p_g,  # [slots, BV]
    V,
    D,
    stride_hn,
    stride_hd,
    stride_wv,
    stride_wd,
    softcap,
    inv_temperature,
    HAS_BIAS: tl.constexpr,
    SOFTCAP: tl.constexpr,
    ORDER: tl.constexpr,
    EVEN_D: tl.constexpr,
    BM: tl.constexpr,
    BV: tl.constexpr,
    BK: tl.constexpr,
):
    end = tl.load(p_group + 1)
    for i_t in range(tl.load(p_group) + tl.program_id(0), end, tl.num_programs(0)):
        i_b = tl.load(p_tile_block + i_t).to(tl.int64)
        o_m = (i_t - tl.load(p_tile_start + i_b)) * BM + tl.arange(0, BM)
        m_m = o_m < tl.load(p_counts + i_b)
        b_row = tl.load(p_lists + tl.load(p_list_starts + i_b) + o_m, mask=m_m, other=0).to(tl.int64)
        o_v = i_b * BV + tl.arange(0, BV)
        o_in = tl.minimum(o_v, V - 1)
        o_in = tl.load(p_order + o_in).to(tl.int64) if ORDER else o_in
        b_z = logits_tile(
            p_hidden + b_row * stride_hn, p_weight + o_in * stride_wv, D, stride_hd, stride_wd,
            BM, BV, BK, EVEN_D,
        )  # fmt: skip
        b_bias = tl.load(p_bias + o_in).to(tl.float32) if HAS_BIAS else 0.0
        b_z = capped(b_z, b_bias, softcap, HAS_BIAS, SOFTCAP)

        b_grad = tl.load(p_grad + b_row)
        b_s = tl.exp2(b_z * (inv_temperature * LOG2E) - tl.load(p_lse + b_row)[:, None])
        m_target = o_v[None, :] == tl.load(p_target + b_row)[:, None]
        b_g = tl.where(m_target, tl.load(p_rest + b_row)[:, None], -b_s) * b_grad[:, None]
        if SOFTCAP:
            b_g *= cap_slope(b_z, softcap)
        b_g = tl.where((o_v < V)[None, :], b_g, 0.0)
        p_out = p_g + (tl.load(p_slots + i_b) + o_m)[:, None] * BV + tl.arange(0, BV)[None, :]
        tl.store(p_out, b_g.to(p_g.dtype.element_ty), mask=m_m[:, None])
