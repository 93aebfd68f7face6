"""The anchor of ASFT: value and gradient against autograd, memory bounded by a slice of the vocabulary."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dftcore.losses import kl
from dftcore.losses.kl import Head, reference_kl
from dftcore.losses.reference import transform_logits

EXACT = {"rtol": 1e-9, "atol": 1e-12}


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch):
    monkeypatch.setattr(kl, "ROWS", 3)
    monkeypatch.setattr(kl, "COLUMNS", 4)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("with_bias", [False, True])
def test_value_and_gradient_are_those_of_the_definition(make_problem, softcap, with_bias):
    policy, other = make_problem(), make_problem(dim=3, seed=1)
    token_weight = torch.tensor([1.0, 0.5, 0.0, 2.0, 1.0, 0.0, 3.0], dtype=torch.float64)
    head = Head(policy.weight, policy.bias if with_bias else None, softcap, 0.7)
    logits = policy.hidden @ policy.weight.T + (policy.bias if with_bias else 0.0)
    logprob = transform_logits(logits, softcap, 0.7).log_softmax(-1)
    reference = (other.hidden @ other.weight.T).log_softmax(-1).detach()
    per_token = (reference.exp() * (reference - logprob)).sum(-1)
    total, found = reference_kl(policy.hidden, head, other.hidden, Head(other.weight), token_weight)
    torch.testing.assert_close(total, (token_weight * per_token).sum(), **EXACT)
    torch.testing.assert_close(found, (per_token * (token_weight != 0)).detach(), **EXACT)
    inputs = (policy.hidden, policy.weight, *([policy.bias] if with_bias else []))
    expected = torch.autograd.grad(2.5 * (token_weight * per_token).sum(), inputs)
    for ours, theirs in zip(torch.autograd.grad(2.5 * total, inputs), expected, strict=True):
        torch.testing.assert_close(ours, theirs, **EXACT)
    assert other.hidden.grad is None


def test_a_model_equal_to_its_reference_has_no_divergence_and_no_gradient(make_problem):
    problem = make_problem(dtype=torch.float32)
    head = Head(problem.weight)
    total, found = reference_kl(problem.hidden, head, problem.hidden, head, torch.ones(7))
    assert found.abs().max() < 1e-6
    assert torch.autograd.grad(total, problem.hidden)[0].abs().max() < 1e-6


def test_no_token_is_a_differentiable_zero(make_problem):
    problem = make_problem()
    head = Head(problem.weight)
    total, _ = reference_kl(problem.hidden, head, problem.hidden, head, torch.zeros(7))
    assert total == 0
    assert not torch.autograd.grad(total, problem.weight)[0].any()


def test_other_vocabularies_are_refused(make_problem):
    policy, other = make_problem(), make_problem(vocab=12)
    with pytest.raises(ValueError, match="a vocabulary of 12, the policy's is 11"):
        reference_kl(policy.hidden, Head(policy.weight), other.hidden, Head(other.weight), torch.ones(7))


class _Largest(TorchDispatchMode):
    """The largest tensor that any operator returns."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


def test_nothing_as_large_as_the_logits_is_ever_made(make_problem, monkeypatch):
    monkeypatch.setattr(kl, "ROWS", 64)
    monkeypatch.setattr(kl, "COLUMNS", 32)
    policy, other = (make_problem(rows=256, dim=8, vocab=512, dtype=torch.float32, seed=seed) for seed in (0, 1))
    with _Largest() as largest:
        total, _ = reference_kl(policy.hidden, Head(policy.weight), other.hidden, Head(other.weight), torch.ones(256))
        total.backward()
    assert largest.elements == 512 * 8, "dW; the logits would be 256 x 512"
