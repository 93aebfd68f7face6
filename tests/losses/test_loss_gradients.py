"""The gradients that define the objectives, in fp64, against autograd of each objective's own loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dftcore import Objective, linear_cross_entropy, linear_token_logprobs
from dftcore.errors import UserError
from dftcore.losses.top_entropy import top_entropy
from dftcore.objectives import OBJECTIVES, objective

EXACT = {"rtol": 1e-9, "atol": 1e-12}


@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("with_bias", [False, True])
def test_logprobs_pass_gradcheck(make_problem, backend, softcap, temperature, with_bias):
    problem = make_problem(rows=4, dim=3, vocab=6)

    def logprobs(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return linear_token_logprobs(
            hidden, weight, problem.targets, bias=bias if with_bias else None, softcap=softcap,
            temperature=temperature, error_budget=0.0, backend=backend,
        ).logprob  # fmt: skip

    inputs = (problem.hidden, problem.weight, problem.bias if with_bias else problem.bias.detach())
    assert torch.autograd.gradcheck(logprobs, inputs)


# The loss whose gradient each objective is, as a function of the log-probabilities; where the weight is not a
# function of p alone it is written with the stop-gradient of its definition.
LOSSES: dict[str, tuple[dict[str, float], Callable[[Tensor], Tensor]]] = {
    "sft": ({}, lambda logp: -logp),
    "rft": ({}, lambda logp: -logp),
    "dft": ({}, lambda logp: -logp.exp()),  # w = -p f'(p) = p  <=>  f = -p
    "power": ({"alpha": 0.5}, lambda logp: -(0.5 * logp).exp() / 0.5),
    "threshold": ({"q": 0.1}, lambda logp: -logp * (logp.exp() >= 0.1)),
    "clamp": ({"floor": 0.1}, lambda logp: torch.where(logp.exp() > 0.1, -logp.exp(), -0.1 * logp)),
    "blend": ({"mix": 0.3}, lambda logp: -0.3 * logp.exp() - 0.7 * logp),
    "chord": ({}, lambda logp: -logp.exp() + (2 * logp).exp() / 2),  # w = p - p^2
    "focal": ({"gamma": 2.0}, lambda logp: -((1 - logp.exp()) ** 2) * logp),
    "unlikelihood": ({}, lambda logp: -torch.log1p(-logp.exp())),
}


def test_every_objective_is_tested_against_its_loss():
    elsewhere = {"eaft", "eaft_top20", "talr", "iw_sft", "psft", "dpo", "asft"}  # here, and in test_loss_sequences/kl
    assert LOSSES.keys() | elsewhere == OBJECTIVES.keys()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_objective_has_the_gradient_of_its_defining_loss(make_problem, name, backend):
    problem = make_problem()
    parameters, defining_loss = LOSSES[name]
    logprob = problem.logprobs()
    defined = defining_loss(logprob).sum()
    weight = -torch.autograd.grad(defined, logprob, retain_graph=True)[0]
    expected = torch.autograd.grad(defined, (problem.hidden, problem.weight))
    loss = linear_cross_entropy(
        problem.hidden, problem.weight, problem.targets, Objective(name, **parameters), reduction="sum",
        error_budget=0.0, backend=backend,
    )  # fmt: skip
    torch.testing.assert_close(loss, -(weight * logprob).sum(), **EXACT)
    for ours, theirs in zip(torch.autograd.grad(loss, (problem.hidden, problem.weight)), expected, strict=True):
        torch.testing.assert_close(ours, theirs, **EXACT)


@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize(("name", "kept"), [("eaft", 40), ("eaft_top20", 20)])
def test_entropy_weight_is_detached(make_problem, backend, name, kept):
    problem = make_problem(vocab=40)
    logits = (problem.hidden @ problem.weight.T).detach().topk(kept).values
    entropy = torch.distributions.Categorical(logits=logits).entropy()
    expected_loss = (-problem.logprobs() * entropy / math.log(kept)).sum()
    loss = linear_cross_entropy(
        problem.hidden, problem.weight, problem.targets, name, reduction="sum", error_budget=0.0, backend=backend
    )
    torch.testing.assert_close(loss, expected_loss, **EXACT)
    expected = torch.autograd.grad(expected_loss, problem.hidden)[0]
    torch.testing.assert_close(torch.autograd.grad(loss, problem.hidden)[0], expected, **EXACT)


def test_the_largest_logits_are_found_slice_by_slice(make_problem, monkeypatch):
    monkeypatch.setattr("dftcore.losses.top_entropy.ROWS", 3)
    monkeypatch.setattr("dftcore.losses.top_entropy.COLUMNS", 16)
    problem = make_problem(vocab=51)
    options = {"bias": problem.bias.detach(), "softcap": 2.0, "temperature": 0.7}
    logits = 2.0 * torch.tanh((problem.hidden @ problem.weight.T + problem.bias) / 2.0) / 0.7
    expected = torch.distributions.Categorical(logits=logits.topk(20).values).entropy()
    found = top_entropy(problem.hidden, problem.weight, **options)
    torch.testing.assert_close(found, expected.detach(), **EXACT)
    assert top_entropy(problem.hidden[:, None], problem.weight).shape == (7, 1)
    assert top_entropy(problem.hidden[:0], problem.weight).shape == (0,)


def test_a_mean_can_be_over_the_kept_tokens(make_problem):
    problem = make_problem()
    targets = problem.targets.clone()
    targets[2] = -100

    def loss(reduction: str, **options: str) -> Tensor:
        objective = Objective("threshold", q=0.1, **options)
        return linear_cross_entropy(problem.hidden, problem.weight, targets, objective, reduction=reduction)

    kept = int((problem.logprobs()[targets >= 0].exp() >= 0.1).sum())
    assert 0 < kept < 6
    torch.testing.assert_close(loss("mean"), loss("sum") / 6)
    torch.testing.assert_close(loss("mean", denominator="kept"), loss("sum") / kept)
    with pytest.raises(UserError, match="denominator 'weight' is not one of tokens, kept"):
        Objective("threshold", denominator="weight")
    with pytest.raises(UserError, match="denominator 'kept' is not one of tokens"):
        Objective("dft", denominator="kept")


@pytest.mark.parametrize("name", [name for name, known in OBJECTIVES.items() if known.context])
def test_an_objective_that_needs_more_says_what_and_the_way(make_problem, name):
    problem = make_problem()
    with pytest.raises(UserError, match=r"needs .*linear_token_logprobs.*token_weight"):
        linear_cross_entropy(problem.hidden, problem.weight, problem.targets, name)


def test_a_missing_detach_would_flip_the_sign_at_low_probability():
    """-dL/dz_y = w (1 - p): +0.05 (1 - p) with the weight detached; p (1 + log p) = -0.0998 without."""
    p = 0.05
    hidden = torch.ones(1, 1, dtype=torch.float64)
    weight = torch.tensor([[math.log(p)], [math.log(1 - p)]], dtype=torch.float64, requires_grad=True)
    target = torch.zeros(1, dtype=torch.int64)
    loss = linear_cross_entropy(hidden, weight, target, "dft", reduction="sum")
    factor = -torch.autograd.grad(loss, weight)[0][0, 0] / (1 - p)
    assert factor.item() == pytest.approx(0.05, rel=1e-9)

    logp = linear_token_logprobs(hidden, weight, target).logprob
    undetached = -torch.autograd.grad(-(logp.exp() * logp).sum(), weight)[0][0, 0] / (1 - p)
    assert undetached.item() == pytest.approx(-0.0998, abs=1e-4)


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_token_weights_of_both_signs_scale_the_gradient_of_their_token(make_problem, backend):
    problem = make_problem()
    token_weight = torch.linspace(-2, 2, 7, dtype=torch.float64, requires_grad=True)
    expected = problem.gradients_of((-problem.logprobs() * token_weight.detach()).sum() + 0 * problem.bias.sum())
    loss = linear_cross_entropy(
        problem.hidden, problem.weight, problem.targets, "sft", token_weight=token_weight, reduction="sum",
        error_budget=0.0, backend=backend,
    )  # fmt: skip
    ours = torch.autograd.grad(loss, (problem.hidden, problem.weight, token_weight), allow_unused=True)
    torch.testing.assert_close(ours[:2], expected[:2], **EXACT)
    assert ours[2] is None


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_reduction_none_passes_each_row_its_own_upstream_gradient(make_problem, backend):
    problem = make_problem()
    upstream = torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = torch.autograd.grad(-problem.logprobs(), (problem.hidden, problem.weight), upstream)
    loss = linear_cross_entropy(
        problem.hidden, problem.weight, problem.targets, "sft", reduction="none", error_budget=0.0, backend=backend
    )
    assert loss.shape == problem.targets.shape
    ours = torch.autograd.grad(loss, (problem.hidden, problem.weight), upstream)
    torch.testing.assert_close(ours, expected, **EXACT)


def test_reductions_and_normalizer_agree(make_problem):
    problem = make_problem()
    targets = problem.targets.clone()
    targets[2] = -100

    def loss(reduction: str, normalizer: float | Tensor | None = None) -> Tensor:
        return linear_cross_entropy(
            problem.hidden, problem.weight, targets, "dft", reduction=reduction, normalizer=normalizer
        )

    total = loss("sum")
    torch.testing.assert_close(loss("none").sum(), total)
    torch.testing.assert_close(loss("mean"), total / 6)
    torch.testing.assert_close(loss("mean", 13.0), total / 13)
    torch.testing.assert_close(loss("sum", torch.tensor(13)), total / 13)
    assert loss("none")[2] == 0


def test_an_exponent_that_names_no_parameter_is_refused():
    with pytest.raises(UserError, match="exponent 'beta' is not one of its parameters"):
        objective("mine", parameters={"alpha": 1.0}, formula="p^alpha", source="mine", exponent="beta")(lambda p, _: p)
    assert "mine" not in OBJECTIVES
