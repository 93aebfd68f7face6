"""Linear cross-entropy and token log-probabilities that never hold all logits; see `api`."""

from dftcore.losses.api import Backend, LossStatistics, TokenLogprobs, linear_cross_entropy, linear_token_logprobs

__all__ = ["Backend", "LossStatistics", "TokenLogprobs", "linear_cross_entropy", "linear_token_logprobs"]
