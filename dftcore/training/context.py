"""What an objective needs beyond the token's own statistics, from one optimizer step to the next.

reference  log-probabilities of a frozen model, computed beforehand; for psft those of the policy itself, of the
           step from which the present group of `refresh` steps began
anchor     hidden states and head of a frozen model, kept sharded beside the policy (asft)
tau        the median token loss of the step before, over all ranks: neither ranks nor passes change it (talr)
pairs      the margins of preference pairs, both answers of which are in one pass (dpo)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dftcore.data.batching import Batch
from dftcore.data.documents import Documents
from dftcore.diagnostics import Observed
from dftcore.distributed import World, concatenate_over_ranks, sum_over_ranks
from dftcore.errors import UserError
from dftcore.models import LanguageModelLoss
from dftcore.objectives import Objective, TokenStatistics, document_segments, document_sums, dpo_rewards
from dftcore.references import Anchor, Reference, with_reference
from dftcore.training.old_policy import OldPolicy

_PAIRS = ("pairs", "loss", "margin", "accuracy", "reward_chosen", "reward_rejected")


@dataclass
class ObjectiveContext:
    """`state` is what the next step needs of this one: JSON, saved with every checkpoint."""

    objective: Objective
    state: dict[str, Any]
    world: World
    anchor: Anchor | None = None
    old_policy: OldPolicy | None = None
    losses: list[Tensor] = field(default_factory=list)
    sums: Tensor | None = None  # of the step's passes on this rank: _PAIRS, or [KL]

    def needs(self, what: str) -> bool:
        return what in self.objective.definition.context

    def before_step(self, step: int, module: LanguageModelLoss, examples: Callable[[int], Sequence[int]]) -> None:
        if self.old_policy:
            self.old_policy.before_step(step, module, examples)

    def arguments(self, batch: Batch) -> dict[str, Any]:
        """Further arguments of the module's forward on this batch."""
        found: dict[str, Any] = {}
        if self.needs("tau"):
            found["tau"] = self.state.get("tau", 1.0)
        if self.anchor:
            found["anchor"] = self.anchor(batch)
        return found

    def observe(self, batch: Batch, seen: dict[str, Tensor]) -> None:
        """After each pass: `logprob` and, with an anchor, `kl` [rows, T]."""
        if self.anchor:
            self.anchor.release()
            self._add(seen["kl"].sum(dtype=torch.float64).reshape(1))
        if self.needs("tau"):
            self.losses.append(-seen["logprob"][batch.targets >= 0])
        if self.needs("pairs"):
            self._add(pair_sums(batch, seen["logprob"], self.objective.parameters["beta"]))

    def _add(self, found: Tensor) -> None:
        self.sums = found if self.sums is None else self.sums + found

    def finish_step(self, module: LanguageModelLoss, observed: Observed) -> dict[str, float]:
        """After the passes of a step, on all ranks: divide the gradient as the objective wants it; what to record.

        The passes divided by the valid tokens. The sum of the weights, or the tokens kept, of a whole step are known
        only now.
        """
        totals = [] if self.sums is None else sum_over_ranks(self.sums).tolist()
        self.sums = None
        targets, kind = observed["targets"], self.objective.denominator
        total = {"tokens": targets, "pairs": totals[0] if self.needs("pairs") else 0.0}.get(kind) or observed[kind]
        if kind != "tokens" and total:
            for parameter in module.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(targets / total)
        record = {"loss": observed["loss"] / (total or targets)}
        if self.anchor and (kl_weight := self.objective.parameters["kl_weight"]):
            record["kl"] = totals[0] / targets
            record["loss"] += kl_weight * record["kl"]
        if self.needs("pairs"):
            record |= {name: value / totals[0] for name, value in zip(_PAIRS[1:], totals[1:], strict=True)}
        if self.needs("tau"):
            record["tau"] = self.state.get("tau", 1.0)
            median = float(concatenate_over_ranks(torch.cat(self.losses)).median())
            if math.isfinite(median):
                self.state["tau"] = median
            self.losses.clear()
        return record


def needs_reference(objective: Objective) -> bool:
    """Whether a frozen model is needed. Raises UserError for a `refresh` that is no number of steps."""
    refresh = objective.parameters.get("refresh", 0.0)
    if refresh < 0 or refresh != int(refresh):
        raise UserError(f"--objective-args: refresh={refresh:g} is not a whole number of steps; 0 keeps the reference")
    context = objective.definition.context
    return "anchor" in context or ("reference" in context and not refresh)


def supply(
    objective: Objective,
    state: dict[str, Any],
    documents: Documents,
    reference: Reference | None,
    directory: Path,
    pad_token_id: int,
    world: World,
) -> tuple[Documents, ObjectiveContext]:
    """The documents with what the objective needs of them, and the context of its steps. All ranks call it."""
    context = ObjectiveContext(objective, dict(state), world)
    if "anchor" in objective.definition.context and reference:
        context.anchor = Anchor(reference, world)
    elif reference:
        documents = with_reference(documents, reference, pad_token_id, world)
    elif "reference" in objective.definition.context:
        documents = replace(documents, reference=np.zeros(len(documents.tokens), np.float32))
        every = int(objective.parameters["refresh"])
        context.old_policy = OldPolicy(every, documents, directory, pad_token_id, world)
    return documents, context


def pair_sums(batch: Batch, logprob: Tensor, beta: float) -> Tensor:
    """fp64 sums over the pairs of a pass, in the order of _PAIRS."""
    valid = batch.targets >= 0
    segments = document_segments(batch.position_ids, valid)
    known = TokenStatistics(logprob, 0, valid=valid, reference=batch.reference, segments=segments)
    chosen, rejected = dpo_rewards(logprob, known, beta)
    pair = document_sums(torch.ones_like(logprob), segments, valid)[0::2] > 0
    margin = chosen - rejected
    loss = -torch.nn.functional.logsigmoid(margin)
    columns = (torch.ones_like(margin), loss, margin, (margin > 0).double(), chosen, rejected)
    return torch.stack([torch.where(pair, column, 0.0).sum() for column in columns])
