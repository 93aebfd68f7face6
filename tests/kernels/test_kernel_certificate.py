"""What the routed backward may err by, on inputs made to make it err and on a real model's states.

The certificate: |error of dH_i| <= sum over dropped b of |g_i| mass_ib max_v |W_v - mean(W_b)|, and for dW
sum over v in b of |error of dW_v| <= sum over rows i dropped from b of 2 |g_i| mass_ib |h_i|.
"""

from __future__ import annotations

import importlib
import os
import sys

import pytest
import torch
from support import ROOT
from torch import Tensor

from dftcore import linear_token_logprobs
from dftcore.kernels.budget import BLOCK
from dftcore.kernels.order import vocabulary_order
from dftcore.losses.routing import route

pytest.importorskip("dftcore.kernels.backward")
ROWS, DIM, VOCAB = 60, 24, 700
Inputs = tuple[Tensor, Tensor, Tensor]


def peaked(adversarial: bool = False) -> Inputs:
    """Hidden states near two embeddings each. Adversarial: one column of every block is far off and carries its mass,
    and all rows pull the same way."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(VOCAB, DIM, generator=generator)
    hidden = weight[torch.randint(0, VOCAB, (ROWS, 2), generator=generator)].sum(1) * 0.35
    if adversarial:
        hidden[:, 0] = hidden[:, 0].abs()
        weight[::BLOCK] *= 5.0
    targets = torch.multinomial((hidden @ weight.T).softmax(-1), 1, generator=generator).squeeze(-1)
    return hidden, weight, targets


def gradients(inputs: Inputs, backend: str, budget: float | None, bias: Tensor | None = None, **options: float):
    """Of sum_i p_i logprob_i with p detached, in fp64: dH, dW and, with a bias, dbias; the reference's from fp64."""
    wide = torch.float64 if backend == "reference" else None
    leaves = [t.to(wide).clone().requires_grad_() for t in (*inputs[:2], *([] if bias is None else [bias]))]
    found = linear_token_logprobs(
        *leaves[:2], inputs[2], bias=leaves[2] if bias is not None else None, backend=backend, error_budget=budget,
        **options,
    )  # fmt: skip
    loss = (found.logprob.detach().exp() * found.logprob).sum()
    return [gradient.double() for gradient in torch.autograd.grad(loss, leaves)]


