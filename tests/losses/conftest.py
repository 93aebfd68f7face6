"""Small fp64 problems on which every gradient can be compared with autograd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor


@dataclass
class Problem:
    """hidden [N, D], weight [V, D], bias [V] (all requiring gradients) and targets [N]."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor
    targets: Tensor

    def gradients_of(self, loss: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.autograd.grad(loss, (self.hidden, self.weight, self.bias))

    def logprobs(self) -> Tensor:
        """Log-probabilities [N] of the targets by plain autograd, without bias."""
        return (self.hidden @ self.weight.T).log_softmax(-1).gather(-1, self.targets[:, None]).squeeze(-1)


@pytest.fixture
def make_problem() -> Callable[..., Problem]:
    def make(
        rows: int = 7,
        dim: int = 5,
        vocab: int = 11,
        dtype: torch.dtype = torch.float64,
        scale: float = 1.0,
        seed: int = 0,
    ) -> Problem:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            values = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale
            return values.to(dtype).requires_grad_()

        targets = torch.randint(0, vocab, (rows,), generator=generator)
        return Problem(draw(rows, dim), draw(vocab, dim), draw(vocab), targets)

    return make


@pytest.fixture(autouse=True)
def _as_if_large(like_large_problems: None) -> None:
    """All of them are small here."""
