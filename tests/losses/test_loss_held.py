"""Small problems, whose softmax the torch back-end keeps for the backward."""

from __future__ import annotations

import pytest
import torch

from dftcore import linear_cross_entropy, linear_token_logprobs
from dftcore.losses import gradients, routed, scan

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


def test_a_probability_near_1_keeps_its_gradient(held):
    """1 - p of every row is near 2e-6, of which the difference of 1 and a rounded p would keep two digits."""
    weight = torch.eye(VOCAB)
    targets = torch.arange(ROWS)
    hidden = 19.0 * weight[targets]
    gradients_of = []
    for dtype, backend in ((torch.float64, "reference"), (torch.float32, "torch")):
        head = weight.to(dtype).requires_grad_()
        loss = linear_cross_entropy(hidden.to(dtype), head, targets, "sft", backend=backend)
        gradients_of.append(torch.autograd.grad(loss, head)[0][:ROWS])
    true, ours = gradients_of
    assert held
    assert ((ours - true).norm(dim=-1) <= 1e-5 * true.norm(dim=-1)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_and_rounded_once(make_problem, held, monkeypatch, dtype):
    monkeypatch.setattr("dftcore.losses.scan.SLICE_ELEMENTS", 7 * 128)  # three slices
    problem = make_problem(ROWS, 5, VOCAB, dtype)
    results = []
    for kind in (dtype, torch.float32):
        leaves = [t.detach().to(kind).requires_grad_() for t in (problem.hidden, problem.weight, problem.bias)]
        loss = linear_cross_entropy(*leaves[:2], problem.targets, bias=leaves[2], error_budget=0.0, backend="torch")
        results.append([g.to(dtype) for g in torch.autograd.grad(loss, leaves)])
    assert len(held) == 2
    for half, single in zip(*results, strict=True):
        torch.testing.assert_close(half, single, rtol=1e-6, atol=1e-7)


def test_no_slice_of_the_weight_is_larger_than_without(make_problem, held, monkeypatch):
    """Small is the number of logits; the head may be of any size."""
    monkeypatch.setattr("dftcore.losses.scan.SLICE_ELEMENTS", 7 * 128)
    widths: list[int] = []

    def watch(host: type, name: str) -> None:
        original = getattr(host, name)

        def spy(self: object, columns: slice, *rest: object) -> None:
            widths.append(columns.stop - columns.start)
            original(self, columns, *rest)

        monkeypatch.setattr(host, name, spy)

    watch(scan.Scan, "add")
    watch(gradients.Gradients, "begin")
    problem = make_problem(ROWS, 5, VOCAB)
    linear_cross_entropy(problem.hidden, problem.weight, problem.targets, backend="torch").backward()
    assert widths == 2 * [128, 128, VOCAB - 256]


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


@pytest.mark.parametrize(
    ("case", "kept"),
    [
        ("at the limit", True),
        ("one row more", False),
        ("a soft-cap", False),
        ("no gradient", False),
        ("screened in bf16", False),
        ("bf16 that is not screened", True),
    ],
)
def test_what_is_kept(make_problem, held, monkeypatch, case, kept):
    found: list[bool] = []

    def watch(name: str) -> None:
        original = getattr(routed, name)

        def spy(*arguments: object) -> object:
            found.append(len(arguments) > 6 and arguments[6] is not None)
            return original(*arguments)

        monkeypatch.setattr(routed, name, spy)

    watch("scan_exactly")
    watch("screen")
    monkeypatch.setattr("dftcore.losses.screening._multiplies_bf16_fast", lambda: case == "screened in bf16")
    dtype = torch.bfloat16 if "bf16" in case else torch.float32
    problem = make_problem(ROWS + (case == "one row more"), 5, VOCAB, dtype)
    softcap = 5.0 if case == "a soft-cap" else None
    with torch.set_grad_enabled(case != "no gradient"):
        linear_cross_entropy(problem.hidden, problem.weight, problem.targets, softcap=softcap, backend="torch")
    assert found == [kept]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_compile_takes_it_as_one_graph(make_problem, held, dtype):
    problem = make_problem(ROWS, 5, VOCAB, dtype)
    inputs = (problem.hidden, problem.weight)

    def loss(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return linear_cross_entropy(hidden * 1.0, weight, problem.targets, backend="torch")

    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for ours, eager in zip(
        torch.autograd.grad(compiled(*inputs), inputs), torch.autograd.grad(loss(*inputs), inputs), strict=True
    ):
        torch.testing.assert_close(ours, eager)
