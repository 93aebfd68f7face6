"""Logit of each token's target, by a dot product of its own.

    target_logit[i] = transform(h_i . W_{y_i} + bias_{y_i}) / ln 2      NaN for a target outside the vocabulary

The forward has it in a tile of logits, but to pick it out there takes registers that its largest tiles do not have;
this reads 2 N D numbers instead.
"""

import triton
import triton.language as tl

from dftcore.kernels.tiles import LOG2E, capped


@triton.jit
def target_logit_kernel(
    p_hidden,  # [N, D] contiguous: the valid tokens' states one behind the other
    p_weight,  # [V, D]
    p_bias,  # [V] or unused
    p_target,  # [N] int64: rows of W
    p_rows,  # [N] int32
    p_count,  # [1] int32
    p_target_logit,  # [N] fp32, by compact position
    V,
    D,
    stride_wv,
    stride_wd,
    softcap,
    inv_temperature,
    HAS_BIAS: tl.constexpr,
    SOFTCAP: tl.constexpr,
    BN: tl.constexpr,
    BD: tl.constexpr,
):
    o_n = tl.program_id(0) * BN + tl.arange(0, BN)
    count = tl.load(p_count)
    if tl.program_id(0) * BN >= count:
        return
    m_n = o_n < count
    b_target = tl.load(p_target + tl.load(p_rows + o_n, mask=m_n, other=0), mask=m_n, other=-1)
    m_in = (b_target >= 0) & (b_target < V)
    b_target = tl.where(m_in, b_target, 0)
    p_h = p_hidden + o_n.to(tl.int64)[:, None] * D
    p_w = p_weight + b_target[:, None] * stride_wv
    b_sum = tl.zeros((BN, BD), tl.float32)
    for i_d in range(0, D, BD):
        o_d = i_d + tl.arange(0, BD)
        m_d = m_in[:, None] & (o_d < D)[None, :]
        b_h = tl.load(p_h + o_d[None, :], mask=m_d, other=0.0).to(tl.float32)
        b_sum += b_h * tl.load(p_w + (o_d * stride_wd)[None, :], mask=m_d, other=0.0).to(tl.float32)
    b_z = tl.sum(b_sum, 1)
    if HAS_BIAS:
        b_z += tl.load(p_bias + b_target).to(tl.float32)
    b_z = capped(b_z, 0.0, softcap, False, SOFTCAP)
    tl.store(p_target_logit + o_n, tl.where(m_in, b_z * (inv_temperature * LOG2E), float("nan")), mask=m_n)
