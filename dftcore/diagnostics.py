"""What a pass tells of its tokens beside the loss: sums that add up over passes, ranks and steps.

`observe` makes one vector of a pass; `Observed` reads the sum of such vectors. The names that end in files are
documented here, once:

    loss, nll, mean_prob       per label token: the objective's loss, -log p in nats, p
    mean_weight                of the objective; effective_targets = (sum w)^2 / sum w^2, the effective sample size
    top1                       share of label tokens that are the model's first choice
    entropy                    of the model's distribution, in nats, where it was asked for
    probabilities              by class of token (`all`, then data.classes.CLASSES): tokens, mean_prob, and `histogram`,
                               the count of tokens in each bin of BINS
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from dftcore.data.classes import CLASSES
from dftcore.losses.api import LossStatistics

BINS = (0.0, 1e-4, 1e-3, 1e-2, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Edges of the label-probability histogram; logarithmic at the low end, where DFT's weight vanishes."""

SCALARS = ("loss", "nll", "prob", "weight", "weight_squared", "kept", "targets", "top1", "entropy", "entropy_targets")
_BINS_PER_CLASS = len(BINS) - 1
SIZE = len(SCALARS) + len(CLASSES) * (1 + _BINS_PER_CLASS)
"""Length of a vector: the scalars, the sum of p by class, the histogram by class."""


def observe(statistics: LossStatistics, targets: Tensor, classes: Tensor) -> Tensor:
    """The sums over the label tokens of one pass: float64 [SIZE]. targets, classes: int64 [rows, T]."""
    valid = targets >= 0
    weight, prob = statistics.token_weight, statistics.logprob.exp()
    nothing = torch.zeros((), device=targets.device)
    columns = [weight * statistics.nll, statistics.nll, prob * valid, weight, weight.square(), weight != 0, valid]
    columns.append(nothing if statistics.top1 is None else statistics.top1)
    columns += [nothing, nothing] if statistics.entropy is None else [statistics.entropy, valid]
    sums = torch.stack([column.sum(dtype=torch.float64) for column in columns])
    flat_classes, flat_valid = classes.flatten(), valid.flatten().double()
    bins = torch.bucketize(prob.flatten(), _inner_edges(prob.device), right=True)
    by_class = sums.new_zeros(len(CLASSES)).index_add_(0, flat_classes, prob.flatten() * flat_valid)
    cells = sums.new_zeros(len(CLASSES) * _BINS_PER_CLASS)
    return torch.cat([sums, by_class, cells.index_add_(0, flat_classes * _BINS_PER_CLASS + bins, flat_valid)])


@lru_cache
def _inner_edges(device: torch.device) -> Tensor:
    return torch.tensor(BINS[1:-1], device=device)


@dataclass(frozen=True)
class Observed:
    """The sum of vectors of `observe`, over whatever was added up."""

    vector: Sequence[float]

    def __getitem__(self, name: str) -> float:
        """A scalar's sum: loss, nll, prob, weight, weight_squared, kept, targets, top1, entropy or entropy_targets."""
        return self.vector[SCALARS.index(name)]

    def means(self) -> dict[str, float | None]:
        """Per label token; None where a sum is not finite or there is none. `entropy` only where it was asked for."""
        targets = self["targets"]
        effective = self["weight"] ** 2 / self["weight_squared"] if self["weight_squared"] else 0.0
        found = {
            "loss": _ratio(self["loss"], targets),
            "nll": _ratio(self["nll"], targets),
            "mean_prob": _ratio(self["prob"], targets),
            "mean_weight": _ratio(self["weight"], targets),
            "effective_targets": finite(effective),
            "top1": _ratio(self["top1"], targets),
        }
        if self["entropy_targets"]:
            found["entropy"] = _ratio(self["entropy"], self["entropy_targets"])
        return found

    def probabilities(self) -> dict[str, dict[str, Any]]:
        """`all` and each class that has tokens -> tokens, mean_prob, histogram over BINS."""
        start = len(SCALARS) + len(CLASSES)
        found = {}
        for index, name in enumerate(CLASSES):
            first = start + index * _BINS_PER_CLASS
            histogram = [int(count) for count in self.vector[first : first + _BINS_PER_CLASS]]
            found[name] = _summary(self.vector[len(SCALARS) + index], histogram)
        everything = [sum(counts) for counts in zip(*(value["histogram"] for value in found.values()), strict=True)]
        return {
            "all": _summary(self["prob"], everything),
            **{name: value for name, value in found.items() if value["tokens"]},
        }


def _summary(probability: float, histogram: list[int]) -> dict[str, Any]:
    tokens = sum(histogram)
    return {"tokens": tokens, "mean_prob": _ratio(probability, tokens), "histogram": histogram}


def _ratio(total: float, count: float) -> float | None:
    return finite(total / count) if count else None


def finite(value: float) -> float | None:
    """JSON has no NaN: null stands for a value that is not finite."""
    return value if math.isfinite(value) else None
