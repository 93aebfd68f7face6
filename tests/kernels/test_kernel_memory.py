"""What the loss holds beside its outputs: planned for every head, and measured where there is a device."""

from __future__ import annotations

import pytest
import torch

from dftcore import linear_cross_entropy
from dftcore.kernels.budget import DEFAULT_ERROR_BUDGET
from dftcore.kernels.plan import memory

HEADS = {  # hidden size, vocabulary
    "Qwen2.5-Math-1.5B": (1536, 151936),
    "Qwen2.5-Math-7B": (3584, 152064),
    "Llama-3.1-8B": (4096, 128256),
    "Llama-3.2-3B": (3072, 128256),
    "DeepSeekMath-7B": (4096, 102400),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("exact", [False, True], ids=["routed", "exact"])
@pytest.mark.parametrize("rows", [8192, 16384, 65536])
def test_planned_memory_is_within_a_twentieth_of_the_logits(head, exact, rows):
    dim, vocab = HEADS[head]
    plan = memory(rows, dim, vocab, itemsize=2, exact=exact)
    logits = 4 * rows * vocab
    blocks = -(-vocab // 128)
    assert plan.peak <= 0.05 * logits
    assert plan.peak < 0.5 * 4 * vocab * dim or rows > 8192  # no room for a V x D buffer in fp32
    assert plan.slots > rows
    assert -(-blocks * rows // (plan.slots - rows)) <= 48  # groups that the host launches


def test_the_plan_counts_every_buffer_of_the_backward(device, monkeypatch):
    """Allocations of the backward that grow with N V, N D or V D / 128 are the planned ones and no larger."""
    from dftcore.kernels import backward, routes

    rows, dim, vocab = 300, 96, 5000
    sizes: list[int] = []

    class Counting:
        def __getattr__(self, name):
            made = getattr(torch, name)
            if name not in ("empty", "zeros", "empty_like", "zeros_like"):
                return made

            def count(*arguments, **options):
                tensor = made(*arguments, **options)
                sizes.append(tensor.numel() * tensor.element_size())
                return tensor

            return count

    hidden = torch.randn(rows, dim, device=device, dtype=torch.float16, requires_grad=True)
    weight = torch.randn(vocab, dim, device=device, dtype=torch.float16, requires_grad=True)
    targets = torch.randint(0, vocab, (rows,), device=device)
    for budget in (DEFAULT_ERROR_BUDGET, 0.0):
        loss = linear_cross_entropy(hidden, weight, targets, backend="triton", error_budget=budget)
        sizes.clear()
        with monkeypatch.context() as patch:
            patch.setattr(backward, "torch", Counting())
            patch.setattr(routes, "torch", Counting())
            loss.backward()
        plan = memory(rows, dim, vocab, itemsize=2, exact=budget == 0.0)
        outputs = 2 * rows * dim + 2 * vocab * dim
        spread = 2 * -(-vocab // 128) * dim  # fp32 where the inputs are fp16
        assert sum(sizes) <= outputs + plan.peak + plan.shares * 2 + spread
        assert max(sizes) <= max(plan.workspace, plan.hidden, 2 * vocab * dim)


@pytest.mark.gpu
@pytest.mark.usefixtures("require_gpu")
@pytest.mark.parametrize("budget", [None, 0.0], ids=["default", "exact"])
@pytest.mark.parametrize("head", HEADS)
def test_measured_memory_is_within_a_twentieth_of_the_logits(device, head, budget):
    (dim, vocab), rows = HEADS[head], 8192
    generator = torch.Generator(device).manual_seed(0)
    weight = torch.randn(vocab, dim, generator=generator, device=device, dtype=torch.bfloat16).requires_grad_()
    targets = torch.randint(0, vocab, (rows,), generator=generator, device=device)
    hidden = (weight.detach()[targets] * (12.0 / dim)).requires_grad_()
    linear_cross_entropy(hidden[:2048], weight, targets[:2048], error_budget=budget)  # makes cuBLAS's workspace
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    linear_cross_entropy(hidden, weight, targets, error_budget=budget).backward()
    outputs = sum(t.grad.numel() * t.grad.element_size() for t in (hidden, weight))
    assert torch.cuda.max_memory_allocated() - before - outputs <= 0.05 * 4 * rows * vocab
