"""Device functions shared by the kernels: a tile of logits, the final transform, and functions of one variable.

Letters: N tokens, D hidden size, V vocabulary; BM rows, BV columns and BK of the hidden size in a tile; a block is
128 columns. Only `tl` built-ins are used, so that the interpreter runs the same code as the compiler.

Logits leave the tile in units of ln 2, so that e^z = 2^z' costs one instruction; whatever is derived from them and kept
(log masses, maxima, log-sum-exp) is in these units, and only log-probabilities and entropies are natural.
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
LOWEST = tl.constexpr(-3.0e38)  # a finite stand-in for -inf: differences of two of them are 0, not NaN
SHARE_SCALE = tl.constexpr(4096.0)  # shares are stored times this, so that fp16 holds the small ones
MASS_SLACK = tl.constexpr(0.0009765625)  # 2^-10: a log mass is stored that much of itself higher, over fp16's rounding
MASS_LIMIT = tl.constexpr(60000.0)
FIELD_BITS = tl.constexpr(21)  # three fixed-point numbers to a word of 64 bits
FIELD_ONE = tl.constexpr(524288.0)  # 2^19, of 2^20: a row's largest possible gradient; see hidden_scatter
ROUNDER = tl.constexpr(12582912.0)  # 1.5 * 2^23: adding it leaves a float's nearest integer in its low bits
ROUNDER_BITS = tl.constexpr(0x4B400000)


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
def logits_box(
    hidden_boxes,  # descriptor of [N, D] in boxes of [BM, BK]
    weight_boxes,  # descriptor of [V, D] in boxes of [BV, BK]
    first_row,
    first_column,
    D,
    BM: tl.constexpr,
    BV: tl.constexpr,
    BK: tl.constexpr,
):
    """The same from the copy engine: consecutive rows and columns; what lies beyond N, V or D reads as 0."""
    b_z = tl.zeros((BM, BV), dtype=tl.float32)
    for i_k in range(0, D, BK):
        b_h = hidden_boxes.load([first_row, i_k])
        b_w = weight_boxes.load([first_column, i_k])
        b_z = tl.dot(b_h, b_w.T, b_z, input_precision="ieee")
    return b_z


@triton.jit
def capped(b_z, b_bias, softcap, HAS_BIAS: tl.constexpr, SOFTCAP: tl.constexpr):
    """softcap tanh((z + bias) / softcap)."""
    if HAS_BIAS:
        b_z += b_bias[None, :]
    if SOFTCAP:
        b_z = softcap * (1.0 - 2.0 / (tl.exp(2.0 * b_z / softcap) + 1.0))
    return b_z


@triton.jit
def cap_slope(b_z, softcap):
    """d capped / d z = 1 - tanh^2, from the capped logits."""
    b_tanh = b_z / softcap
    return 1.0 - b_tanh * b_tanh


@triton.jit
def log1p(x):
    """log(1 + x) for 0 <= x <= 1, to fp32 precision for small x."""
    series = x * (1.0 - x * (0.5 - x * (0.3333333333 - x * 0.25)))
    return tl.where(x < 0.015625, series, tl.log(1.0 + x))


@triton.jit
def kept(b_octaves, cut, b_own, i_b):
    """Whether a pair is computed exactly: heavier than the cut, or the row's own target block, or not a number.

    b_octaves = log2(|g| mass / 2^octave), a single sum: every kernel that asks gets the same bit for bit.
    """
    return ~(b_octaves <= cut) | (b_own == i_b)


@triton.jit
def bound(b_bound):
    """A bound of the fixed-point dH, kept off 0 so that its inverse is finite; NaN stays (a maximum drops it)."""
    return tl.where(b_bound < 1e-18, 1e-18, b_bound)


@triton.jit
def to_field(b_value):
    """The nearest integer of |value| < 2^21 as int64: an addition, where a conversion runs at a quarter of the rate."""
    return ((b_value + ROUNDER).to(tl.int32, bitcast=True) - ROUNDER_BITS).to(tl.int64)


@triton.jit
def from_field(b_word, b_field):
    """Field 0, 1 or 2 of a sum of words f0 + f1 2^21 + f2 2^42; a bias on each keeps them from borrowing."""
    bias = (1 << 20) + (1 << 41) + (1 << 62)
    return (((b_word + bias) >> (b_field * FIELD_BITS)) & ((1 << 21) - 1)).to(tl.float32) - (1 << 20)
