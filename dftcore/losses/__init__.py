"""Linear cross-entropy and token log-probabilities that never hold all logits; see `api`."""

from dftcore.losses.api import (
    Backend,
    LossStatistics,
    TokenLogprobs,
    linear_cross_entropy,
    linear_token_logprobs,
    weighted_cross_entropy,
)

__all__ = [
    "Backend",
    "LossStatistics",
    "TokenLogprobs",
    "linear_cross_entropy",
    "linear_token_logprobs",
    "weighted_cross_entropy",
]
