"""What only a device can show: every tile of the table and of the tuner, concurrency, no host sync, whole graphs.

`make gpu` runs these and the kernels' other tests on a device; else they are skipped, and say so.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dftcore import linear_cross_entropy

config = pytest.importorskip("dftcore.kernels.config")
pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("require_gpu")]
ROWS, DIM, VOCAB = 2000, 512, 20011


@pytest.fixture
def tensors(device) -> tuple[Tensor, Tensor, Tensor]:
    """Peaked rows, a tenth of them ignored and not a number."""
    generator = torch.Generator(device).manual_seed(0)
    weight = torch.randn(VOCAB, DIM, generator=generator, device=device, dtype=torch.bfloat16)
    targets = torch.randint(0, VOCAB, (ROWS,), generator=generator, device=device)
    second = torch.randint(0, VOCAB, (ROWS,), generator=generator, device=device)
    hidden = (weight[targets] + 0.8 * weight[second]) * 0.02
    targets[::10] = -100
    hidden[::10] = torch.nan
    return hidden, weight, targets


def gradients(tensors: tuple[Tensor, Tensor, Tensor], **options: object) -> tuple[Tensor, ...]:
    hidden, weight = (t.detach().requires_grad_() for t in tensors[:2])
    loss = linear_cross_entropy(hidden, weight, tensors[2], **{"backend": "triton", **options})
    return loss.detach(), *torch.autograd.grad(loss, (hidden, weight))


ARCHITECTURE = config.architecture(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
CHOICES = [(name, index) for name in config.CANDIDATES for index in range(len(config.candidates(name, ARCHITECTURE)))]


@pytest.mark.parametrize(("kernel", "index"), CHOICES)
def test_every_tile_the_tuner_may_choose_gives_what_the_default_gives(tensors, kernel, index):
    budget = 0.0 if kernel == "hidden_gradient" else None
    defaults = config.half(ARCHITECTURE)
    with config.trying(**defaults):
        usual = gradients(tensors, error_budget=budget)
    with config.trying(**{**defaults, kernel: config.candidates(kernel, ARCHITECTURE)[index]}):
        chosen = gradients(tensors, error_budget=budget)
    for ours, theirs in zip(chosen, usual, strict=True):
        assert ours.isfinite().all()
        assert (ours.float() - theirs.float()).norm() <= 1e-2 * theirs.float().norm()


@pytest.mark.parametrize("budget", [None, 0.0], ids=["default", "exact"])
def test_gradients_are_those_of_the_reference(tensors, budget):
    ours = gradients(tensors, error_budget=budget)
    hidden = tensors[0].nan_to_num()
    exact = gradients((hidden.double(), tensors[1].double(), tensors[2]), backend="reference")
    for mine, true in zip(ours, exact, strict=True):
        assert (mine.double() - true).norm() <= 1e-2 * true.norm()


@pytest.mark.parametrize("budget", [None, 0.0], ids=["default", "exact"])
def test_results_repeat_while_another_stream_is_busy(tensors, budget):
    """Other work on the multiprocessors changes the order in which programs run, and no bit of the result."""
    first = gradients(tensors, error_budget=budget)
    other = torch.cuda.Stream()
    for _ in range(10):
        with torch.cuda.stream(other):
            noise = torch.randn(2048, 2048, device="cuda")
            for _ in range(10):
                noise = (noise @ noise).clamp_(-1.0, 1.0)
        assert all(torch.equal(a, b) for a, b in zip(first, gradients(tensors, error_budget=budget), strict=True))


def test_it_runs_on_the_current_stream(tensors):
    expected = gradients(tensors)
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        found = gradients(tensors)
    stream.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("budget", [None, 0.0], ids=["default", "exact"])
def test_the_host_never_waits_for_the_device(tensors, budget):
    gradients(tensors, error_budget=budget)  # compiled before
    torch.cuda.set_sync_debug_mode("error")
    try:
        gradients(tensors, error_budget=budget)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_inductor_takes_the_whole_loss_as_one_graph(tensors):
    hidden, weight = (t.nan_to_num().requires_grad_() for t in tensors[:2])

    def loss(h: Tensor, w: Tensor) -> Tensor:
        return linear_cross_entropy(h * 1.0, w, tensors[2], "dft")

    eager = torch.autograd.grad(loss(hidden, weight), (hidden, weight))
    compiled = torch.autograd.grad(torch.compile(loss, fullgraph=True)(hidden, weight), (hidden, weight))
    for ours, theirs in zip(compiled, eager, strict=True):
        assert (ours.float() - theirs.float()).norm() <= 1e-3 * theirs.float().norm()


def test_fp32_inputs_are_not_rounded_to_tf32(tensors):
    """tf32 keeps ten bits: its error in a sum of 512 products would be near 3e-4."""
    hidden, weight = (t.nan_to_num().float() for t in tensors[:2])
    ours = gradients((hidden, weight, tensors[2]), error_budget=0.0)
    exact = gradients((hidden.double(), weight.double(), tensors[2]), backend="reference")
    for mine, true in zip(ours, exact, strict=True):
        assert (mine.double() - true).norm() <= 2e-5 * true.norm()


def test_more_logits_than_32_bits_count(device):
    """N V is past 2^31; the last rows and the last words are right."""
    rows, dim, vocab = 20480, 64, 131072
    generator = torch.Generator(device).manual_seed(0)
    weight = torch.randn(vocab, dim, generator=generator, device=device, dtype=torch.bfloat16)
    targets = torch.randint(vocab - 300, vocab, (rows,), generator=generator, device=device)
    hidden = weight[targets] * 0.3
    ours = gradients((hidden, weight, targets), error_budget=0.0, reduction="sum")
    tail = slice(rows - 64, rows)
    exact = gradients((hidden[tail].double(), weight.double(), targets[tail]), backend="reference", reduction="sum")
    assert (ours[1][tail].double() - exact[1]).norm() <= 1e-2 * exact[1].norm()
    assert ours[2][-300:].isfinite().all()
    assert ours[2][-300:].abs().amax(-1).min() > 0
