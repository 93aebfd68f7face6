"""The operator around the kernels: that they run, what they refuse, torch.compile, strides, and a training curve."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dftcore import Objective, linear_cross_entropy, linear_token_logprobs
from dftcore.kernels import order
from dftcore.losses import triton_backend
from dftcore.losses.api import _resolve
from dftcore.objectives import TokenStatistics

backward = pytest.importorskip("dftcore.kernels.backward")
from dftcore.kernels import launch, power_loss, routes  # noqa: E402
from dftcore.kernels.config import Tiles, trying  # noqa: E402

KERNELS = {
    name: host for host in (launch, routes, backward, power_loss) for name in vars(host) if name.endswith("_kernel")
}


def problem(device: str, rows: int = 12, dim: int = 16, vocab: int = 300) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, dim, generator=generator).to(device).requires_grad_()
    weight = torch.randn(vocab, dim, generator=generator).to(device).requires_grad_()
    return hidden, weight, torch.randint(0, vocab, (rows,), generator=generator).to(device)


def test_the_triton_kernels_really_run(device, monkeypatch):
    launched: list[str] = []

    class Recorder:
        def __init__(self, name: str) -> None:
            self.name, self.kernel = name, getattr(KERNELS[name], name)

        def __getitem__(self, grid: tuple[int, ...]) -> object:
            launched.append(self.name)
            return self.kernel[grid]

    for name, host in KERNELS.items():
        monkeypatch.setattr(host, name, Recorder(name))
    hidden, weight, targets = problem(device)
    linear_cross_entropy(hidden, weight, targets, backend="triton", error_budget=0.1).backward()
    assert set(launched) == set(KERNELS)
    assert len(KERNELS) == 12
    launched.clear()
    linear_cross_entropy(hidden, weight, targets, backend="torch").backward()
    assert not launched


def test_auto_picks_triton_for_cuda_tensors_only(device):
    hidden, weight, _ = problem(device)
    assert _resolve("auto", hidden, weight) == ("triton" if device == "cuda" else "torch")
    assert _resolve("auto", hidden.double(), weight.double()) == "torch"


def test_refusals_name_the_mend(device, monkeypatch):
    hidden, weight, targets = problem(device)
    with pytest.raises(ValueError, match=r"float64.*use backend='torch'"):
        linear_cross_entropy(hidden.double(), weight.double(), targets, backend="triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="on cpu; move them to a CUDA device"):
        linear_cross_entropy(hidden.cpu(), weight.cpu(), targets.cpu(), backend="triton")


def test_a_target_outside_the_vocabulary_is_nan_and_touches_no_other_token(device):
    hidden, weight, targets = problem(device)
    expected = linear_token_logprobs(hidden, weight, targets, backend="triton").logprob
    targets[[2, 7]] = torch.tensor([300, -1], device=device)
    logprob = linear_token_logprobs(hidden, weight, targets, backend="triton").logprob
    assert logprob[[2, 7]].isnan().all()
    others = [0, 1, 3, 4, 5, 6, 8, 9, 10, 11]
    assert torch.equal(logprob[others], expected[others])


@pytest.mark.parametrize("budget", [0.0, 0.1])
def test_all_ignored_is_a_differentiable_zero(device, budget):
    hidden, weight, targets = problem(device)
    loss = linear_cross_entropy(hidden, weight, torch.full_like(targets, -100), backend="triton", error_budget=budget)
    assert loss.item() == 0.0
    for gradient in torch.autograd.grad(loss, (hidden, weight)):
        assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("frozen", ["hidden", "weight"])
@pytest.mark.parametrize("budget", [0.0, 0.1])
def test_frozen_inputs_get_no_gradient_and_change_no_other(device, frozen, budget):
    hidden, weight, targets = problem(device)

    def run() -> list[Tensor | None]:
        hidden.grad = weight.grad = None
        linear_cross_entropy(hidden, weight, targets, backend="triton", error_budget=budget).backward()
        return [hidden.grad, weight.grad]

    both = run()
    (hidden if frozen == "hidden" else weight).requires_grad_(False)
    alone = run()
    index = 0 if frozen == "hidden" else 1
    assert alone[index] is None
    assert alone[1 - index] is not None
    assert torch.equal(alone[1 - index], both[1 - index])


def test_bias_alone_can_be_trained(device):
    hidden, weight, targets = problem(device)
    bias = torch.zeros(300, device=device, requires_grad=True)
    options = {"bias": bias, "error_budget": 0.0}
    ours, reference = (
        torch.autograd.grad(
            linear_cross_entropy(hidden.detach(), weight.detach(), targets, backend=backend, **options), bias
        )[0]
        for backend in ("triton", "reference")
    )
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-7)


def test_strides_do_not_matter(device):
    hidden, weight, targets = (t.detach() for t in problem(device))
    strided = (hidden.T.contiguous().T.requires_grad_(), weight.repeat(1, 2)[:, ::2].copy_(weight).requires_grad_())
    plain = (hidden.clone().requires_grad_(), weight.clone().requires_grad_())
    results = []
    for h, w in (plain, strided):
        loss = linear_cross_entropy(h, w, targets, backend="triton", error_budget=0.1)
        results.append((loss, *torch.autograd.grad(loss, (h, w))))
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize("stride", [0, 2])
def test_strides_of_targets_and_bias_do_not_matter(device, stride):
    hidden, weight, targets = (t.detach() for t in problem(device))
    bias = torch.linspace(-1.0, 1.0, weight.shape[0], device=device)
    targets, bias = (t[:1].expand_as(t) if stride == 0 else t[:, None].repeat(1, 2)[:, 0] for t in (targets, bias))
    results = []
    for y, b in ((targets, bias), (targets.contiguous(), bias.contiguous())):
        states, b = hidden.clone().requires_grad_(), b.detach().requires_grad_()
        loss = linear_cross_entropy(states, weight, y, bias=b, backend="triton", error_budget=0.1)
        results.append((loss, *torch.autograd.grad(loss, (states, b))))
    torch.testing.assert_close(*results, rtol=0.0, atol=0.0)


def test_offsets_past_2_to_the_31(device):
    """Rows that lie 2^30 elements apart: the third one starts beyond what int32 can count."""
    storage = torch.empty(2 * 2**30 + 64, dtype=torch.float16, device=device)  # 4 GiB, of which three pages are touched
    far = storage.as_strided((3, 16), (2**30, 1))
    near = torch.randn(3, 16, dtype=torch.float16, device=device)
    far.copy_(near)
    other = torch.randn(3, 16, dtype=torch.float16, device=device)
    targets = torch.tensor([0, 1, 2], device=device)
    for hidden, weight in ((far, other), (other, far)):
        nearby = (near, other) if hidden is far else (other, near)
        results = [
            linear_token_logprobs(h, w, targets, backend="triton").logprob for h, w in ((hidden, weight), nearby)
        ]
        assert torch.equal(*results)


def test_operators_keep_their_schema_and_fake_shapes(device):
    hidden, weight, targets = problem(device)
    bias = torch.randn(300, device=device, requires_grad=True)
    arguments = (hidden, weight, targets, bias, 5.0, 0.8, -100, 0.1, True, True)
    torch.library.opcheck(
        torch.ops.dftcore.token_logprobs.default, arguments, test_utils=("test_schema", "test_faketensor")
    )

    logprob = torch.linspace(-9.0, 0.0, 12, device=device, requires_grad=True)
    torch.library.opcheck(
        torch.ops.dftcore.power_loss.default, (logprob, targets, torch.ones_like(logprob).detach(), 0.5, -100)
    )


@pytest.mark.parametrize("rows", [1, 37, 1024, 2500])
@pytest.mark.parametrize("objective", [Objective("sft"), Objective("dft"), Objective("power", alpha=0.5)], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_kernel_of_powers_is_the_objectives_formula(device, rows, objective, weighted):
    generator = torch.Generator().manual_seed(rows)
    logprob = -10.0 * torch.rand(rows, generator=generator) ** 3
    targets = torch.randint(0, 5, (rows,), generator=generator)
    targets[::3] = -7
    factor = torch.randn(rows, generator=generator).where(targets != -7, torch.nan) if weighted else None
    upstream = torch.randn(rows, generator=generator)
    valid, exact = targets != -7, logprob.double()
    w = objective.weight(exact, TokenStatistics(exact, 5))
    w = torch.where(valid, w * (1.0 if factor is None else factor), 0.0)

    given = logprob.to(device).requires_grad_()
    others = (targets.to(device), None if factor is None else factor.to(device), objective.exponent, -7)
    weights, losses, total = triton_backend.power_loss(given, *others)
    each = torch.autograd.grad((losses * upstream.to(device)).sum() - 2.0 * total, given)[0]
    tolerance = {"rtol": 1e-5, "atol": 1e-6, "check_dtype": False}
    torch.testing.assert_close(weights.cpu(), w, **tolerance)
    torch.testing.assert_close(losses.detach().cpu(), -w * exact, **tolerance)
    torch.testing.assert_close(total.detach().cpu(), -(w * exact).sum(), **tolerance)
    torch.testing.assert_close(each.cpu(), -w * (upstream - 2.0), **tolerance)
    assert not weights.requires_grad
    assert torch.equal(total, triton_backend.power_loss(given, *others)[2])


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_a_token_that_is_impossible_or_not_a_number_spoils_no_other(device, exponent):
    logprob = torch.tensor([-1.0, -torch.inf, -2.0, torch.nan], device=device, requires_grad=True)
    weights, losses, _ = triton_backend.power_loss(logprob, torch.zeros(4, dtype=torch.int64), None, exponent, -100)
    expected = Objective("power", alpha=exponent).weight(logprob, TokenStatistics(logprob, 5))
    if exponent == 0.0:
        expected = torch.ones_like(logprob)
    torch.testing.assert_close(weights, expected, equal_nan=True)
    (gradient,) = torch.autograd.grad(losses.sum(), logprob)
    torch.testing.assert_close(gradient, -expected, equal_nan=True)


def test_without_the_order_the_default_budget_is_that_of_the_vocabulary_as_it_lies(device, monkeypatch):
    """Which the copy engine takes it as, where tiles for it are in the table."""
    budgets: list[float] = []
    compute = triton_backend.token_logprobs

    def recorded(*tensors: Tensor, error_budget: float, **options: object) -> object:
        budgets.append(error_budget)
        return compute(*tensors, error_budget=error_budget, **options)

    monkeypatch.setattr(triton_backend, "token_logprobs", recorded)
    hidden, weight, targets = problem(device)
    boxes = Tiles({"BM": 64, "BV": 128, "BK": 64, "GROUP": 2, "RUN": 2, "TMA": 1, "FLATTEN": 0}, 4, 2)
    linear_cross_entropy(hidden, weight, targets, backend="triton")
    with trying(forward=boxes):
        linear_cross_entropy(hidden, weight, targets, backend="triton")
        linear_cross_entropy(hidden, weight, targets, backend="triton", softcap=30.0)  # the default tiles
    assert budgets == [0.003, 0.0015, 0.003]


def test_torch_compile_takes_the_whole_loss_as_one_graph(device):
    hidden, weight, targets = problem(device)

    def loss(h: Tensor, w: Tensor) -> Tensor:
        return linear_cross_entropy(h * 1.0, w, targets, "dft", backend="triton", error_budget=0.1)

    eager = torch.autograd.grad(loss(hidden, weight), (hidden, weight))
    compiled = torch.autograd.grad(
        torch.compile(loss, fullgraph=True, backend="aot_eager")(hidden, weight), (hidden, weight)
    )
    torch.testing.assert_close(compiled, eager)


def test_a_training_curve_coincides_with_the_reference(device):
    """20 steps of DFT by gradient descent, hidden and weight both learned, at the default budget."""
    curves = {}
    for backend in ("reference", "triton"):
        hidden, weight, targets = (t.detach().clone() for t in problem(device))
        parameters = [(hidden * 0.3).requires_grad_(), (weight * 0.3).requires_grad_()]
        optimizer = torch.optim.AdamW(parameters, lr=0.03)
        curve = []
        for _ in range(20):
            loss = linear_cross_entropy(*parameters, targets, "dft", backend=backend)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.detach())
        curves[backend] = torch.stack(curve)
    assert curves["reference"][-1] > 5 * curves["reference"][0]  # p log p rises as p leaves 0: it does learn
    torch.testing.assert_close(curves["triton"], curves["reference"], rtol=0.02, atol=1e-4)


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_the_backward_makes_no_zeros_for_outputs_that_have_no_gradient(device, backend):
    """The log masses are one of the operators' outputs: zeros of their size would count as memory."""
    shapes: list[tuple[int, ...]] = []

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if function is torch.ops.aten.zeros.default:
                shapes.append(tuple(args[0]))
            return function(*args, **(kwargs or {}))

    hidden, weight, targets = problem(device)
    loss = linear_cross_entropy(hidden, weight, targets, backend=backend, error_budget=0.1)
    with Watching():
        loss.backward()
    assert {(12,), (3, 12), (12, 3)}.isdisjoint(shapes)


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_no_order_of_the_vocabulary_is_made_where_nothing_goes_backward(device, backend, monkeypatch):
    made: list[str] = []
    for host in (launch, order):

        def spy(*arguments: object, original: Callable[..., Tensor] = host.vocabulary_order) -> Tensor:
            made.append(backend)
            return original(*arguments)

        monkeypatch.setattr(host, "vocabulary_order", spy)
    hidden, weight, targets = problem(device)
    options = {"error_budget": 0.1, "backend": backend}
    expected = linear_token_logprobs(hidden, weight, targets, **options).logprob
    assert len(made) == 1
    with torch.no_grad():
        without = linear_token_logprobs(hidden, weight, targets, **options).logprob
    frozen = linear_token_logprobs(hidden.detach(), weight.detach(), targets, **options).logprob
    assert len(made) == 1
    for logprob in (without, frozen):
        torch.testing.assert_close(logprob, expected.detach())


@pytest.mark.parametrize("backend", ["triton", "torch"])
@pytest.mark.parametrize("narrow", [0, 1], ids=["hidden", "weight"])
def test_two_types_are_computed_in_the_wider_one(device, backend, narrow):
    *tensors, targets = problem(device)
    with torch.no_grad():
        tensors[narrow] = tensors[narrow].half()
    results = []
    for inputs in (tensors, [t.float() for t in tensors]):
        leaves = [t.detach().requires_grad_() for t in inputs]
        loss = linear_cross_entropy(*leaves, targets, backend=backend, error_budget=0.0)
        gradients = torch.autograd.grad(loss, leaves)
        assert [g.dtype for g in gradients] == [t.dtype for t in inputs]
        results.append((loss, *gradients))
    for ours, wide in zip(*results, strict=True):
        torch.testing.assert_close(ours, wide.to(ours.dtype), rtol=1e-5, atol=1e-7)
