"""The routed backward: what a budget drops, what that may cost, and what it costs."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from dftcore import linear_cross_entropy, linear_token_logprobs
from dftcore.kernels.budget import BLOCK, DEFAULT_ERROR_BUDGET
from dftcore.kernels.order import vocabulary_order
from dftcore.losses import routed, scan
from dftcore.losses.routing import Routes, block_count, route

DIM, VOCAB, ROWS = 48, 1100, 200


def peaked_problem(dtype: torch.dtype = torch.float64, offset: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states near the embedding of one or two tokens, so that few blocks hold most of each softmax;
    targets drawn from that softmax.

    `offset` is added to every logit through one dimension: the largest logits of pretrained models lie near 29.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(VOCAB, DIM, generator=generator, dtype=torch.float64)
    likely = torch.randint(0, VOCAB, (ROWS, 2), generator=generator)
    mix = torch.rand(ROWS, 2, 1, generator=generator, dtype=torch.float64)
    hidden = (weight[likely] * mix).sum(1) * 0.5
    targets = torch.multinomial((hidden @ weight.T).softmax(-1), 1, generator=generator).squeeze(-1)
    if offset:
        hidden[:, 0], weight[:, 0] = offset, 1.0
    return hidden.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), targets


def gradients(hidden: Tensor, weight: Tensor, targets: Tensor, upstream: Tensor, **options: object) -> list[Tensor]:
    logprob = linear_token_logprobs(hidden, weight, targets, **options).logprob
    return list(torch.autograd.grad((logprob * upstream).sum(), (hidden, weight)))


def routes_of(
    hidden: Tensor, weight: Tensor, targets: Tensor, upstream: Tensor, budget: float
) -> tuple[Routes, Tensor, Tensor]:
    """The routes that the backward takes, each pair's |g| mass in fp64, from the dense softmax, and the order of the
    vocabulary that its blocks are of."""
    with torch.no_grad():
        order = vocabulary_order(hidden, torch.arange(ROWS), ROWS, weight, None)
        targets = order.argsort()[targets]
        logp = (hidden @ weight[order].T).log_softmax(-1)
        padded = torch.nn.functional.pad(logp.exp(), (0, block_count(VOCAB) * BLOCK - VOCAB))
        mass = padded.unflatten(-1, (-1, BLOCK)).sum(-1)
        target_logp = logp.gather(-1, targets[:, None]).squeeze(-1)
        routes = route(upstream, target_logp, mass.log(), targets, VOCAB, budget)
        return routes, mass * upstream.abs()[:, None], order


@pytest.mark.parametrize("budget", [0.3, 0.1, 0.01, 0.001])
def test_the_dropped_mass_stays_within_the_budget_and_uses_it(budget):
    hidden, weight, targets = peaked_problem()
    upstream = torch.linspace(-1, 1, ROWS, dtype=torch.float64)
    routes, mass, order = routes_of(hidden, weight, targets, upstream, budget)
    p = linear_token_logprobs(hidden, weight, targets).logprob.detach().exp()
    allowed = budget * (2 * upstream.abs() * (1 - p)).sum()
    dropped = (mass * ~routes.keep).sum()
    assert dropped <= allowed
    assert dropped >= 0.4 * allowed  # the histogram's bins cost a few percent, the last bin up to its whole content
    assert routes.keep[torch.arange(ROWS), order.argsort()[targets] // BLOCK].all()


@pytest.mark.parametrize("adversarial", [False, True], ids=["peaked", "adversarial"])
@pytest.mark.parametrize("budget", [0.1, 0.01])
def test_the_certificate_bounds_the_error_of_every_row(adversarial, budget):
    """|error of dH_i| <= sum over dropped b of |g_i| mass_ib max_v |W_v - mean(W_b)|."""
    hidden, weight, targets = peaked_problem()
    if adversarial:  # one heavy, far-off column in every block: the block mean is as wrong as it can be
        with torch.no_grad():
            weight[::BLOCK] *= 6.0
    upstream = torch.linspace(-1, 1, ROWS, dtype=torch.float64)
    routes, mass, order = routes_of(hidden, weight, targets, upstream, budget)
    assert not routes.keep.all()
    blocks = weight.detach()[order].split(BLOCK)
    spread = torch.stack([(block - block.mean(0)).norm(dim=-1).max() for block in blocks])
    bound = (mass * ~routes.keep) @ spread
    exact, _ = gradients(hidden, weight, targets, upstream, backend="reference")
    ours, _ = gradients(hidden, weight, targets, upstream, backend="torch", error_budget=budget)
    error = (ours - exact).norm(dim=-1)
    assert (error <= bound * (1 + 1e-9) + 1e-12).all()
    assert error.max() > 1e-3 * bound.max()  # the bound is about this error, not vacuous


@pytest.mark.parametrize("adversarial", [False, True], ids=["peaked", "adversarial"])
@pytest.mark.parametrize("budget", [0.1, 0.01])
def test_the_certificate_bounds_the_error_of_every_block_of_dw(adversarial, budget):
    """sum over v in b of |error of dW_v| <= sum over rows i dropped from b of 2 |g_i| mass_ib |h_i|."""
    hidden, weight, targets = peaked_problem()
    if adversarial:  # all of a dropped block's mass on one column, and the rows pulling the same way
        with torch.no_grad():
            weight[::BLOCK] *= 6.0
            hidden[:, 0] = hidden[:, 0].abs()
    upstream = torch.linspace(-1, 1, ROWS, dtype=torch.float64)
    if adversarial:
        upstream = upstream.abs()
    routes, mass, order = routes_of(hidden, weight, targets, upstream, budget)
    assert not routes.keep.all()
    bound = 2 * (mass * ~routes.keep).T @ hidden.detach().norm(dim=-1)
    _, exact = gradients(hidden, weight, targets, upstream, backend="reference")
    _, ours = gradients(hidden, weight, targets, upstream, backend="torch", error_budget=budget)
    error = torch.stack([block.norm(dim=-1).sum() for block in (ours - exact)[order].split(BLOCK)])
    assert (error <= bound * (1 + 1e-9) + 1e-12).all()
    assert error.max() > 1e-2 * bound.max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_results_repeat_bit_for_bit(dtype):
    hidden, weight, targets = peaked_problem(dtype)
    runs = []
    for _ in range(2):
        loss = linear_cross_entropy(hidden, weight, targets, "dft", backend="torch")
        runs.append((loss, *torch.autograd.grad(loss, (hidden, weight))))
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)


def test_second_derivatives_are_refused():
    hidden, weight, targets = peaked_problem()
    loss = linear_cross_entropy(hidden, weight, targets, "dft", backend="torch")
    gradient = torch.autograd.grad(loss, hidden, create_graph=True)[0]
    with pytest.raises(RuntimeError):
        torch.autograd.grad(gradient.sum(), hidden)


@pytest.mark.parametrize("softcap", [None, 8.0])
def test_measured_error_falls_with_the_budget_down_to_exact(softcap):
    hidden, weight, targets = peaked_problem()
    upstream = torch.linspace(-1, 1, ROWS, dtype=torch.float64)
    exact = gradients(hidden, weight, targets, upstream, backend="reference", softcap=softcap)
    errors = []
    for budget in (0.1, 0.03, 0.01, 0.001, 0.0):
        ours = gradients(hidden, weight, targets, upstream, backend="torch", softcap=softcap, error_budget=budget)
        errors.append([float((a - b).norm() / b.norm()) for a, b in zip(ours, exact, strict=True)])
    for larger, smaller in pairwise(errors):
        assert all(s < max(0.7 * x, 1e-15) for s, x in zip(smaller, larger, strict=True)), errors
    assert max(errors[0]) < 0.2
    assert max(errors[-1]) < 1e-12


@pytest.mark.parametrize("objective", ["sft", "dft"])
def test_default_budget_errs_at_most_a_quarter_of_the_unfused_bf16_path(objective):
    """The yardstick: logits rounded to bf16, softmax in fp32, logit gradient rounded to bf16; error against fp64."""
    hidden, weight, targets = peaked_problem(torch.bfloat16, offset=25.0)

    def yardstick() -> tuple[Tensor, Tensor]:
        h, w, rows = hidden.detach(), weight.detach(), torch.arange(ROWS)
        logp = (h @ w.T).float().log_softmax(-1)
        onehot = torch.zeros_like(logp).index_put((rows, targets), torch.ones(ROWS))
        scale = logp[rows, targets].exp() if objective == "dft" else torch.ones(ROWS)
        grad = ((logp.exp() - onehot) * scale[:, None]).bfloat16().double()
        return grad @ w.double(), grad.T @ h.double()

    def loss_gradients(dtype: torch.dtype, backend: str) -> tuple[Tensor, ...]:
        h, w = hidden.detach().to(dtype).requires_grad_(), weight.detach().to(dtype).requires_grad_()
        loss = linear_cross_entropy(h, w, targets, objective, reduction="sum", backend=backend)
        return torch.autograd.grad(loss, (h, w))

    exact = loss_gradients(torch.float64, "reference")
    # in fp32, so that the rounding of the returned gradients to bf16, common to both paths, stays out of it
    for ours, theirs, true in zip(loss_gradients(torch.float32, "torch"), yardstick(), exact, strict=True):
        assert (ours.double() - true).norm() <= 0.25 * (theirs - true).norm()


def test_bf16_inputs_lose_no_more_than_the_rounding_of_the_gradients():
    hidden, weight, targets = peaked_problem(torch.bfloat16)
    wide = [t.detach().double().requires_grad_() for t in (hidden, weight)]
    narrow = linear_token_logprobs(hidden, weight, targets, error_budget=0.0, backend="torch").logprob
    exact = linear_token_logprobs(*wide, targets, backend="reference").logprob
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), exact, rtol=1e-5, atol=1e-5)
    for ours, true in zip(
        torch.autograd.grad(narrow.sum(), (hidden, weight)), torch.autograd.grad(exact.sum(), wide), strict=True
    ):
        assert (ours.double() - true).norm() <= 2.0**-8 * true.norm()


def test_probability_near_one_keeps_its_relative_precision():
    """1 - p = 1e-7 is lost when fp32 log-probabilities come from a difference of large numbers."""
    weight = torch.tensor([[1.0], [0.0], [0.0]])
    hidden = torch.tensor([[16.0]])
    logprob = linear_token_logprobs(hidden, weight, torch.tensor([0]), backend="torch").logprob
    expected = -torch.log1p(2 * torch.exp(torch.tensor(-16.0, dtype=torch.float64)))
    torch.testing.assert_close(logprob.double(), expected[None], rtol=1e-6, atol=0)


def test_large_and_masked_logits_stay_finite():
    """Logits of +-1e4, and a vocabulary mask of -inf over more than a whole block."""
    hidden, weight, targets = peaked_problem(torch.float32)
    bias = torch.zeros(VOCAB)
    bias[3 * BLOCK : 5 * BLOCK + 7] = -torch.inf
    allowed = torch.where(bias[targets] == 0, targets, -100)
    scaled = (hidden.detach() * 1e3).requires_grad_()
    results = []
    for backend in ("reference", "torch"):
        out = linear_token_logprobs(
            scaled, weight, allowed, bias=bias, outputs=("entropy", "sum_p2"), error_budget=0.0, backend=backend
        )
        grads = torch.autograd.grad(out.logprob.sum(), (scaled, weight))
        results.append((out.logprob, out.entropy, out.sum_p2, *grads))
    for ours, reference in zip(results[1], results[0], strict=True):
        assert ours.isfinite().all()
        error = (ours - reference).abs().max()
        assert error <= 3e-3 * reference.abs().max().clamp_min(1.0)  # fp32 resolves a logit of 1e4 to 1e-3


def test_chunking_changes_nothing(monkeypatch):
    hidden, weight, targets = peaked_problem()
    upstream = torch.linspace(-1, 1, ROWS, dtype=torch.float64)
    whole = gradients(hidden, weight, targets, upstream, backend="torch", error_budget=0.01)
    monkeypatch.setattr(routed, "ROWS", 33)
    monkeypatch.setattr(scan, "SLICE_ELEMENTS", 33 * BLOCK * 2)
    chunked = gradients(hidden, weight, targets, upstream, backend="torch", error_budget=0.01)
    torch.testing.assert_close(chunked, whole, rtol=1e-10, atol=1e-12)


def test_200_training_steps_coincide_with_the_reference():
    """A head and its hidden states, learned from scratch by AdamW on DFT at the default budget."""
    curves = []
    for backend in ("reference", "torch"):
        hidden, weight, targets = (t.detach().clone() for t in peaked_problem(torch.float32))
        parameters = [(hidden[:32] * 0.3).requires_grad_(), (weight[:300] * 0.3).requires_grad_()]
        optimizer = torch.optim.AdamW(parameters, lr=0.01)
        curve = []
        for _ in range(200):
            loss, stats = linear_cross_entropy(
                *parameters, targets[:32] % 300, "dft", backend=backend, return_stats=True
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(stats.nll.mean())
        curves.append(torch.stack(curve))
    reference, ours = curves
    assert reference[-1] < 0.5 * reference[0]
    assert ((ours - reference).abs() <= 0.02 * reference[0]).all()


def test_small_vocabularies_are_computed_exactly_by_default(monkeypatch):
    """Passes of different rows then differ by rounding alone."""
    tensors = peaked_problem(torch.float32)

    def gradients(budget: float | None) -> tuple[Tensor, ...]:
        loss = linear_cross_entropy(*tensors, "sft", error_budget=budget, backend="torch")
        return torch.autograd.grad(loss, tensors[:2])

    routed, exact = gradients(None), gradients(0.0)
    assert not any(torch.equal(a, b) for a, b in zip(routed, exact, strict=True))
    monkeypatch.setattr("dftcore.kernels.budget.SMALL", VOCAB + 1)
    assert all(torch.equal(a, b) for a, b in zip(gradients(None), exact, strict=True))


def test_the_default_budget_is_documented_where_users_read_it():
    assert DEFAULT_ERROR_BUDGET == 0.003
    assert "default 0.003, half of it" in (linear_token_logprobs.__doc__ or "")


def test_a_loss_that_is_not_finite_gives_gradients_that_say_so() -> None:
    hidden, weight, targets = peaked_problem(torch.float32)
    with torch.no_grad():
        hidden[3, 0] = float("inf")
    loss = linear_cross_entropy(hidden, weight, targets, "dft", backend="torch")
    grad_hidden, grad_weight = torch.autograd.grad(loss, (hidden, weight))
    assert not loss.isfinite()
    assert not grad_hidden[3].isfinite().any()
    assert not grad_weight.isfinite().all()
