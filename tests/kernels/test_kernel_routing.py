"""The routed backward of the kernels: the same routes as the torch back-end, within the budget, every time the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dftcore import linear_cross_entropy, linear_token_logprobs
from dftcore.kernels import plan as plans
from dftcore.kernels.budget import BINS, BINS_PER_OCTAVE, BLOCK, DEFAULT_ERROR_BUDGET, cutoff_bin
from dftcore.kernels.plan import make_plan
from dftcore.losses.routing import route as torch_route

backward = pytest.importorskip("dftcore.kernels.backward")
from dftcore.kernels import launch, routes  # noqa: E402

ROWS, DIM, VOCAB = 60, 24, 700


def peaked(device: str, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states near two embeddings each; two rows are ignored and hold NaN."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(VOCAB, DIM, generator=generator)
    hidden = weight[torch.randint(0, VOCAB, (ROWS, 2), generator=generator)].sum(1) * 0.35
    targets = torch.multinomial((hidden @ weight.T).softmax(-1), 1, generator=generator).squeeze(-1)
    targets[[0, 59]] = -100
    hidden[[0, 59]] = torch.nan
    return tuple(t.to(device, dtype) if t.is_floating_point() else t.to(device) for t in (hidden, weight, targets))


def gradients(
    tensors: tuple[Tensor, Tensor, Tensor], backend: str, error_budget: float | None, **options: object
) -> tuple[Tensor, ...]:
    hidden, weight = (t.clone().requires_grad_() for t in tensors[:2])
    loss = linear_cross_entropy(hidden, weight, tensors[2], backend=backend, error_budget=error_budget, **options)
    return torch.autograd.grad(loss, (hidden, weight))


@pytest.mark.parametrize("budget", [0.2, 0.03, 0.003])
def test_routes_stay_within_the_budget_and_are_nearly_those_of_the_torch_back_end(device, budget):
    """Nearly, because the kernels keep the masses in fp16, rounded up."""
    hidden, weight, targets = peaked(device)
    head = launch.Head(hidden, weight, None, targets, None, 1.0)
    found = launch.scan(head, -100, masses=True, moments=False, top1=False)
    valid = (targets != -100).nonzero().squeeze(-1)
    assert found.count.item() == len(valid)
    assert torch.equal(found.rows[: len(valid)].long(), valid)
    grad = torch.linspace(-1.0, 0.7, ROWS, device=device)
    up = routes.upstream(head, found, grad, -100)
    head, order = head.ordered(found.order), found.order.long()
    cut = routes.cut_of(head, found, up, budget)
    counts = torch.zeros(head.blocks, dtype=torch.int32, device=device)
    shares = routes.shares_of(head, found, up, cut, counts)
    step = backward.Steps(head, found, up)
    plan = make_plan(None, counts, ROWS, step.tile_rows, ROWS * head.blocks + ROWS)
    step.fill(plan, plan.groups[0, 2:], cut)

    assert torch.equal(order[head.targets[valid]], targets[valid])
    targets = head.targets
    logits = hidden[valid].double() @ weight[order].double().T
    logp = logits.log_softmax(-1)
    mass = torch.nn.functional.pad(logp.exp(), (0, head.blocks * BLOCK - VOCAB)).unflatten(-1, (-1, BLOCK)).sum(-1)
    target_logp = logp.gather(-1, targets[valid, None]).squeeze(-1)
    expected = torch_route(grad[valid].double(), target_logp, mass.log(), targets[valid], VOCAB, budget)
    keep = torch.zeros(ROWS, head.blocks, dtype=torch.bool, device=device)
    for block, (start, length) in enumerate(zip(plan.list_starts.tolist(), counts.tolist(), strict=True)):
        listed = plan.lists[start : start + length]
        assert torch.equal(listed, listed.sort().values)
        assert len(listed.unique()) == length
        keep[listed.long(), block] = True
    keep = keep[valid]
    assert (keep != expected.keep).double().mean() <= 0.02
    assert not keep.all()  # something is dropped
    dropped = (mass * grad[valid].abs().double()[:, None])[~keep].sum()
    assert dropped <= budget * 2 * (grad[valid].double() * torch.expm1(target_logp)).abs().sum()

    by_position = shares.permute(1, 0, 2).reshape(ROWS, -1)[: len(valid), : head.blocks].double() / 4096
    assert torch.equal(by_position == 0, keep)
    sizes = torch.tensor([BLOCK] * (head.blocks - 1) + [VOCAB - BLOCK * (head.blocks - 1)], device=device)
    true = (mass * grad[valid].double()[:, None] / sizes).masked_fill(keep, 0.0)
    torch.testing.assert_close(by_position * up.scale.double(), true, rtol=0.02, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"softcap": 6.0}, {"reduction": "sum"}], ids=["plain", "softcap", "sum"])
def test_gradients_are_nearly_those_of_the_torch_back_end(device, options):
    """Nearly the same routes and stand-ins for what is dropped: they agree below the error they share."""
    tensors = peaked(device)
    ours = gradients(tensors, "triton", 0.03, **options)
    torch_s = gradients(tensors, "torch", 0.03, **options)
    exact = gradients(tensors, "reference", None, **options)
    for mine, theirs, true in zip(ours, torch_s, exact, strict=True):
        assert (mine - theirs).norm() <= 0.5 * (mine - true).norm()
        assert 1e-4 * true.norm() <= (mine - true).norm() <= 0.2 * true.norm()


@pytest.mark.parametrize("budget", [0.0, 0.03])
def test_results_repeat_bit_for_bit(device, budget):
    tensors = peaked(device)
    first, second = (gradients(tensors, "triton", budget) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**40])
def test_fixed_point_sums_do_not_depend_on_the_size_of_the_gradient(device, scale):
    tensors = peaked(device)
    usual = gradients(tensors, "triton", 0.03)
    scaled = gradients(tensors, "triton", 0.03, normalizer=float((tensors[2] != -100).sum()) / scale)
    for a, b in zip(scaled, usual, strict=True):
        assert torch.equal(a / scale, b)


def test_fixed_point_sums_are_as_good_as_fp32_ones(device):
    """At a budget that drops next to nothing, against the sums in fp32."""
    tensors = peaked(device)
    exact = gradients(tensors, "reference", None)
    for mine, true in zip(gradients(tensors, "triton", 1e-9), exact, strict=True):
        assert (mine - true).norm() <= 1e-5 * true.norm()


def test_many_groups_give_what_one_gives(device, monkeypatch):
    """A workspace of little more than one list's length: one block at a time."""
    tensors = peaked(device)
    for budget in (0.0, 0.03):
        together = gradients(tensors, "triton", budget)
        monkeypatch.setattr(plans, "FEWEST_SLOTS", 0)
        apart = gradients(tensors, "triton", budget)
        monkeypatch.undo()
        for a, b in zip(apart, together, strict=True):
            assert (a - b).norm() <= 1e-6 * b.norm()


