"""Small problems, whose softmax the torch back-end keeps for the backward."""

from __future__ import annotations

import pytest
import torch

from dftcore import linear_cross_entropy, linear_token_logprobs
from dftcore.losses import gradients, routed

ROWS, VOCAB = 7, 300


@pytest.fixture
def held(monkeypatch) -> list[tuple[int, ...]]:
    """The shapes of what is kept."""
    monkeypatch.setattr("dftcore.losses.scan.HELD_ELEMENTS", ROWS * VOCAB)
    shapes: list[tuple[int, ...]] = []

    def spy(grads: object, softmax: torch.Tensor, *rest: torch.Tensor) -> None:
        shapes.append(tuple(softmax.shape))
        gradients.from_softmax(grads, softmax, *rest)

    monkeypatch.setattr(routed, "from_softmax", spy)
    return shapes


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize("budget", [None, 0.0, 0.1])
def test_the_gradients_are_exact_at_any_budget(make_problem, held, dtype, tolerance, budget):
    problem = make_problem(ROWS, 5, VOCAB, dtype)
    problem.targets[[0, 4]] = -100
    options = {"bias": problem.bias, "temperature": 0.7, "outputs": ("entropy", "top1", "sum_p2")}
    upstream = torch.linspace(-1.0, 1.5, ROWS, dtype=dtype)
    results = []
    for backend in ("reference", "torch"):
        out = linear_token_logprobs(
            problem.hidden, problem.weight, problem.targets, error_budget=budget, backend=backend, **options
        )
        found = problem.gradients_of((out.logprob * upstream).sum())
        results.append((out.logprob, out.entropy, out.top1, out.sum_p2, *found))
    assert held == [(ROWS - 2, VOCAB)]
    for reference, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, reference, rtol=tolerance, atol=tolerance)


def test_a_probability_near_1_keeps_its_gradient(make_problem, held):
    problem = make_problem(ROWS, 5, VOCAB, torch.float32)
    hidden = problem.weight[problem.targets].detach() * 8.0
    hidden.requires_grad_()
    exact = problem.weight.detach().double().requires_grad_()
    wide = linear_cross_entropy(hidden.double(), exact, problem.targets, "sft", backend="reference")
    loss = linear_cross_entropy(hidden, problem.weight, problem.targets, "sft", backend="torch")
    ours, true = torch.autograd.grad(loss, problem.weight)[0], torch.autograd.grad(wide, exact)[0]
    assert held
    assert (ours - true).norm() <= 1e-4 * true.norm()


def test_a_second_backward_finds_what_the_first_did(make_problem, held):
    problem = make_problem(ROWS, 5, VOCAB)
    loss = linear_cross_entropy(problem.hidden, problem.weight, problem.targets, backend="torch")
    first = torch.autograd.grad(loss, (problem.hidden, problem.weight), retain_graph=True)
    for again, once in zip(torch.autograd.grad(loss, (problem.hidden, problem.weight)), first, strict=True):
        assert torch.equal(again, once)
    assert len(held) == 2


@pytest.mark.parametrize("frozen", ["hidden", "weight", "bias"])
def test_frozen_inputs_get_no_gradient_and_change_no_other(make_problem, held, frozen):
    problem = make_problem(ROWS, 5, VOCAB)
    names = ("hidden", "weight", "bias")

    def run() -> dict[str, torch.Tensor | None]:
        for name in names:
            getattr(problem, name).grad = None
        tensors = (problem.hidden, problem.weight, problem.targets)
        linear_cross_entropy(*tensors, bias=problem.bias, backend="torch").backward()
        return {name: getattr(problem, name).grad for name in names}

    both = run()
    getattr(problem, frozen).requires_grad_(False)
    alone = run()
    assert alone.pop(frozen) is None
    for name, gradient in alone.items():
        assert torch.equal(gradient, both[name])


def test_all_ignored_is_a_differentiable_zero(make_problem, held):
    problem = make_problem(ROWS, 5, VOCAB)
    ignored = torch.full_like(problem.targets, -100)
    loss = linear_cross_entropy(problem.hidden, problem.weight, ignored, bias=problem.bias, backend="torch")
    for gradient in problem.gradients_of(loss):
        assert torch.equal(gradient, torch.zeros_like(gradient))
    assert held == [(0, VOCAB)]


@pytest.mark.parametrize("case", ["at the limit", "one row more", "a soft-cap", "no gradient"])
def test_the_softmax_is_kept_only_of_a_small_problem_without_soft_cap_that_goes_backward(make_problem, held, case):
    problem = make_problem(ROWS + (case == "one row more"), 5, VOCAB)
    softcap = 5.0 if case == "a soft-cap" else None
    shapes: list[tuple[int, ...]] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), torch.set_grad_enabled(case != "no gradient"):
        linear_cross_entropy(problem.hidden, problem.weight, problem.targets, softcap=softcap, backend="torch")
    assert ((*problem.targets.shape, VOCAB) in shapes) == (case == "at the limit")
