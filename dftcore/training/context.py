"""What an objective needs beyond the token's own statistics, from one optimizer step to the next.

tau     the median token loss of the step before, over all ranks: neither ranks nor passes change it (talr)
pairs   margin, accuracy and rewards of the preference pairs of a step (dpo)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dftcore.data.batching import Batch
from dftcore.diagnostics import Observed
from dftcore.distributed import concatenate_over_ranks
from dftcore.objectives import Objective


@dataclass
class ObjectiveContext:
    """`state` is what the next step needs of this one: JSON, saved with every checkpoint."""

    objective: Objective
    state: dict[str, Any] = field(default_factory=dict)
    losses: list[Tensor] = field(default_factory=list)

    def needs(self, what: str) -> bool:
        return what in self.objective.definition.context

    def arguments(self) -> dict[str, Any]:
        """Further arguments of the module's forward in this step."""
        return {"tau": self.state.get("tau", 1.0)} if self.needs("tau") else {}

    def observe(self, batch: Batch, logprob: Tensor) -> None:
        """After each pass: its log-probabilities [rows, T]."""
        if self.needs("tau"):
            self.losses.append(-logprob[batch.targets >= 0])

    def finish_step(self) -> dict[str, float]:
        """After the passes of a step, on all ranks; what there is to record of it."""
        record: dict[str, float] = {}
        if self.needs("tau"):
            record["tau"] = self.arguments()["tau"]
            median = float(concatenate_over_ranks(torch.cat(self.losses)).median())
            if math.isfinite(median):
                self.state["tau"] = median
            self.losses.clear()
        return record


def rescale_gradients(module: nn.Module, observed: Observed, denominator: str) -> float:
    """Divide the step's gradient by the objective's denominator instead of the valid tokens; returns the step's loss.

    The weights' sum and the kept tokens of a whole step are known only after its passes, on all ranks.
    """
    total = observed["targets" if denominator == "tokens" else denominator] or observed["targets"]
    if denominator != "tokens":
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(observed["targets"] / total)
    return observed["loss"] / total
