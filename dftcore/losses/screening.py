"""The forward of bf16 inputs on processors that multiply bf16 fast: most of it in bf16, what carries mass in fp32.

PyTorch's bf16 product on a CPU is about twice as fast as fp32's but returns bf16: a logit z comes with an error of up
to 2^-8 |z|, 6 % of e^z at z = 30. So a bf16 product only *screens*: it tells roughly which (row, block) pairs carry
mass. The pairs that do, and the target's logit always, are computed again in fp32, and the screened masses stand in
for the light rest alone. With r_i = max_v 2^-8 |product_iv| / temperature, a row's light pairs together hold at most

    LIGHT_P / (e^r_i - 1)  of the softmax, and LIGHT_REST of the mass outside the target,

so that log p_i is off by at most LIGHT_P (in practice by a hundredth of it), and 1 - p_i by LIGHT_REST (e^r_i - 1).
A row whose logits are too large for this, or not finite, is computed in fp32 altogether.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dftcore.kernels.budget import BLOCK
from dftcore.losses.compiling import constant
from dftcore.losses.routing import blocks
from dftcore.losses.scan import Scan, Transform, chunks, log_probability, slice_width
from dftcore.losses.vocabulary import Vocabulary

LIGHT_P = 2.0**-10
LIGHT_REST = 2.0**-2
ROUNDING = 2.0**-8  # largest relative error of rounding to bf16
LARGEST_ROUNDING = 0.5  # of a logit, so up to logits of 128; beyond, a mass that underflows says nothing


def pays(hidden: Tensor, weight: Tensor) -> bool:
    """bf16 on a CPU whose bf16 product outruns its fp32 one."""
    if hidden.device.type != "cpu" or {hidden.dtype, weight.dtype} != {torch.bfloat16}:
        return False
    return _multiplies_bf16_fast()


@constant
def _multiplies_bf16_fast() -> bool:
    found: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # PyTorch before 2.12 does not tell
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def screen(
    hidden: Tensor,
    vocabulary: Vocabulary,
    targets: Tensor,
    transform: Transform,
    log_mass: Tensor,
    outputs: Sequence[str] = (),
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """As `scan_exactly`, for bf16 without a soft-cap or statistics."""
    assert transform.softcap is None
    assert not outputs
    dtype, rows = log_mass.dtype, hidden.shape[0]
    scan = Scan(targets, log_mass, transform, outputs)
    largest = log_mass.new_zeros(rows)
    width = slice_width(*hidden.shape)
    buffer = log_mass.new_empty(rows * min(width, len(vocabulary)))
    for columns in chunks(len(vocabulary), width):
        z = buffer[: rows * (columns.stop - columns.start)].view(rows, -1).copy_(hidden @ vocabulary.rows(columns).T)
        largest = largest.maximum(z.amax(-1)).maximum(-z.amin(-1))
        bias = vocabulary.biases(columns, dtype)
        scan.add(columns, transform.finish(z if bias is None else z.add_(bias)))
    target_logit = torch.linalg.vecdot(hidden.to(dtype), vocabulary.rows(targets).to(dtype))
    bias = vocabulary.biases(targets, dtype)
    target_logit = transform.finish(target_logit if bias is None else target_logit.add_(bias))

    heavy = heavy_pairs(log_mass, target_logit, half_ulp(largest) / transform.temperature)
    for columns, row, hit, hit_column in blocks(heavy, targets, len(vocabulary)):
        weight, bias = vocabulary.rows(columns).to(dtype), vocabulary.biases(columns, dtype)
        z = transform.logits(hidden.index_select(0, row).to(dtype), weight, bias)
        z[hit, hit_column] = -torch.inf
        log_mass[row, columns.start // BLOCK] = z.logsumexp(-1)
    logprob = log_probability(log_mass.logsumexp(-1) - target_logit)
    return logprob, target_logit - logprob, {}


def half_ulp(value: Tensor) -> Tensor:
    """The largest error of rounding a number of at most this magnitude to bf16; value [n] fp32."""
    return torch.frexp(value)[1].sub(9).float().exp2().where(value.isfinite(), torch.inf)


def heavy_pairs(log_mass: Tensor, target_logit: Tensor, rounding: Tensor) -> Tensor:
    """log_mass [n, B] as screened, target_logit [n], rounding r [n] -> [n, B] bool, false for the light pairs."""
    lse = torch.logaddexp(log_mass.logsumexp(-1), target_logit)
    mass, order = (log_mass - lse.unsqueeze(-1)).exp_().sort(-1)
    mass = mass.cumsum_(-1)
    allowed = torch.minimum(LIGHT_P / torch.expm1(rounding), LIGHT_REST * mass[:, -1])
    allowed.masked_fill_(rounding > LARGEST_ROUNDING, -1.0)
    light = mass <= allowed.unsqueeze(-1)  # false for what is not finite
    return torch.empty_like(light).scatter_(-1, order, ~light)
