"""The implementations compared: each maps (hidden, weight, targets, objective) to the summed loss, or is absent.

A peer is imported when its row is run; one that cannot be imported, does not offer the objective, or fails on this
device becomes a row that says absent, and why. DFT is p * cross-entropy with p detached, composed from per-token losses
where a peer has no option for it; each peer is called in the leanest way that its own interface offers.

How each call was checked where there is no GPU: `tests/test_loss_rows.py` runs F.linear_cross_entropy and, where
installed, TRL 1.16.0 on CPU against the unfused loss and its gradients, and binds the arguments of Liger 0.8.5's,
cut-cross-entropy's (repository head d42911f) and QuACK 0.6.5's calls to the peers' own signatures, or fails.
Their kernels have not been run here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dftcore import linear_cross_entropy

Loss = Callable[[Tensor, Tensor, Tensor, str], Tensor]


class Absent(Exception):
    """Why a row has no figures."""


def _weighted(nll: Tensor, objective: str) -> Tensor:
    return ((-nll.detach()).exp() * nll if objective == "dft" else nll).sum()


def _ours(error_budget: float | None) -> Loss:
    def loss(hidden: Tensor, weight: Tensor, targets: Tensor, objective: str) -> Tensor:
        return linear_cross_entropy(hidden, weight, targets, objective, reduction="sum", error_budget=error_budget)

    return loss


def eager(hidden: Tensor, weight: Tensor, targets: Tensor, objective: str) -> Tensor:
    """The unfused path: logits in the inputs' type, softmax in fp32."""
    return _weighted(F.cross_entropy((hidden @ weight.T).float(), targets, reduction="none"), objective)


_compiled: list[Loss] = []


def compiled(hidden: Tensor, weight: Tensor, targets: Tensor, objective: str) -> Tensor:
    if not _compiled:
        _compiled.append(torch.compile(eager, dynamic=False))
    return _compiled[0](hidden, weight, targets, objective)


def torch_chunked(hidden: Tensor, weight: Tensor, targets: Tensor, objective: str) -> Tensor:
    """DFT needs the losses apart, for which its backward multiplies out the logits once more."""
    if not hasattr(F, "linear_cross_entropy"):
        raise Absent("this PyTorch has no F.linear_cross_entropy")
    options = torch.nn.LinearCrossEntropyOptions()
    if objective == "sft":
        return F.linear_cross_entropy(hidden, weight, targets, reduction="sum", options=options)
    return _weighted(F.linear_cross_entropy(hidden, weight, targets, reduction="none", options=options), objective)


def _liger(chunk_constant: int) -> Loss:
    """`chunk_mem_const`: how many times the size of the hidden states a chunk's logits may take; 1 is its default."""

    def loss(hidden: Tensor, weight: Tensor, targets: Tensor, objective: str) -> Tensor:
        from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

        return liger_fused_linear_cross_entropy(
            hidden,
            weight,
            targets,
            reduction="sum",
            use_token_scaling=objective == "dft",
            chunk_mem_const=chunk_constant,
        )

    return loss


def cut_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, objective: str) -> Tensor:
    from cut_cross_entropy import linear_cross_entropy as cce

    return _weighted(cce(hidden, weight, targets, reduction="none"), objective)


def _quack(scaled_exp: bool) -> Loss:
    """`use_scaled_exp`: its second pipeline, for bf16 on compute capability 9.0 and V a multiple of 128."""

    def loss(hidden: Tensor, weight: Tensor, targets: Tensor, objective: str) -> Tensor:
        if objective != "sft":
            raise Absent("cross-entropy only: it has no per-token weight")
        from quack.linear_cross_entropy import chunked_linear_cross_entropy, scaled_exp_lce_supported

        if scaled_exp and not scaled_exp_lce_supported(hidden, weight, 4096, "sum"):
            raise Absent("its scaled_exp path does not take this device, type or shape")
        return chunked_linear_cross_entropy(
            hidden, weight, targets, chunk_size=4096, reduction="sum", use_scaled_exp=scaled_exp
        )

    return loss


def trl(hidden: Tensor, weight: Tensor, targets: Tensor, objective: str) -> Tensor:
    """The function behind loss_type="dft", with its trainer's tile and without the statistics that it logs."""
    from trl.kernels import ChunkedLogProbFunction

    bias, temperature, tile, softcap, logit_scale, outputs = None, 1.0, 32768, None, 1.0, ()
    logprob, *_ = ChunkedLogProbFunction.apply(
        hidden, weight, bias, targets, temperature, tile, softcap, logit_scale, outputs
    )
    return _weighted(-logprob, objective)


ROWS: dict[str, Loss] = {
    "ours, default budget": _ours(None),
    "ours, exact": _ours(0.0),
    "eager, unfused": eager,
    "torch.compile, unfused": compiled,
    "F.linear_cross_entropy, chunked": torch_chunked,
    "Liger, chunk constant 1": _liger(1),
    "Liger, chunk constant 16": _liger(16),
    "cut-cross-entropy": cut_cross_entropy,
    "QuACK": _quack(scaled_exp=False),
    "QuACK, scaled_exp": _quack(scaled_exp=True),
    "TRL": trl,
}


def ours_at(error_budget: float) -> Loss:
    return _ours(error_budget)


def exact_gradients(
    hidden: Tensor, weight: Tensor, targets: Tensor, objective: str, rows: int = 256
) -> tuple[tuple[Tensor, Tensor], tuple[float, float]]:
    """dH and dW in fp64, and the yardstick: the relative error of each in the unfused bf16 path on the same inputs.

    That path rounds the logits to bf16, takes the softmax in fp32 and rounds the logit gradient to bf16.
    """
    wide = weight.double()
    exact = [torch.zeros_like(hidden, dtype=torch.float64), torch.zeros_like(wide)]
    yardstick = [torch.zeros_like(exact[0]), torch.zeros_like(wide)]
    for start in range(0, hidden.shape[0], rows):
        part, target = hidden[start : start + rows].double(), targets[start : start + rows, None]
        logits = part @ wide.T
        for sums, z in ((exact, logits), (yardstick, logits.bfloat16().float())):
            logp = z.log_softmax(-1)
            chosen = logp.gather(-1, target)
            grad = logp.exp().scatter_(-1, target, torch.expm1(chosen) if sums is exact else chosen.exp() - 1)
            if objective == "dft":
                grad *= chosen.exp()
            if sums is yardstick:
                grad = grad.bfloat16().double()
            sums[0][start : start + rows] = grad @ wide
            sums[1].addmm_(grad.T, part)
    errors = tuple(relative_error(y, e) for y, e in zip(yardstick, exact, strict=True))
    return (exact[0], exact[1]), (errors[0], errors[1])


def relative_error(value: Tensor, exact: Tensor) -> float:
    return float((value.double() - exact).norm() / exact.norm())
