"""Epilogue of the forward: the splits' partial sums become each token's log-probability and statistics.

    rest    = log sum_{v != y} e^{z_v} - z_y      logprob = -softplus(rest)      lse = z_y - logprob / ln 2
    entropy = -sum_v s_v log s_v      sum_p2 = sum_v s_v^2      top1 = 1[z_y = max_v z_v]      if MOMENTS

Logits, maxima, moments and lse are in units of ln 2, as the forward leaves them; the other results are natural.

The sum leaves the target out, so that 1 - p keeps its relative precision for p near 1. Outputs [N] fp32 are written at
the valid tokens only. A target outside the vocabulary has logit NaN, and so has everything derived from it.
"""

import triton
import triton.language as tl

from dftcore.kernels.tiles import LN2, LOG2E, LOWEST, log1p


@triton.jit
def epilogue_kernel(
    p_rows,  # [N] int32
    p_count,  # [1] int32
    p_target_logit,  # [N] fp32, by compact position
    p_maximum,  # [splits, N] fp32
    p_total,
    p_first,
    p_square,
    p_logprob,  # [N] fp32
    p_lse,
    p_entropy,
    p_top1,
    p_sum_p2,
    N,
    splits,
    MOMENTS: tl.constexpr,
    TOP1: tl.constexpr,
    SPLITS: tl.constexpr,  # the power of two at or above `splits`
    BN: tl.constexpr,
):
    o_n = tl.program_id(0) * BN + tl.arange(0, BN)
    m_n = o_n < tl.load(p_count)
    o_s = tl.arange(0, SPLITS)
    o_part = o_s.to(tl.int64)[:, None] * N + o_n[None, :]
    m_part = (o_s < splits)[:, None] & m_n[None, :]
    b_row = tl.load(p_rows + o_n, mask=m_n, other=0)
    b_target = tl.load(p_target_logit + o_n, mask=m_n, other=0.0)
    b_part_max = tl.load(p_maximum + o_part, mask=m_part, other=LOWEST)
    b_part_sum = tl.load(p_total + o_part, mask=m_part, other=0.0)
    b_max = tl.max(b_part_max, 0)
    b_sum = tl.sum(tl.exp2(b_part_max - b_max[None, :]) * b_part_sum, 0)
    b_rest = ((b_max - b_target) + tl.log2(b_sum)) * LN2
    b_logprob = -(tl.maximum(b_rest, 0.0) + log1p(tl.exp(-tl.abs(b_rest))))
    b_logprob = tl.where(b_target == b_target, b_logprob, b_target)  # NaN survives the maximum
    b_lse = b_target - b_logprob * LOG2E
    tl.store(p_logprob + b_row, b_logprob, mask=m_n)
    tl.store(p_lse + b_row, b_lse, mask=m_n)
    if TOP1:
        tl.store(p_top1 + b_row, (b_target >= b_max).to(tl.float32), mask=m_n)
    if MOMENTS:
        b_p = tl.exp(b_logprob)
        b_offset = b_part_max - b_lse[None, :]
        b_scale = tl.exp2(b_offset)
        b_first = b_scale * (tl.load(p_first + o_part, mask=m_part, other=0.0) + b_offset * b_part_sum)
        b_square = b_scale * b_scale * tl.load(p_square + o_part, mask=m_part, other=0.0)
        b_expected = b_p * tl.maximum(b_logprob, LOWEST) + tl.sum(b_first, 0) * LN2  # of log s
        tl.store(p_entropy + b_row, -b_expected, mask=m_n)
        tl.store(p_sum_p2 + b_row, b_p * b_p + tl.sum(b_square, 0), mask=m_n)
