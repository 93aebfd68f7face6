"""The public loss: one signature over every back-end, validated once, dispatched once.

    linear_token_logprobs   log-probability of each target under softmax(hidden W^T), differentiable
    linear_cross_entropy    sum_t stop_gradient(w_t) (-logprob_t) / normalizer for any objective of the family

Every objective is a detached weight on the same log-probabilities, so this file holds the only detach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, overload

import torch
from torch import Tensor

from dftcore.errors import UserError, nearest
from dftcore.kernels.budget import default_error_budget
from dftcore.kernels.order import pays
from dftcore.losses import reference, routed, triton_backend
from dftcore.losses.top_entropy import top_entropy
from dftcore.objectives import Objective, TokenStatistics, as_objective

Backend = Literal["auto", "triton", "torch", "reference"]
Reduction = Literal["mean", "sum", "none"]
BACKENDS = ("auto", "triton", "torch", "reference")
STATISTICS = ("entropy", "top1", "sum_p2")


@dataclass(frozen=True)
class TokenLogprobs:
    """Shaped like `targets`; 0 at ignored positions. `logprob` is differentiable, the statistics are detached."""

    logprob: Tensor
    entropy: Tensor | None = None
    top1: Tensor | None = None
    sum_p2: Tensor | None = None


@dataclass(frozen=True)
class LossStatistics:
    """Detached, shaped like `targets`, 0 at ignored positions; the last three only if named in `stats_outputs`."""

    logprob: Tensor
    token_weight: Tensor
    nll: Tensor
    entropy: Tensor | None = None
    top1: Tensor | None = None
    sum_p2: Tensor | None = None


def linear_token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    temperature: float = 1.0,
    ignore_index: int = -100,
    error_budget: float | None = None,
    backend: Backend = "auto",
    outputs: Sequence[str] = (),
) -> TokenLogprobs:
    """Log-probabilities of `targets` under softmax(hidden @ weight.T + bias) without keeping the logits.

    (The torch back-end keeps the softmax of a call of at most 2^22 logits for the backward: `losses.scan`.)

    hidden [..., D] and weight [V, D] floating, targets [...] int64, bias [V]. `logprob` is fp32 (fp64 when given fp64)
    and takes any upstream gradient; `outputs` names further detached statistics: entropy, top1, sum_p2. A hidden in
    half precision with a weight in fp32 is computed in fp32, many times slower on a GPU: cast the weight for speed.
    `error_budget` bounds the share of the logit gradient's L1 norm that the routed backward may replace by block means
    (see `routing`): None is the default 0.003, half of it for fewer than 2,048 rows, 0 for V below 4,096; 0 is exact,
    as the reference is at any budget.
    Raises ValueError or TypeError naming the argument at fault.
    """
    _validate(hidden, weight, targets, bias, softcap, temperature, error_budget, outputs)
    chosen = _resolve(backend, hidden, weight)
    flat_hidden, flat_targets = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
    if error_budget is None:
        ordered = chosen != "triton" or triton_backend.in_order(hidden, weight, bias, softcap)
        error_budget = default_error_budget(weight.shape[0], ordered and pays(flat_hidden.shape[0]))
    options: dict[str, Any] = {
        "bias": bias,
        "softcap": softcap,
        "temperature": temperature,
        "outputs": tuple(outputs),
        "error_budget": error_budget,
    }
    if chosen != "reference":
        compute = triton_backend.token_logprobs if chosen == "triton" else routed.token_logprobs
        differentiable = torch.is_grad_enabled() and any(
            t is not None and t.requires_grad for t in (hidden, weight, bias)
        )
        logprob, statistics = compute(
            flat_hidden, weight, flat_targets, ignore_index=ignore_index, differentiable=differentiable, **options
        )
        shaped = {name: values.reshape(targets.shape) for name, values in statistics.items()}
        return TokenLogprobs(logprob.reshape(targets.shape), **shaped)

    rows = routed.valid_rows(flat_targets, ignore_index, weight.shape[0])
    with torch.autocast(hidden.device.type, enabled=False):
        logprob, statistics = reference.token_logprobs(flat_hidden[rows], weight, flat_targets[rows], **options)

    def scatter(values: Tensor) -> Tensor:
        return values.new_zeros(flat_targets.shape).index_put((rows,), values).reshape(targets.shape)

    return TokenLogprobs(scatter(logprob), **{name: scatter(values) for name, values in statistics.items()})


@overload
def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, objective: str | Objective = ..., *,
    bias: Tensor | None = ..., softcap: float | None = ..., temperature: float = ..., ignore_index: int = ...,
    reduction: Reduction = ..., normalizer: float | Tensor | None = ..., token_weight: Tensor | None = ...,
    error_budget: float | None = ..., backend: Backend = ..., return_stats: Literal[False] = ...,
    stats_outputs: Sequence[str] = ...,
) -> Tensor: ...  # fmt: skip


@overload
def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, objective: str | Objective = ..., *,
    bias: Tensor | None = ..., softcap: float | None = ..., temperature: float = ..., ignore_index: int = ...,
    reduction: Reduction = ..., normalizer: float | Tensor | None = ..., token_weight: Tensor | None = ...,
    error_budget: float | None = ..., backend: Backend = ..., return_stats: Literal[True],
    stats_outputs: Sequence[str] = ...,
) -> tuple[Tensor, LossStatistics]: ...  # fmt: skip


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    objective: str | Objective = "dft",
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    temperature: float = 1.0,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    token_weight: Tensor | None = None,
    error_budget: float | None = None,
    backend: Backend = "auto",
    return_stats: bool = False,
    stats_outputs: Sequence[str] = (),
) -> Tensor | tuple[Tensor, LossStatistics]:
    """sum_t stop_gradient(w_t) (-logprob_t) / normalizer; the objective names w_t (DFT: p_t, arXiv 2508.05629).

    hidden [..., D] and weight [V, D] floating, targets [...] int64. The loss is fp32 (fp64 when given fp64).
    reduction "mean" divides by `normalizer` (default: this call's valid tokens, or what the objective's denominator
    names), "sum" and "none" (shaped like targets) only by a normalizer that is given. token_weight [...] multiplies
    w_t and is detached. All labels ignored is a differentiable 0. Raises UserError for an unknown objective or one that
    needs more than a token's own statistics, ValueError or TypeError for a bad argument.
    """
    chosen = as_objective(objective)
    if chosen.definition.context:
        raise UserError(
            f"objective {chosen.name!r} needs {', '.join(chosen.definition.context)}, which this call is not given:"
            " take linear_token_logprobs, and pass Objective.weight(logprob, TokenStatistics(...)) as token_weight with"
            " the objective 'sft'; train.py supplies all of it"
        )
    loss, stats = weighted_cross_entropy(
        hidden, weight, targets, chosen, None, bias=bias, softcap=softcap, temperature=temperature,
        ignore_index=ignore_index, reduction=reduction, normalizer=normalizer, token_weight=token_weight,
        error_budget=error_budget, backend=backend, stats_outputs=stats_outputs,
    )  # fmt: skip
    return (loss, stats) if return_stats else loss


def weighted_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    objective: Objective,
    context: Mapping[str, Any] | None,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    temperature: float = 1.0,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    token_weight: Tensor | None = None,
    error_budget: float | None = None,
    backend: Backend = "auto",
    stats_outputs: Sequence[str] = (),
) -> tuple[Tensor, LossStatistics]:
    """`linear_cross_entropy` for any objective: `context` holds the fields of TokenStatistics that a run supplies."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction: {reduction!r} is not one of 'mean', 'sum', 'none'")
    if token_weight is not None and token_weight.shape != targets.shape:
        raise ValueError(f"token_weight: shape {tuple(token_weight.shape)} differs from targets {tuple(targets.shape)}")
    if token_weight is not None and token_weight.device != hidden.device:
        raise ValueError(f"token_weight: on {token_weight.device}, but hidden is on {hidden.device}")
    _check_names("stats_outputs", stats_outputs)
    needs = objective.definition.needs
    tokens = linear_token_logprobs(
        hidden,
        weight,
        targets,
        bias=bias,
        softcap=softcap,
        temperature=temperature,
        ignore_index=ignore_index,
        error_budget=error_budget,
        backend=backend,
        outputs=tuple(dict.fromkeys((*(name for name in needs if name in STATISTICS), *stats_outputs))),
    )
    valid = targets != ignore_index
    if objective.exponent is not None and _resolve(backend, hidden, weight) == "triton":
        weights, losses, total = triton_backend.power_loss(
            tokens.logprob, targets, token_weight, objective.exponent, ignore_index
        )
        loss = losses if reduction == "none" else total
    else:
        found = {name: getattr(tokens, name) for name in STATISTICS}
        if "top20_entropy" in needs:
            found["top20_entropy"] = top_entropy(hidden, weight, bias=bias, softcap=softcap, temperature=temperature)
        statistics = TokenStatistics(tokens.logprob.detach(), weight.shape[0], valid=valid, **found, **(context or {}))
        weights = objective.weight(tokens.logprob, statistics) * valid
        if token_weight is not None:
            weights = weights * torch.where(valid, token_weight.detach(), 0)
        weights = weights.to(tokens.logprob.dtype)
        loss = -(weights * tokens.logprob)
        loss = loss if reduction == "none" else loss.sum()
    if normalizer is not None:
        loss = loss / normalizer
    elif reduction == "mean":
        loss = loss / _denominator(objective.denominator, weights, valid)
    named = {name: getattr(tokens, name) for name in stats_outputs}
    logprob = tokens.logprob.detach()
    return loss, replace(LossStatistics(logprob, weights, -logprob), **named)


