"""Objectives that know of a reference, of documents or of pairs: fp64 against autograd of their own losses."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dftcore import Objective, linear_cross_entropy, linear_token_logprobs
from dftcore.errors import UserError
from dftcore.losses import weighted_cross_entropy
from dftcore.objectives import TokenStatistics, clipped_policy_gradient, document_segments, k3_penalty

EXACT = {"rtol": 1e-9, "atol": 1e-12}
LENGTHS = (3, 4, 2, 5)  # of four documents, their last token without a target: two pairs


@dataclass
class Texts:
    """Packed into one row [1, 14], or rows of two documents [2, 7]."""

    hidden: Tensor
    weight: Tensor
    targets: Tensor
    positions: Tensor
    reference: Tensor

    def logprobs(self) -> list[Tensor]:
        """The log-probabilities of each document's targets, by plain autograd."""
        whole = (self.hidden @ self.weight.T).log_softmax(-1).reshape(-1, self.weight.shape[0])
        found = whole.gather(-1, self.targets.reshape(-1, 1).clamp_min(0)).squeeze(-1)
        return [piece[:-1] for piece in found.split(LENGTHS)]

    def references(self) -> list[Tensor]:
        return [piece[:-1] for piece in self.reference.flatten().split(LENGTHS)]

    def loss(self, objective: Objective, backend: str, **context: object) -> Tensor:
        known = {"segments": document_segments(self.positions, self.targets >= 0), "reference": self.reference}
        return weighted_cross_entropy(
            self.hidden, self.weight, self.targets, objective, {**known, **context}, reduction="sum",
            error_budget=0.0, backend=backend,
        )[0]  # fmt: skip


@pytest.fixture(params=[(1, 14), (2, 7)], ids=["packed", "rows"])
def texts(request) -> Texts:
    draw = torch.Generator().manual_seed(3)
    hidden = torch.randn(*request.param, 5, generator=draw, dtype=torch.float64).requires_grad_()
    weight = torch.randn(11, 5, generator=draw, dtype=torch.float64).requires_grad_()
    targets = torch.randint(0, 11, (14,), generator=draw)
    targets[torch.tensor(LENGTHS).cumsum(0) - 1] = -100
    positions = torch.cat([torch.arange(length) for length in LENGTHS])
    near = (
        (hidden.detach().reshape(14, 5) @ weight.detach().T).log_softmax(-1).gather(-1, targets.clamp_min(0)[:, None])
    )
    near = near.squeeze(-1) + 0.5 * torch.randn(
        14, generator=draw, dtype=torch.float64
    )  # ratios on both sides of clips
    reference = torch.where(targets >= 0, near.clamp_max(-0.01), 0.0)
    return Texts(hidden, weight, *(values.reshape(request.param) for values in (targets, positions, reference)))


def iw_sft(texts: Texts) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for logprob, reference in zip(texts.logprobs(), texts.references(), strict=True):
        ratio = (logprob - reference).mean().exp().clamp(0.0, 1.0).detach()
        total = total - (ratio * logprob).sum()
    return total


def psft(texts: Texts) -> Tensor:
    ratio = (torch.cat(texts.logprobs()) - torch.cat(texts.references())).exp()
    return -torch.minimum(ratio, ratio.clamp(0.7, 1.3)).sum()


def dpo(texts: Texts) -> Tensor:
    rewards = [(a - b).sum() for a, b in zip(texts.logprobs(), texts.references(), strict=True)]
    return -logsigmoid(0.4 * (rewards[0] - rewards[1])) - logsigmoid(0.4 * (rewards[2] - rewards[3]))


def talr(texts: Texts) -> Tensor:
    logprob = torch.cat(texts.logprobs())
    return -((logprob.detach() / 2.5).exp().clamp(min=0.3) * logprob).sum()


