"""Loss of tokens whose weight is a power of their probability: SFT (0), DFT (1), p^a.

    w_i = factor_i p_i^exponent, detached      loss_i = -w_i logprob_i      total = sum_i loss_i      0 where ignored

One launch and one sum, in place of a dozen elementwise operations on vectors of length N. Each program adds up its
tokens, and the programs' sums are added in a fixed order: results repeat bit for bit.
"""

# Annotations stay objects in this file: torch.library reads them to build the operator's schema.
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from dftcore.kernels.config import VECTOR


@triton.jit
def power_loss_kernel(
    p_logprob,  # [N] fp32
    p_target,  # [N] int64
    p_factor,  # [N] fp32 or unused
    p_w,  # [N] fp32
    p_loss,  # [N] fp32
    p_partial,  # [programs] fp32
    N,
    ignore_index,
    exponent,
    HAS_FACTOR: tl.constexpr,
    BN: tl.constexpr,
):
    o_n = tl.program_id(0) * BN + tl.arange(0, BN)
    m_n = o_n < N
    m_valid = m_n & (tl.load(p_target + o_n, mask=m_n, other=0) != ignore_index)
    b_logprob = tl.load(p_logprob + o_n, mask=m_valid, other=0.0)
    b_w = tl.where(exponent == 0.0, 1.0, tl.exp(exponent * b_logprob))  # 1 where p = 0 too
    b_w = tl.where(m_valid, b_w, 0.0)
    if HAS_FACTOR:
        b_w *= tl.load(p_factor + o_n, mask=m_valid, other=0.0)
    b_loss = 0.0 - b_w * b_logprob  # not -(...), which is -0 where ignored
    tl.store(p_w + o_n, b_w, mask=m_n)
    tl.store(p_loss + o_n, b_loss, mask=m_n)
    tl.store(p_partial + tl.program_id(0), tl.sum(b_loss, 0))


@torch.library.custom_op("dftcore::power_loss", mutates_args=())
def power_loss(
    logprob: Tensor, targets: Tensor, factor: Tensor | None, exponent: float, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor]:
    """logprob [N] fp32, targets [N] int64, factor [N] fp32 -> w [N], loss [N], total []; fp32, losses with autograd."""
    tiles, rows = VECTOR["power_loss"], logprob.shape[0]
    programs = triton.cdiv(rows, tiles.constexprs["BN"])
    weight, loss = torch.empty_like(logprob), torch.empty_like(logprob)
    partial = logprob.new_empty(programs)
    factor_or_any = logprob if factor is None else factor
    with torch.cuda.device_of(logprob):
        power_loss_kernel[(programs,)](
            logprob, targets, factor_or_any, weight, loss, partial, rows, ignore_index, exponent,
            HAS_FACTOR=factor is not None, **tiles.launch,
        )  # fmt: skip
    return weight, loss, partial.sum()


@power_loss.register_fake
def _(logprob, targets, factor, exponent, ignore_index):  # type: ignore[no-untyped-def]
    return torch.empty_like(logprob), torch.empty_like(logprob), logprob.new_empty(())


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(output[0])
    ctx.mark_non_differentiable(output[0])
    ctx.set_materialize_grads(False)


def _gradient(ctx: Any, _: None, grad_loss: Tensor | None, grad_total: Tensor | None) -> tuple[Tensor | None, ...]:
    given = [grad for grad in (grad_loss, grad_total) if grad is not None]
    return -(sum(given[1:], given[0]) * ctx.saved_tensors[0]) if given else None, None, None, None, None


power_loss.register_autograd(_gradient, setup_context=_save)
