"""What the routed backward needs of the weights alone, in one pass over them.

    sums[b, :]   = sum of the block's rows of W                        in W's type
    largest[d]   = max_v |W_vd|                                        as the bits of an fp32; must start at 0

Bits of floats that are not negative are in the floats' own order, so an integer maximum serves.
"""

import triton
import triton.language as tl


@triton.jit
def block_sums_kernel(
    p_weight,  # [V, D]
    p_order,  # [V] int32: which row of W lies at a column
    p_sums,  # [blocks, D]
    p_largest,  # [D] int32
    V,
    D,
    stride_wv,
    stride_wd,
    BLOCK: tl.constexpr,
    BD: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_v = i_b * BLOCK + tl.arange(0, BLOCK)
    o_d = tl.program_id(1) * BD + tl.arange(0, BD)
    m_d = o_d < D
    m_v = o_v < V
    o_row = tl.load(p_order + o_v, mask=m_v, other=0).to(tl.int64)
    p_w = p_weight + o_row[:, None] * stride_wv + (o_d * stride_wd)[None, :]
    b_w = tl.load(p_w, mask=m_v[:, None] & m_d[None, :], other=0.0).to(tl.float32)
    tl.store(p_sums + i_b * D + o_d, tl.sum(b_w, 0).to(p_sums.dtype.element_ty), mask=m_d)
    b_largest = tl.max(tl.abs(b_w), 0)
    tl.atomic_max(p_largest + o_d, b_largest.to(tl.int32, bitcast=True), mask=m_d, sem="relaxed")
