"""Device functions shared by the kernels: a tile of logits, the final transform, and functions of one variable.

Letters: N tokens, D hidden size, V vocabulary; BM rows, BV = 128 columns and BK of the hidden size in a tile.
Only `tl` built-ins are used, so that the interpreter runs the same code as the compiler.
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LOWEST = tl.constexpr(-3.0e38)  # a finite stand-in for -inf: differences of two of them are 0, not NaN
SHARE_SCALE = tl.constexpr(4096.0)  # shares are stored times this, so that fp16 holds the small ones
FIXED_ONE = tl.constexpr(1073741824.0)  # 2^30: the fixed-point value of a row's largest possible gradient


@triton.jit
def logits_tile(
    p_row,  # [BM] pointers to rows of hidden
    p_column,  # [BV] pointers to rows of weight
    D,
    stride_hd,
    stride_wd,
    BM: tl.constexpr,
    BV: tl.constexpr,
    BK: tl.constexpr,
    EVEN_D: tl.constexpr,  # D % BK == 0: no masks in the loop
):
    """hidden rows times weight rows, [BM, BV], accumulated in fp32; fp32 inputs are multiplied as fp32, not tf32."""
    o_k = tl.arange(0, BK)
    b_z = tl.zeros((BM, BV), dtype=tl.float32)
    for i_k in range(0, D, BK):
        p_h = p_row[:, None] + ((i_k + o_k) * stride_hd)[None, :]
        p_w = p_column[None, :] + ((i_k + o_k) * stride_wd)[:, None]
        if EVEN_D:
            b_h = tl.load(p_h)
            b_w = tl.load(p_w)
        else:
            m_k = i_k + o_k < D
            b_h = tl.load(p_h, mask=m_k[None, :], other=0.0)
            b_w = tl.load(p_w, mask=m_k[:, None], other=0.0)
        b_z = tl.dot(b_h, b_w, b_z, input_precision="ieee")
    return b_z


@triton.jit
def final_logits(b_z, b_bias, softcap, inv_temperature, HAS_BIAS: tl.constexpr, SOFTCAP: tl.constexpr):
    """softcap tanh((z + bias) / softcap) / temperature, and the slope of the cap, 1 - tanh^2 (1 without a cap)."""
    if HAS_BIAS:
        b_z += b_bias[None, :]
    b_slope = b_z * 0.0 + 1.0 if SOFTCAP else 1.0
    if SOFTCAP:
        b_tanh = 1.0 - 2.0 / (tl.exp(2.0 * b_z / softcap) + 1.0)
        b_slope = 1.0 - b_tanh * b_tanh
        b_z = softcap * b_tanh
    return b_z * inv_temperature, b_slope


@triton.jit
def log1p(x):
    """log(1 + x) for 0 <= x <= 1, to fp32 precision for small x."""
    series = x * (1.0 - x * (0.5 - x * (0.3333333333 - x * 0.25)))
    return tl.where(x < 0.015625, series, tl.log(1.0 + x))


@triton.jit
def mass_bin(b_log_mass, b_offset, BINS: tl.constexpr, PER_OCTAVE: tl.constexpr):
    """Histogram bin of |g| mass, int32; b_offset is log2(|g| / 2^octave) - lse log2(e)."""
    b_octaves = b_log_mass * LOG2E + b_offset
    return tl.minimum(tl.maximum(tl.ceil(b_octaves * PER_OCTAVE + (BINS - 1)), 0.0), BINS - 1.0).to(tl.int32)


@triton.jit
def fixed_unit(b_row_bound, b_column_bound):
    """What one step of the fixed-point dH is worth, [BM, BD]: no sum of a row's gradients can pass its two bounds."""
    return tl.maximum(b_row_bound[:, None] * b_column_bound[None, :], 1e-25) / FIXED_ONE