def _denominator(kind: str, weights: Tensor, valid: Tensor) -> Tensor:
    """What the mean is over within one call; see `dftcore.objectives`."""
    if kind == "weight":
        total = weights.sum()
        return torch.where(total == 0, 1.0, total)
    return (weights != 0 if kind == "kept" else valid).sum().clamp_min(1)


def _resolve(backend: str, hidden: Tensor, weight: Tensor) -> str:
    """The back-end by name: "auto" is triton for CUDA tensors that the kernels take, else torch."""
    if backend not in BACKENDS:
        raise ValueError(f"backend: {backend!r} is not one of {', '.join(BACKENDS)}")
    if backend not in ("auto", "triton"):
        return backend
    if backend == "auto" and not hidden.is_cuda:
        return "torch"
    refusal = triton_backend.refusal(hidden, weight)
    if refusal is not None and backend == "triton":
        raise ValueError(f"backend: 'triton' cannot run: {refusal}")
    return "torch" if refusal is not None or hidden.numel() == 0 else "triton"


def _check_names(argument: str, names: Sequence[str]) -> None:
    for name in names:
        if name not in STATISTICS:
            raise ValueError(f"{argument}: {name!r} is not a statistic{nearest(name, STATISTICS)}")


def _validate(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    softcap: float | None,
    temperature: float,
    error_budget: float | None,
    outputs: Sequence[str],
) -> None:
    for name, tensor in (("hidden", hidden), ("weight", weight), ("targets", targets), ("bias", bias)):
        if tensor is None:
            continue
        if hasattr(tensor, "device_mesh"):
            raise TypeError(
                f"{name}: a sharded DTensor; call the loss inside the forward of the module that fully_shard wraps,"
                " where parameters are gathered (a full_tensor() here would give wrong gradients)"
            )
        if tensor.device != hidden.device:
            raise ValueError(f"{name}: on {tensor.device}, but hidden is on {hidden.device}")
        if name != "targets" and not tensor.is_floating_point():
            raise TypeError(f"{name}: dtype {tensor.dtype} is not floating point")
    if targets.dtype != torch.int64:
        raise TypeError(f"targets: dtype {targets.dtype} is not torch.int64")
    if weight.ndim != 2 or hidden.ndim < 1 or hidden.shape[-1] != weight.shape[1]:
        raise ValueError(f"hidden {tuple(hidden.shape)} and weight {tuple(weight.shape)} are not [..., D] and [V, D]")
    if hidden.shape[:-1] != targets.shape:
        raise ValueError(f"targets: shape {tuple(targets.shape)} differs from hidden's {tuple(hidden.shape[:-1])}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias: shape {tuple(bias.shape)} is not [V] = [{weight.shape[0]}]")
    if not temperature > 0.0:
        raise ValueError(f"temperature: {temperature} is not positive")
    if softcap is not None and not softcap > 0.0:
        raise ValueError(f"softcap: {softcap} is not positive; None means no cap")
    if error_budget is not None and not 0.0 <= error_budget < 1.0:
        raise ValueError(f"error_budget: {error_budget} is not in [0, 1); 0 is exact, None the default")
    _check_names("outputs", outputs)
