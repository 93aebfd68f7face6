"""bf16 on a CPU: most of the forward is a bf16 product, and what that may cost p, 1 - p and the gradients."""

from __future__ import annotations

import pytest
import torch
from test_loss_routed import peaked_problem
from torch import Tensor

from dftcore import linear_cross_entropy, linear_token_logprobs
from dftcore.losses import routed, screening
from dftcore.losses.routing import block_count

P_TOLERANCE = 1.1 * screening.LIGHT_P  # a tenth for fp32 rounding of logits near 30


@pytest.fixture(autouse=True)
def _any_processor_screens(monkeypatch):
    monkeypatch.setattr(routed, "pays", lambda hidden, weight: {hidden.dtype, weight.dtype} == {torch.bfloat16})


def flat_problem() -> tuple[Tensor, Tensor, Tensor]:
    """Every logit is 29.95, which bf16 rounds up by 0.05: no error cancels, and no block is heavier than another."""
    hidden, weight = torch.zeros(5, 16), torch.zeros(1100, 16)
    hidden[:, 0], weight[:, 0] = 29.875, 1.0
    hidden[:, 1], weight[:, 1] = 0.076171875, 1.0
    return hidden.bfloat16().requires_grad_(), weight.bfloat16().requires_grad_(), torch.arange(5) * 250


def steep_problem() -> tuple[Tensor, Tensor, Tensor]:
    """Targets of probability 0.999 and more, so that the rest alone decides 1 - p."""
    hidden, weight, _ = peaked_problem(torch.bfloat16, offset=25.0)
    with torch.no_grad():
        hidden[:, 1:] *= 2.0
        targets = (hidden @ weight.T).argmax(-1)
    return hidden, weight, targets


PROBLEMS = {
    "peaked": lambda: peaked_problem(torch.bfloat16, offset=25.0),
    "flat": flat_problem,
    "steep": steep_problem,
    "logits of 300": lambda: peaked_problem(torch.bfloat16, offset=300.0),
}


def logprobs(hidden: Tensor, weight: Tensor, targets: Tensor, **options: object) -> tuple[Tensor, Tensor]:
    """Ours and the exact ones in fp64."""
    ours = linear_token_logprobs(hidden, weight, targets, backend="torch", **options).logprob
    wide = {name: value.double() if isinstance(value, Tensor) else value for name, value in options.items()}
    exact = linear_token_logprobs(hidden.double(), weight.double(), targets, backend="reference", **wide).logprob
    return ours.detach().double(), exact.detach()


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("with_bias", [False, True])
def test_the_probability_is_within_its_bound(name, temperature, with_bias):
    hidden, weight, targets = PROBLEMS[name]()
    bias = torch.linspace(-1, 1, weight.shape[0]) if with_bias else None
    ours, exact = logprobs(hidden, weight, targets, temperature=temperature, bias=bias)
    assert (ours - exact).abs().max() <= P_TOLERANCE
    rest, true = -torch.expm1(ours), -torch.expm1(exact)
    largest = (hidden.double() @ weight.double().T).abs().amax(-1).detach()
    rounding = torch.expm1(screening.half_ulp(largest.float()) / temperature)
    assert ((rest - true).abs() <= 1.1 * screening.LIGHT_REST * rounding * true + 1e-12).all()


@pytest.mark.parametrize("name", ["peaked", "flat"])
def test_without_the_recomputed_pairs_the_bound_would_not_hold(monkeypatch, name):
    def none_heavy(log_mass: Tensor, *_: object) -> Tensor:
        return torch.zeros_like(log_mass, dtype=torch.bool)

    monkeypatch.setattr(screening, "heavy_pairs", none_heavy)
    ours, exact = logprobs(*PROBLEMS[name]())
    assert (ours - exact).abs().max() > 4 * P_TOLERANCE


def test_few_pairs_are_computed_twice():
    hidden, weight, targets = peaked_problem(torch.bfloat16, offset=25.0)
    seen = []

    def watch(*arguments: Tensor) -> Tensor:
        seen.append(original(*arguments))
        return seen[-1]

    original = screening.heavy_pairs
    try:
        screening.heavy_pairs = watch
        linear_token_logprobs(hidden, weight, targets, backend="torch")
    finally:
        screening.heavy_pairs = original
    assert seen[0].shape == (len(targets), block_count(weight.shape[0]))
    assert 0 < seen[0].float().mean() < 0.7


def test_half_ulp_is_the_largest_error_of_rounding_to_bf16():
    values = torch.cat((torch.linspace(1e-3, 300, 200_001), torch.tensor([16.0, 31.99, 32.0, 2.0**-20])))
    error = (values.bfloat16().float() - values).abs()
    assert (error <= screening.half_ulp(values)).all()
    assert screening.half_ulp(torch.tensor([17.0, 31.0])).tolist() == [0.0625, 0.0625]
    assert screening.half_ulp(torch.tensor([torch.inf, torch.nan])).tolist() == [torch.inf, torch.inf]


@pytest.mark.parametrize("objective", ["sft", "dft"])
@pytest.mark.parametrize("name", ["peaked", "steep"])
def test_gradients_err_at_most_a_quarter_of_the_unfused_bf16_path(name, objective):
    hidden, weight, targets = PROBLEMS[name]()
    h, w, rows = hidden.detach().double(), weight.detach().double(), torch.arange(len(targets))

    def gradients(logits: Tensor, rounded: bool) -> tuple[Tensor, Tensor]:
        logp = (logits.bfloat16().float() if rounded else logits).log_softmax(-1)
        chosen = logp[rows, targets]
        grad = logp.exp()
        grad[rows, targets] = chosen.exp() - 1 if rounded else torch.expm1(chosen)
        grad = grad * (chosen.exp() if objective == "dft" else torch.ones_like(chosen))[:, None]
        grad = grad.bfloat16().double() if rounded else grad
        return grad @ w, grad.T @ h

    loss = linear_cross_entropy(hidden, weight, targets, objective, reduction="sum", backend="torch")
    ours = torch.autograd.grad(loss, (hidden, weight))
    logits = h @ w.T
    for mine, unfused, exact in zip(ours, gradients(logits, True), gradients(logits, False), strict=True):
        assert mine.dtype == torch.bfloat16
        assert (mine.double() - exact).norm() <= 0.25 * (unfused - exact).norm()


def test_exact_mode_and_statistics_are_not_screened(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("screened")

    monkeypatch.setattr(routed, "screen", refuse)
    hidden, weight, targets = PROBLEMS["peaked"]()
    linear_token_logprobs(hidden, weight, targets, backend="torch", error_budget=0.0)
    linear_token_logprobs(hidden, weight, targets, backend="torch", outputs=("top1",))
    linear_token_logprobs(hidden, weight, targets, backend="torch", softcap=30.0)
    linear_token_logprobs(hidden.float(), weight.float(), targets, backend="torch")
    with pytest.raises(AssertionError, match="screened"):
        linear_token_logprobs(hidden, weight, targets, backend="torch")


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_what_is_not_finite_stays_seen(value):
    hidden, weight, targets = PROBLEMS["peaked"]()
    with torch.no_grad():
        hidden[3, 0] = value
    logprob = linear_token_logprobs(hidden, weight, targets, backend="torch").logprob
    assert not logprob[3].isfinite()
    assert torch.cat((logprob[:3], logprob[4:])).isfinite().all()
