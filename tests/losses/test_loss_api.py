"""The public signature: what it refuses, what it leaves alone, and that the back-ends agree."""

from __future__ import annotations

import pytest
import torch
from torch.distributed.tensor import DTensor

from dftcore import linear_cross_entropy, linear_token_logprobs
from dftcore.errors import UserError
from dftcore.losses.kl import Head, reference_kl
from dftcore.losses.top_entropy import top_entropy

CPU_BACKENDS = ["reference", "torch"]


@pytest.fixture(autouse=True, params=[0, 1 << 22], ids=["routed", "held"])
def _held(request, monkeypatch, _as_if_large) -> None:
    monkeypatch.setattr("dftcore.losses.scan.HELD_ELEMENTS", request.param)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_all_labels_ignored_is_a_differentiable_zero(make_problem, backend):
    problem = make_problem()
    ignored = torch.full_like(problem.targets, -100)
    loss = linear_cross_entropy(problem.hidden, problem.weight, ignored, "dft", bias=problem.bias, backend=backend)
    assert loss.item() == 0.0
    for gradient in problem.gradients_of(loss):
        assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_ignored_rows_change_nothing(make_problem, backend):
    """An ignored row may hold NaN: it never enters the computation."""
    problem = make_problem()
    hidden = problem.hidden.detach().clone()
    hidden[[1, 4]] = torch.nan
    hidden.requires_grad_()
    targets = problem.targets.clone()
    targets[[1, 4]] = -7
    kept = torch.tensor([0, 2, 3, 5, 6])
    loss = linear_cross_entropy(hidden, problem.weight, targets, ignore_index=-7, backend=backend)
    alone = linear_cross_entropy(problem.hidden[kept], problem.weight, targets[kept], backend=backend)
    torch.testing.assert_close(loss, alone)
    gradient = torch.autograd.grad(loss, hidden)[0]
    assert torch.equal(gradient[[1, 4]], torch.zeros_like(gradient[[1, 4]]))
    torch.testing.assert_close(gradient[kept], torch.autograd.grad(alone, problem.hidden)[0][kept])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 5e-6)])