def certificate(inputs: Inputs, budget: float) -> tuple[Tensor, Tensor, Tensor]:
    """The bounds of dH [N] and dW [blocks], and the order of the vocabulary, from the dense softmax in fp64."""
    hidden, weight, targets = inputs
    order = vocabulary_order(hidden, torch.arange(len(hidden), device=hidden.device), len(hidden), weight, None)
    places = order.argsort()[targets]
    logp = (hidden.double() @ weight[order].double().T).log_softmax(-1)
    blocks = -(-len(weight) // BLOCK)
    mass = torch.nn.functional.pad(logp.exp(), (0, blocks * BLOCK - len(weight))).unflatten(-1, (-1, BLOCK)).sum(-1)
    target = logp.gather(-1, places[:, None]).squeeze(-1)
    keep = route(target.exp(), target, mass.log(), places, len(weight), budget).keep
    assert not keep.all()
    dropped = target.exp()[:, None] * mass * ~keep
    spread = torch.stack([(b - b.mean(0)).norm(dim=-1).max() for b in weight[order].double().split(BLOCK)])
    return dropped @ spread, 2 * dropped.T @ hidden.double().norm(dim=-1), order


def hold(inputs: Inputs, backend: str, budget: float, rounding: float) -> None:
    """Both bounds, up to rounding; and the largest error is no thousandth of the largest bound, which would say little.

    The kernels keep masses in fp16, and may drop a pair more or less than these routes.
    """
    rows, blocks, order = certificate(inputs, budget)
    ours, exact = gradients(inputs, backend, budget), gradients(inputs, "reference", None)
    hidden_error = (ours[0] - exact[0]).norm(dim=-1)
    weight_error = torch.stack([b.norm(dim=-1).sum() for b in (ours[1] - exact[1])[order].split(BLOCK)])
    size = torch.stack([b.norm(dim=-1).sum() for b in exact[1][order].split(BLOCK)])
    for error, bound, true in ((hidden_error, rows, exact[0].norm(dim=-1)), (weight_error, blocks, size)):
        assert (error <= bound + rounding * (true + true.mean())).all()
        assert error.max() > 1e-3 * bound.max()


@pytest.mark.parametrize("budget", [0.1, 0.01])
def test_the_certificate_holds_for_both_gradients_on_adversarial_inputs(device, budget):
    hidden, weight, targets = (t.to(device) for t in peaked(adversarial=True))
    hold((hidden, weight, targets), "triton", budget, rounding=1e-5)


@pytest.mark.parametrize("budget", [0.1, 0.003])
def test_fp16_errs_by_its_rounding_beyond_what_fp32_does(device, budget):
    hidden, weight, targets = (t.to(device) for t in peaked())
    narrow = hidden.half(), weight.half(), targets
    exact = gradients(narrow, "reference", None)
    routed = gradients((narrow[0].float(), narrow[1].float(), targets), "torch", budget)
    for ours, theirs, true in zip(gradients(narrow, "triton", budget), routed, exact, strict=True):
        allowed = 1.1 * (theirs - true).norm() + 2.0**-10 * true.norm()
        assert (ours - true).norm() <= allowed


@pytest.mark.parametrize("softcap", [6.0, None])
def test_the_gradient_of_the_bias_keeps_the_sum_of_every_block(device, softcap):
    """Against fp64: what is dropped is spread within its block, so the blocks' sums are right to rounding; with a
    soft-cap too, whose slope the masses hold."""
    hidden, weight, targets = (t.to(device) for t in peaked())
    bias = torch.linspace(-1.0, 1.0, VOCAB, device=device)
    options = {} if softcap is None else {"softcap": softcap}
    ours = gradients((hidden, weight, targets), "triton", 0.1, bias, **options)[2]
    exact = gradients((hidden, weight, targets), "reference", None, bias, **options)[2]
    error = ours - exact
    assert 1e-3 * exact.norm() <= error.norm() <= 0.1 * exact.norm()
    order = vocabulary_order(hidden, torch.arange(ROWS, device=device), ROWS, weight, bias)
    sums = torch.stack([block.sum() for block in error[order].split(BLOCK)])
    assert sums.abs().sum() <= 0.02 * error.abs().sum()


@pytest.fixture(scope="module")
def states() -> Inputs:
    """256 tokens' hidden states, the head's weight, and targets."""
    model, data = (os.environ.get(name) for name in ("DFTCORE_MODEL", "DFTCORE_DATA"))
    if not model or not data:
        pytest.skip("needs a real model: set DFTCORE_MODEL to its directory, DFTCORE_DATA to problems and solutions")
    sys.path.insert(0, str(ROOT / "benchmarks"))
    found = importlib.import_module("loss_inputs").real(model, data, 256)
    return found.hidden, found.weight, found.targets


@pytest.mark.parametrize("budget", [0.1, 0.003])
def test_the_certificate_holds_on_a_real_model_s_states(states, budget):
    hold(states, "torch", budget, rounding=1e-4)


def test_the_certificate_holds_for_the_kernels_on_a_slice_of_real_states(states, device):
    """The entries that the first rows find likeliest, so few that the interpreter has done soon."""
    hidden, weight, targets = states[0][:24], states[1], states[2][:24]
    likely = (hidden @ weight.T).softmax(-1).sum(0)
    likely[targets] = torch.inf
    entries = likely.topk(1000).indices.sort().values
    part = hidden, weight[entries], torch.searchsorted(entries, targets)
    hold(tuple(t.to(device) for t in part), "triton", 0.1, rounding=1e-4)