DEFINITIONS = {
    "iw_sft": (iw_sft, Objective("iw_sft", cap=1.0), {}),
    "psft": (psft, Objective("psft", eps=0.3), {}),
    "dpo": (dpo, Objective("dpo", beta=0.4), {}),
    "talr": (talr, Objective("talr", floor=0.3), {"tau": 2.5}),
}


@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_objective_has_the_gradient_of_its_defining_loss(texts, name, backend):
    definition, objective, context = DEFINITIONS[name]
    inputs = (texts.hidden, texts.weight)
    defined = definition(texts)
    loss = texts.loss(objective, backend, **context)
    logprob = texts.logprobs()
    weights = [-part for part in torch.autograd.grad(_again(definition, texts, logprob), logprob)]
    expected_value = -sum((w * part).sum() for w, part in zip(weights, logprob, strict=True))
    torch.testing.assert_close(loss, expected_value, **EXACT)
    for ours, theirs in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(defined, inputs), strict=True):
        torch.testing.assert_close(ours, theirs, **EXACT)


def _again(definition, texts: Texts, logprob: list[Tensor]) -> Tensor:
    """The defining loss as a function of these log-probabilities."""

    class Given(Texts):
        def logprobs(self) -> list[Tensor]:
            return logprob

    return definition(Given(**vars(texts)))


def test_padding_between_documents_does_not_shift_the_pairs():
    positions = torch.tensor([[0, 1, 2, 0, 1], [0, 1, 0, 1, 2], [0, 0, 1, 0, 1]])
    valid = torch.tensor([[1, 1, 0, 0, 0], [1, 0, 1, 1, 0], [0, 0, 0, 1, 0]]).bool()
    segments = document_segments(positions, valid)
    assert segments[valid].tolist() == [0, 0, 1, 2, 2, 3]


def test_a_weight_is_computed_by_hand_for_ones_own_loop(texts):
    """The way that the library's refusal names."""
    objective = Objective("dpo", beta=0.4)
    logprob = linear_token_logprobs(texts.hidden, texts.weight, texts.targets, error_budget=0.0).logprob
    valid = texts.targets >= 0
    known = TokenStatistics(
        logprob.detach(), 11, valid=valid, reference=texts.reference, segments=document_segments(texts.positions, valid)
    )
    loss = linear_cross_entropy(
        texts.hidden, texts.weight, texts.targets, "sft", token_weight=objective.weight(logprob, known),
        reduction="sum", error_budget=0.0,
    )  # fmt: skip
    ours = torch.autograd.grad(loss, texts.hidden)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(dpo(texts), texts.hidden)[0], **EXACT)
    with pytest.raises(UserError, match=r"'dpo' needs reference, segments"):
        objective.weight(logprob, TokenStatistics(logprob, 11))


def test_the_policy_gradient_is_that_of_the_clipped_surrogate(make_problem):
    problem = make_problem(rows=200)
    draw = torch.Generator().manual_seed(4)
    logprob = problem.logprobs()
    old = (logprob + 0.5 * torch.randn(200, generator=draw, dtype=torch.float64)).detach()
    advantage = torch.randn(200, generator=draw, dtype=torch.float64)
    ratio = (logprob - old).exp()
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.3) * advantage).sum()
    expected = torch.autograd.grad(-surrogate, problem.hidden, retain_graph=True)[0]
    weight = clipped_policy_gradient(logprob, old, advantage, low=0.2, high=0.3)
    assert 0.2 < (weight == 0).double().mean() < 0.6
    loss = linear_cross_entropy(
        problem.hidden, problem.weight, problem.targets, "sft", token_weight=weight, reduction="sum", error_budget=0.0
    )
    torch.testing.assert_close(torch.autograd.grad(loss, problem.hidden)[0], expected, **EXACT)
    log_ratio = old - logprob
    penalty = (log_ratio.exp() - 1 - log_ratio).sum()
    torch.testing.assert_close(-k3_penalty(logprob, old), torch.autograd.grad(penalty, logprob)[0], **EXACT)