@pytest.mark.parametrize(("rows", "dim", "vocab"), [(1, 72, 515), (37, 72, 515), (5, 3, 2), (300, 16, 128)])
@pytest.mark.parametrize("softcap", [None, 5.0])
def test_torch_equals_reference(make_problem, dtype, tolerance, rows, dim, vocab, softcap):
    problem = make_problem(rows, dim, vocab, dtype, scale=0.5)
    options = {"bias": problem.bias, "softcap": softcap, "temperature": 0.8, "outputs": ("entropy", "top1", "sum_p2")}
    upstream = torch.linspace(-1, 1.5, rows, dtype=dtype)
    results = []
    for backend in CPU_BACKENDS:
        out = linear_token_logprobs(
            problem.hidden, problem.weight, problem.targets, error_budget=0.0, backend=backend, **options
        )
        gradients = problem.gradients_of((out.logprob * upstream).sum())
        results.append((out.logprob, out.entropy, out.top1, out.sum_p2, *gradients))
        assert not out.entropy.requires_grad
    for reference, ours in zip(*results, strict=True):
        scale = reference.abs().max().item()
        torch.testing.assert_close(ours, reference, rtol=0, atol=tolerance * max(scale, 1e-3))


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("frozen", ["hidden", "weight", "bias"])
def test_frozen_inputs_get_no_gradient_and_change_no_other(make_problem, backend, frozen):
    problem = make_problem()

    def run() -> None:
        loss = linear_cross_entropy(
            problem.hidden, problem.weight, problem.targets, bias=problem.bias, error_budget=0.0, backend=backend
        )
        loss.backward()

    run()
    names = ("hidden", "weight", "bias")
    expected = {name: getattr(problem, name).grad for name in names}
    for name in names:
        getattr(problem, name).grad = None
    getattr(problem, frozen).requires_grad_(False)
    run()
    for name in names:
        gradient = getattr(problem, name).grad
        if name == frozen:
            assert gradient is None
        else:
            torch.testing.assert_close(gradient, expected[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_leading_dimensions_and_strides_do_not_matter(make_problem, backend):
    problem = make_problem(rows=6)
    flat = linear_cross_entropy(problem.hidden, problem.weight, problem.targets, reduction="none", backend=backend)
    hidden = problem.hidden.detach().reshape(2, 3, 5).transpose(0, 1).contiguous().transpose(0, 1)
    weight = problem.weight.detach().T.contiguous().T
    assert not hidden.is_contiguous()
    assert not weight.is_contiguous()
    shaped = linear_cross_entropy(hidden, weight, problem.targets.reshape(2, 3), reduction="none", backend=backend)
    torch.testing.assert_close(shaped.flatten(), flat.detach())


def test_statistics_are_detached_and_named(make_problem):
    problem = make_problem()
    targets = problem.targets.clone()
    targets[0] = -100
    loss, stats = linear_cross_entropy(
        problem.hidden, problem.weight, targets, "dft", return_stats=True, stats_outputs=("top1",), reduction="none"
    )
    assert loss.requires_grad
    assert not any(value.requires_grad for value in (stats.logprob, stats.token_weight, stats.nll, stats.top1))
    assert stats.entropy is None
    torch.testing.assert_close(stats.token_weight[1:], stats.logprob.exp()[1:])
    assert stats.token_weight[0] == stats.nll[0] == 0
    torch.testing.assert_close(loss, stats.token_weight * stats.nll)


WRONG_ARGUMENTS = [
    ({"reduction": "avg"}, ValueError, "reduction"),
    ({"backend": "cuda"}, ValueError, "backend"),
    ({"temperature": 0.0}, ValueError, "temperature"),
    ({"softcap": -1.0}, ValueError, "softcap"),
    ({"error_budget": 1.0}, ValueError, "error_budget"),
    ({"stats_outputs": ("entropi",)}, ValueError, "did you mean .?entropy"),
    ({"token_weight": torch.ones(3)}, ValueError, "token_weight"),
    ({"bias": torch.ones(3)}, ValueError, "bias"),
    ({"targets": torch.zeros(7)}, TypeError, "targets"),
    ({"targets": torch.zeros(6, dtype=torch.int64)}, ValueError, "targets"),
    ({"targets": torch.full((7,), 11)}, ValueError, "vocabulary"),
    ({"targets": torch.full((7,), -1)}, ValueError, "vocabulary"),
    ({"weight": torch.ones(11, 4)}, ValueError, "weight"),
    ({"hidden": torch.ones(7, 5, dtype=torch.int32)}, TypeError, "hidden"),
    ({"weight": torch.ones(11, 5, device="meta")}, ValueError, "meta"),
    ({"objective": "dtf"}, UserError, "did you mean .?dft"),
]


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    WRONG_ARGUMENTS,
    ids=[f"{next(iter(w))}-{i}" for i, (w, *_) in enumerate(WRONG_ARGUMENTS)],
)
def test_a_wrong_argument_is_refused_by_name(make_problem, wrong, error, message):
    problem = make_problem()
    arguments = {"hidden": problem.hidden, "weight": problem.weight, "targets": problem.targets} | wrong
    with pytest.raises(error, match=message):
        linear_cross_entropy(**arguments)


def test_a_sharded_weight_is_refused(make_problem, tmp_path):
    """Gathering it here would hand each rank the gradient of its own tokens only."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        problem = make_problem()
        sharded = DTensor.from_local(problem.weight.detach(), mesh)
        with pytest.raises(TypeError, match="sharded DTensor"):
            linear_cross_entropy(problem.hidden, sharded, problem.targets)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("compiler", ["aot_eager", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_compile_takes_the_whole_loss_as_one_graph(make_problem, compiler, dtype):
    """Ignored labels, bias and a statistic included: nothing of it is read back to Python."""
    problem = make_problem(rows=9, dim=16, vocab=300, dtype=dtype, scale=0.4)
    problem.targets[[1, 4]] = -100
    inputs = (problem.hidden, problem.weight, problem.bias)

    def loss(hidden, weight, bias):
        return linear_cross_entropy(
            hidden * 1.0, weight, problem.targets, "dft", bias=bias, softcap=9.0, temperature=0.9, backend="torch",
            return_stats=True, stats_outputs=("entropy",),
        )[0]  # fmt: skip

    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend=compiler)
    for ours, eager in zip(
        torch.autograd.grad(compiled(*inputs), inputs), torch.autograd.grad(loss(*inputs), inputs), strict=True
    ):
        torch.testing.assert_close(ours, eager)


@pytest.mark.parametrize(("softcap", "ordered", "held"), [(5.0, True, False), (None, False, True)])
def test_operators_keep_their_schema_and_fake_shapes(make_problem, softcap, ordered, held):
    problem = make_problem(rows=6, dim=8, vocab=300)
    tensors = (problem.hidden, problem.weight, problem.targets, problem.bias)
    arguments = (*tensors, softcap, 0.8, -100, 0.1, [True] * 3, ordered, held)
    torch.library.opcheck(torch.ops.dftcore.routed_logprobs.default, arguments)
    found = torch.ops.dftcore.routed_logprobs(*(a.detach() if isinstance(a, torch.Tensor) else a for a in arguments))
    backward = (torch.ones(6, dtype=torch.float64), *arguments[:4], *found[:5], *arguments[4:8], [True, False, True])
    backward = tuple(a.detach() if isinstance(a, torch.Tensor) else a for a in backward)
    torch.library.opcheck(torch.ops.dftcore.routed_logprobs_backward.default, backward)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_changes_nothing(make_problem, backend, dtype):
    """The products inside are fp32 on purpose; autocast would round them."""
    problem = make_problem(rows=20, dim=32, vocab=300, dtype=dtype)

    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = linear_cross_entropy(problem.hidden, problem.weight, problem.targets, backend=backend)
        results.append((loss, *torch.autograd.grad(loss, (problem.hidden, problem.weight))))
    for under, plain in zip(*results, strict=True):
        assert torch.equal(under, plain)


def test_autocast_changes_neither_the_kl_nor_the_entropy_of_the_largest(make_problem):
    problem = make_problem(rows=20, dim=32, vocab=300, dtype=torch.float32)
    ones, other = torch.ones(20), problem.weight.detach().roll(1, 0)
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            kl, _ = reference_kl(problem.hidden, Head(problem.weight), problem.hidden.detach(), Head(other), ones)
            gradients = torch.autograd.grad(kl, (problem.hidden, problem.weight))
            results.append((kl, *gradients, top_entropy(problem.hidden.detach(), problem.weight.detach())))
    for under, plain in zip(*results, strict=True):
        assert torch.equal(under, plain)


@pytest.mark.parametrize("mode", ["torch", "reference"])
def test_fp16_inputs_are_computed_in_fp32(make_problem, mode):
    problem = make_problem(rows=30, dim=32, vocab=300, dtype=torch.float16, scale=0.7)
    ours = linear_token_logprobs(problem.hidden, problem.weight, problem.targets, backend=mode, error_budget=0.0)
    wide = [t.detach().double().requires_grad_() for t in (problem.hidden, problem.weight)]
    exact = linear_token_logprobs(*wide, problem.targets, backend="reference").logprob
    assert ours.logprob.dtype == torch.float32
    torch.testing.assert_close(ours.logprob.double(), exact, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(ours.logprob.sum(), (problem.hidden, problem.weight))
    for gradient, true in zip(gradients, torch.autograd.grad(exact.sum(), wide), strict=True):
        assert gradient.dtype == torch.float16
        assert (gradient.double() - true).norm() <= 2.0**-11 * true.norm()


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_strided_inputs_have_the_same_gradients(make_problem, backend):
    problem = make_problem(rows=8, dim=6, vocab=20)
    strided = (
        problem.hidden.detach().T.contiguous().T.requires_grad_(),
        problem.weight.detach().repeat(1, 2)[:, ::2].copy_(problem.weight.detach()).requires_grad_(),
    )
    assert not strided[0].is_contiguous()
    assert not strided[1].is_contiguous()
    results = [
        torch.autograd.grad(linear_cross_entropy(h, w, problem.targets, error_budget=0.0, backend=backend), (h, w))
        for h, w in ((problem.hidden, problem.weight), strided)
    ]
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_a_weight_that_is_not_finite_shows_in_loss_and_gradients(make_problem, value):
    problem = make_problem(rows=8, dim=6, vocab=300)
    with torch.no_grad():
        problem.weight[200, 2] = value
    loss = linear_cross_entropy(problem.hidden, problem.weight, problem.targets, backend="torch")
    assert not loss.isfinite()
    for gradient in torch.autograd.grad(loss, (problem.hidden, problem.weight)):
        assert not gradient.isfinite().all()
