"""The mathematics, once, unfused, readable as the equations; every fast path is tested against it.

    z = hidden W^T + bias;  z <- softcap tanh(z / softcap);  z <- z / temperature
    logprob_t = z_t[target_t] - logsumexp_v z_t[v]
    entropy_t = -sum_v s_tv log s_tv,   sum_p2_t = sum_v s_tv^2,   top1_t = 1[z_t[target_t] = max_v z_t[v]]
    loss      = sum_t stop_gradient(w_t) (-logprob_t) / normalizer                (arXiv 2508.05629, eq. 9: w_t = p_t)

It writes the full logits [N, V], in fp32 (fp64 when given fp64). Letters: N tokens, D hidden size, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def compute_dtype(*tensors: Tensor | None) -> torch.dtype:
    """fp64 if any input is fp64, else fp32."""
    return torch.float64 if any(t is not None and t.dtype == torch.float64 for t in tensors) else torch.float32


def transform_logits(logits: Tensor, softcap: float | None, temperature: float) -> Tensor:
    """Soft-cap (Gemma 2) first, then temperature."""
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return logits / temperature if temperature != 1.0 else logits


def statistics_of(logits: Tensor, lse: Tensor, targets: Tensor, outputs: Sequence[str]) -> dict[str, Tensor]:
    """The detached statistics named in `outputs`, from the final logits [n, V] and their log-sum-exp [n]."""
    with torch.no_grad():
        found: dict[str, Tensor] = {}
        if "entropy" in outputs or "sum_p2" in outputs:
            softmax = (logits - lse.unsqueeze(-1)).exp()
            if "entropy" in outputs:
                # H = lse - E[z]; a logit of -inf has probability 0 and adds nothing.
                found["entropy"] = lse - (softmax * logits.nan_to_num(neginf=0.0)).sum(-1)
            if "sum_p2" in outputs:
                found["sum_p2"] = softmax.square().sum(-1)
        if "top1" in outputs:
            target_logits = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
            found["top1"] = (target_logits >= logits.amax(-1)).to(lse.dtype)
        return found


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None,
    softcap: float | None,
    temperature: float,
    outputs: Sequence[str],
    error_budget: float | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """hidden [n, D], weight [V, D], targets [n] in range -> logprob [n] with autograd, and detached statistics [n].

    Exact at any `error_budget`.
    """
    dtype = compute_dtype(hidden, weight, bias)
    logits = hidden.to(dtype) @ weight.to(dtype).T
    if bias is not None:
        logits = logits + bias.to(dtype)
    logits = transform_logits(logits, softcap, temperature)
    lse = torch.logsumexp(logits, dim=-1)
    logprob = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1) - lse
    return logprob, statistics_of(logits.detach(), lse.detach(), targets, outputs)
