"""Forward: logits of one row tile against one run of vocabulary blocks, reduced on chip.

    z_iv = transform(h_i . W_v + bias_v)                                     never written
    log_mass[b, i] = log sum_{v in b, v != y_i} e^{z_iv} (1 - tanh^2)        the slope only with a soft-cap
    target_logit[i] = z_{i, y_i}
    maximum, total [splits, N]:  m = max_{v != y_i} z_iv,  sum e^{z_iv - m}   over the split's blocks
    first, square  [splits, N]:  sum e^{z - m} (z - m),  sum e^{2 (z - m)}    if MOMENTS

Rows are gathered through `rows`, whose first `count` entries are the positions of the valid tokens; log_mass, maximum,
total, first and square are indexed by that compact position, target_logit by the token's own.
Programs of GROUP neighbouring row tiles walk the same weights at the same time, so that these stay in level-2 cache.
"""

import triton
import triton.language as tl

from dftcore.kernels.tiles import LOWEST, final_logits, logits_tile


@triton.jit
def forward_kernel(
    p_hidden,  # [N, D]
    p_weight,  # [V, D]
    p_bias,  # [V] or unused
    p_target,  # [N] int64
    p_rows,  # [N] int32
    p_count,  # [1] int32
    p_log_mass,  # [ceil(V / BV), N] fp32
    p_target_logit,  # [N] fp32
    p_maximum,  # [splits, N] fp32
    p_total,
    p_first,
    p_square,
    N,
    V,
    D,
    stride_hn,
    stride_hd,
    stride_wv,
    stride_wd,
    softcap,
    inv_temperature,
    splits,
    HAS_BIAS: tl.constexpr,
    SOFTCAP: tl.constexpr,
    MOMENTS: tl.constexpr,
    EVEN_D: tl.constexpr,
    BM: tl.constexpr,
    BV: tl.constexpr,
    BK: tl.constexpr,
    GROUP: tl.constexpr,
):
    pid = tl.program_id(0)
    i_row = pid // (GROUP * splits) * GROUP + pid % GROUP
    i_split = pid % (GROUP * splits) // GROUP
    count = tl.load(p_count)
    if i_row * BM >= count:
        return
    o_n = i_row * BM + tl.arange(0, BM)
    m_n = o_n < count
    b_row = tl.load(p_rows + tl.where(m_n, o_n, 0)).to(tl.int64)  # rows past the end repeat the first one, unstored
    b_target = tl.load(p_target + b_row)
    p_row = p_hidden + b_row * stride_hn

    blocks = tl.cdiv(V, BV)
    per_split = tl.cdiv(blocks, splits)
    b_max = tl.full((BM,), LOWEST, tl.float32)
    b_sum = tl.zeros((BM,), tl.float32)
    b_first = tl.zeros((BM,), tl.float32)
    b_square = tl.zeros((BM,), tl.float32)
    for i_b in range(i_split * per_split, tl.minimum((i_split + 1) * per_split, blocks)):
        o_v = i_b * BV + tl.arange(0, BV)
        o_in = tl.minimum(o_v, V - 1).to(tl.int64)  # columns past the end repeat the last one, masked below
        b_z = logits_tile(p_row, p_weight + o_in * stride_wv, D, stride_hd, stride_wd, BM, BV, BK, EVEN_D)
        b_bias = tl.load(p_bias + o_in).to(tl.float32) if HAS_BIAS else 0.0
        b_z, b_slope = final_logits(b_z, b_bias, softcap, inv_temperature, HAS_BIAS, SOFTCAP)

        m_target = o_v[None, :] == b_target[:, None]
        m_hit = m_n & (b_target >= i_b * BV) & (b_target < tl.minimum((i_b + 1) * BV, V))
        tl.store(p_target_logit + b_row, tl.sum(tl.where(m_target, b_z, 0.0), 1), mask=m_hit)

        b_z = tl.where(m_target | (o_v >= V)[None, :], float("-inf"), b_z)
        b_block_max = tl.maximum(tl.max(b_z, 1), LOWEST)
        b_shifted = b_z - b_block_max[:, None]
        b_e = tl.exp(b_shifted)
        b_block_sum = tl.sum(b_e, 1)
        b_mass = tl.sum(b_e * b_slope, 1) if SOFTCAP else b_block_sum
        tl.store(p_log_mass + tl.cast(i_b, tl.int64) * N + o_n, tl.log(b_mass) + b_block_max, mask=m_n)

        b_new = tl.maximum(b_max, b_block_max)
        b_old_scale = tl.exp(b_max - b_new)
        b_scale = tl.exp(b_block_max - b_new)
        if MOMENTS:
            b_block_first = tl.sum(tl.where(b_e > 0.0, b_e * b_shifted, 0.0), 1)
            b_first = b_old_scale * (b_first + (b_max - b_new) * b_sum)
            b_first += b_scale * (b_block_first + (b_block_max - b_new) * b_block_sum)
            b_square = b_old_scale * b_old_scale * b_square + b_scale * b_scale * tl.sum(b_e * b_e, 1)
        b_sum = b_old_scale * b_sum + b_scale * b_block_sum
        b_max = b_new
    o_out = tl.cast(i_split, tl.int64) * N + o_n
    tl.store(p_maximum + o_out, b_max, mask=m_n)
    tl.store(p_total + o_out, b_sum, mask=m_n)
    if MOMENTS:
        tl.store(p_first + o_out, b_first, mask=m_n)
        tl.store(p_square + o_out, b_square, mask=m_n)
