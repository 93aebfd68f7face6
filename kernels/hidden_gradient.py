"""Backward, dH where every row has every block: one owner per [BM, BD] tile walks the blocks in order.

    ADD   : dH[i, :] += sum over the group's blocks b, v in b of G[b, position, v] W_v, times scale if LAST
    FINISH: dH[i, :]  = scale (fixed[i, :] unit_i - that sum / SHARE_SCALE)

ADD is the exact mode's. It keeps the running sum of half-precision inputs in two numbers of their type, dH itself and
what that rounds off, together as good as 17 (bf16) or 22 bits; with fp32 it is dH alone.
FINISH is the routed mode's: G holds the shares and W the sums of the blocks' rows, so that the sum is what stands in
for dropped pairs. Rows are the valid tokens; dH elsewhere is left as it was.
"""

import triton
import triton.language as tl

from dftcore.kernels.tiles import FIELD_ONE, SHARE_SCALE, bound, from_field


@triton.jit
def hidden_gradient_kernel(
    p_g,  # [slots, BV]
    p_weight,  # [V, D]
    p_rows,  # [N] int32
    p_count,  # [1] int32
    p_group,  # [2] int32: the group's first block, and the next group's
    p_row_bound,  # [N] fp32 or unused
    p_column_bound,  # [D] fp32 or unused
    p_fixed,  # [N, words] int64 or unused
    p_scale,  # [1] fp32: 2^octave
    p_out,  # [N, D]
    p_low,  # [N, D] or unused
    V,
    D,
    panel,  # rows of G that a panel of the shares takes, in FINISH
    words,
    stride_wv,
    stride_wd,
    FINISH: tl.constexpr,
    LOW: tl.constexpr,
    LAST: tl.constexpr,
    BM: tl.constexpr,
    BV: tl.constexpr,
    BK: tl.constexpr,
    BD: tl.constexpr,
):
    slices = tl.cdiv(D, BD)
    o_m = tl.program_id(0) // slices * BM + tl.arange(0, BM)
    o_d = tl.program_id(0) % slices * BD + tl.arange(0, BD)
    count = tl.load(p_count)
    first, end = tl.load(p_group), tl.load(p_group + 1)
    if tl.program_id(0) // slices * BM >= count:
        return
    if not LAST and first == end:
        return
    m_m, m_d = o_m < count, o_d < D
    m_tile = m_m[:, None] & m_d[None, :]
    b_row = tl.load(p_rows + o_m, mask=m_m, other=0).to(tl.int64)
    per_block = panel if FINISH else count
    b_out = tl.zeros((BM, BD), dtype=tl.float32)
    for i in range(first * (BV // BK), end * (BV // BK)):
        i_b = tl.cast(i // (BV // BK), tl.int64)
        o_k = i % (BV // BK) * BK + tl.arange(0, BK)
        p_panel = p_g + ((i_b - first) * per_block + o_m)[:, None] * BV
        b_g = tl.load(p_panel + o_k[None, :], mask=m_m[:, None], other=0.0)
        o_v = tl.minimum(i_b * BV + o_k, V - 1)  # G is 0 in the columns past the end
        p_w = p_weight + o_v[:, None] * stride_wv + (o_d * stride_wd)[None, :]
        b_out = tl.dot(b_g, tl.load(p_w, mask=m_d[None, :], other=0.0), b_out, input_precision="ieee")
    scale = tl.load(p_scale)
    o_tile = b_row[:, None] * D + o_d[None, :]
    if FINISH:
        b_row_bound, b_column_bound = tl.load(p_row_bound + b_row), tl.load(p_column_bound + o_d, mask=m_d, other=0.0)
        b_unit = (bound(b_row_bound) * (1.0 / FIELD_ONE))[:, None] * bound(b_column_bound)[None, :]
        b_word = tl.load(p_fixed + b_row[:, None] * words + (o_d % words)[None, :], mask=m_tile, other=0)
        b_out = from_field(b_word, (o_d // words)[None, :]) * b_unit - b_out * (1.0 / SHARE_SCALE)
        tl.store(p_out + o_tile, (b_out * scale).to(p_out.dtype.element_ty), mask=m_tile)
    else:
        b_out += tl.load(p_out + o_tile, mask=m_tile, other=0.0).to(tl.float32)
        if LOW:
            b_out += tl.load(p_low + o_tile, mask=m_tile, other=0.0).to(tl.float32)
        if LAST:
            b_out *= scale
        b_high = b_out.to(p_out.dtype.element_ty)
        tl.store(p_out + o_tile, b_high, mask=m_tile)
        if LOW and not LAST:
            tl.store(p_low + o_tile, (b_out - b_high.to(tl.float32)).to(p_low.dtype.element_ty), mask=m_tile)