def test_the_plan_fits_its_workspace_and_reaches_every_list_entry_once():
    generator = torch.Generator().manual_seed(0)
    for counts in (torch.full((9,), 50), torch.zeros(9).long(), torch.randint(0, 51, (9,), generator=generator)):
        plan = make_plan(None, counts.int(), rows=50, tile_rows=16, slots=100)
        seen_blocks, seen_tiles = [], []
        for first_tile, end_tile, first_block, end_block in plan.groups.tolist():
            used = torch.zeros(100, dtype=torch.int64)
            for block in range(first_block, end_block):
                start = int(plan.slots[block])
                used[start : start + int(counts[block])] += 1
                assert start + int(counts[block]) <= 100
            assert used.max() <= 1
            seen_blocks += range(first_block, end_block)
            for tile in range(first_tile, end_tile):
                block = int(plan.tile_block[tile])
                assert first_block <= block < end_block
                seen_tiles.append((block, tile - int(plan.tile_start[block])))
        assert seen_blocks == list(range(9))
        assert seen_tiles == [(b, t) for b in range(9) for t in range(-(-int(counts[b]) // 16))]


@pytest.mark.gpu
@pytest.mark.usefixtures("require_gpu")
@pytest.mark.parametrize("budget", [0.0, DEFAULT_ERROR_BUDGET])
def test_results_repeat_bit_for_bit_under_concurrency(device, budget):
    generator = torch.Generator(device).manual_seed(0)
    weight = torch.randn(50000, 512, generator=generator, device=device, dtype=torch.bfloat16)
    likely = torch.randint(0, 50000, (4096,), generator=generator, device=device)
    tensors = (weight[likely] * 0.1, weight, likely)
    first = gradients(tensors, "triton", budget)
    for _ in range(5):
        assert all(torch.equal(a, b) for a, b in zip(first, gradients(tensors, "triton", budget), strict=True))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("where", ["hidden", "weight", "bias"])
def test_what_is_not_finite_stays_so_in_the_fixed_point_gradient(device, where, value):
    """With the weight frozen, so that no other gradient tells; a bias of -inf is a mask and harms nothing."""
    hidden, weight, targets = peaked(device)
    bias = torch.zeros(VOCAB, device=device)
    {"hidden": hidden[7], "weight": weight[300], "bias": bias[300:301]}[where][0] = value

    def gradient(backend: str) -> Tensor:
        states = hidden.clone().requires_grad_()
        logprob = linear_token_logprobs(states, weight, targets, bias=bias, backend=backend, error_budget=0.03).logprob
        return torch.autograd.grad(logprob, states, torch.ones_like(logprob))[0]

    valid = targets != -100
    ours, exact = gradient("triton")[valid], gradient("reference")[valid]
    assert torch.equal(ours.isfinite(), exact.isfinite())
    assert exact.isfinite().all() == (where == "bias" and value == -torch.inf)


@pytest.mark.parametrize("size", [1e4, 6e4, 1e6])
def test_blocks_whose_mass_is_beyond_fp16_are_kept(device, size):
    """The likeliest word is another block's than the target's."""
    hidden = torch.full((40, 16), size / 16, device=device)
    weight = torch.zeros(300, 16, device=device)
    weight[250], weight[260] = 1.0, 0.5
    tensors = hidden, weight, torch.full((40,), 3, device=device)
    routed = gradients(tensors, "triton", DEFAULT_ERROR_BUDGET, objective="sft")
    for ours, exact in zip(routed, gradients(tensors, "reference", 0.0, objective="sft"), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-4 * float(exact.abs().max()))


def test_the_fixed_point_gradient_holds_for_the_largest_weights(device):
    hidden, weight, targets = peaked(device)
    size = 1e34
    tensors = hidden / size, weight * size, targets
    valid = targets != -100
    ours = gradients(tensors, "triton", DEFAULT_ERROR_BUDGET)[0][valid] / size
    exact = gradients(tensors, "reference", 0.0)[0][valid] / size
    assert (ours - exact).norm() <= 2e-2 * exact.norm()


def test_the_cutoff_needs_no_operation_without_a_deterministic_form(device):
    """PyTorch refuses cumsum of floating numbers on a CUDA device under use_deterministic_algorithms."""

    class Refusing(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            assert function is not torch.ops.aten.cumsum.default or not args[0].is_floating_point()
            return function(*args, **(kwargs or {}))

    counts = torch.zeros(BINS, dtype=torch.int32, device=device)
    counts[BINS - 1 - 8 * BINS_PER_OCTAVE], counts[BINS - 1] = 3, 2  # 2^-8 each, and 1 each
    with Refusing():
        bins = [int(cutoff_bin(counts, torch.tensor(allowed, device=device))) for allowed in (0.01, 0.5, 1.9, 2.1)]
    last = BINS - 1
    assert bins == [last - 8 * BINS_PER_OCTAVE - 1, last - 1, last - 1, last]
