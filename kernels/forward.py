"""Forward: logits of one row tile against one run of vocabulary tiles, reduced on chip.

    z_iv = transform(h_i . W_v + bias_v) / ln 2                              never written
    log_mass[b, i] = log2 sum_{v in b, v != y_i} 2^{z_iv} (1 - tanh^2)       if MASSES; the slope only with a soft-cap
    maximum, total [splits, N]:  m = max_{v != y_i} z_iv,  sum 2^{z_iv - m}  over the split's tiles
    first, square  [splits, N]:  sum 2^{z - m} (z - m),  sum 4^{z - m}       if MOMENTS

Row i is the i-th of the `count` valid tokens, whose hidden states lie one behind the other. log_mass is fp16, rounded
up: no pair is taken for lighter than it is.
With ORDER, v is a column, at which row order[v] of W and of the bias lies. Programs of GROUP neighbouring row tiles
walk the same weights at the same time, so that these stay in level-2 cache.
"""

import triton
import triton.language as tl

from dftcore.kernels.tiles import LOG2E, LOWEST, MASS_LIMIT, MASS_SLACK, cap_slope, capped, logits_box, logits_tile


@triton.jit
def forward_kernel(
    p_hidden,  # [N, D] contiguous; with TMA its descriptor in boxes of [BM, BK]
    p_weight,  # [V, D]; with TMA its descriptor in boxes of [BV, BK]
    p_bias,  # [V] or unused
    p_order,  # [V] int32 or unused
    p_target,  # [N] int64: columns
    p_rows,  # [N] int32
    p_count,  # [1] int32
    p_log_mass,  # [ceil(V / BLOCK), N] fp16
    p_maximum,  # [splits, N] fp32
    p_total,
    p_first,
    p_square,
    N,
    V,
    D,
    stride_wv,
    stride_wd,
    softcap,
    inv_temperature,
    splits,
    HAS_BIAS: tl.constexpr,
    SOFTCAP: tl.constexpr,
    MASSES: tl.constexpr,
    MOMENTS: tl.constexpr,
    EVEN_D: tl.constexpr,
    ORDER: tl.constexpr,  # not with TMA, which takes neighbouring rows of W
    TMA: tl.constexpr,
    FLATTEN: tl.constexpr,  # one loop over tiles and hidden size: the next tile's loads pass under this one's softmax
    BLOCK: tl.constexpr,
    BM: tl.constexpr,
    BV: tl.constexpr,
    BK: tl.constexpr,
    GROUP: tl.constexpr,
    RUN: tl.constexpr,  # vocabulary tiles a program walks
):
    pid = tl.program_id(0)
    i_row = pid // (GROUP * splits) * GROUP + pid % GROUP
    i_split = pid % (GROUP * splits) // GROUP
    count = tl.load(p_count)
    if i_row * BM >= count:
        return
    o_n = i_row * BM + tl.arange(0, BM)
    m_n = o_n < count
    b_row = tl.load(p_rows + o_n, mask=m_n, other=0)
    b_target = tl.load(p_target + b_row, mask=m_n, other=-1)
    b_target = tl.where((b_target >= 0) & (b_target < V), b_target, -1).to(tl.int32)  # outside: nowhere
    scale = inv_temperature * LOG2E

    b_max = tl.full((BM,), LOWEST, tl.float32)
    b_sum = tl.zeros((BM,), tl.float32)
    b_first = tl.zeros((BM,), tl.float32)
    b_square = tl.zeros((BM,), tl.float32)
    for i_t in tl.range(i_split * RUN, tl.minimum((i_split + 1) * RUN, tl.cdiv(V, BV)), flatten=FLATTEN):
        o_v = i_t * BV + tl.arange(0, BV)
        o_in = tl.minimum(o_v, V - 1)  # columns past the end repeat the last one, masked below
        o_in = (tl.load(p_order + o_in) if ORDER else o_in).to(tl.int64)
        if TMA:
            b_z = logits_box(p_hidden, p_weight, i_row * BM, i_t * BV, D, BM, BV, BK)
        else:
            p_row = p_hidden + tl.minimum(o_n, N - 1).to(tl.int64) * D
            b_z = logits_tile(p_row, p_weight + o_in * stride_wv, D, 1, stride_wd, BM, BV, BK, EVEN_D)
        b_bias = tl.load(p_bias + o_in).to(tl.float32) if HAS_BIAS else 0.0
        b_z = capped(b_z, b_bias, softcap, HAS_BIAS, SOFTCAP)

        m_here = (b_target >= i_t * BV) & (b_target < (i_t + 1) * BV)
        if (tl.sum(m_here.to(tl.int32), 0) > 0) | ((i_t + 1) * BV > V):  # most tiles hold no target and no edge
            # Counted from the tile's start, columns would be constants that take registers all the way.
            b_z = tl.where((o_v[None, :] == b_target[:, None]) | (o_v >= V)[None, :], float("-inf"), b_z)

        b_z = tl.reshape(b_z, (BM, BV // BLOCK, BLOCK))
        b_block_max = tl.maximum(tl.max(b_z, 2) * scale, LOWEST)  # [BM, blocks of the tile]
        b_shifted = b_z * scale - b_block_max[:, :, None]
        b_e = tl.exp2(b_shifted)
        b_block_sum = tl.sum(b_e, 2)
        if MASSES:
            b_mass = b_block_sum
            if SOFTCAP:
                b_mass = tl.sum(b_e * cap_slope(tl.maximum(b_z, -softcap), softcap), 2)
            b_log = tl.maximum(tl.log2(b_mass) + b_block_max, -MASS_LIMIT)
            b_log += tl.abs(b_log) * MASS_SLACK  # beyond fp16 it is inf, and the pair kept
            o_b = i_t * (BV // BLOCK) + tl.arange(0, BV // BLOCK)
            p_out = p_log_mass + o_b[None, :].to(tl.int64) * N + o_n[:, None]
            tl.store(p_out, b_log.to(tl.float16), mask=m_n[:, None] & (o_b * BLOCK < V)[None, :])

        b_new = tl.maximum(b_max, tl.max(b_block_max, 1))
        b_old_scale = tl.exp2(b_max - b_new)
        b_offset = b_block_max - b_new[:, None]
        b_scale = tl.exp2(b_offset)
        if MOMENTS:
            b_block_first = tl.sum(tl.where(b_e > 0.0, b_e * b_shifted, 0.0), 2)
            b_first = b_old_scale * (b_first + (b_max - b_new) * b_sum)
            b_first += tl.sum(b_scale * (b_block_first + b_offset * b_block_sum), 1)
            b_square = b_old_scale * b_old_scale * b_square + tl.sum(b_scale * b_scale * tl.sum(b_e * b_e, 2), 1)
        b_sum = b_old_scale * b_sum + tl.sum(b_scale * b_block_sum, 1)
        b_max = b_new
    o_out = tl.cast(i_split, tl.int64) * N + o_n
    tl.store(p_maximum + o_out, b_max, mask=m_n)
    tl.store(p_total + o_out, b_sum, mask=m_n)
    if MOMENTS:
        tl.store(p_first + o_out, b_first, mask=m_n)
        tl.store(p_square + o_out, b_square, mask=m_n)
