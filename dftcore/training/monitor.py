"""What a run learns about itself while it trains: pre-flight, validation, diagnostics. Nothing here changes a weight.

All ranks make a Monitor and call it alike, since reading the model takes all of them; the first one also writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dftcore import preflight
from dftcore.data.documents import Documents
from dftcore.diagnostics import Observed
from dftcore.distributed import World
from dftcore.models import LanguageModelLoss
from dftcore.scoring import score
from dftcore.training.options import TrainOptions
from dftcore.training.writer import RunWriter

_SAMPLE = 256  # examples of the pre-flight, and no more than one step has


class Monitor:
    """Of a run that goes on after `step` steps of `total`; `validation` are held-out documents."""

    def __init__(
        self,
        options: TrainOptions,
        module: LanguageModelLoss,
        documents: Documents,
        validation: Documents | None,
        pad_token_id: int,
        world: World,
        step: int,
        total: int,
    ) -> None:
        self.options, self.module, self.documents, self.validation = options, module, documents, validation
        self.pad_token_id, self.world, self.total = pad_token_id, world, total
        count = min(_SAMPLE, options.run.batch_size)
        # Which objective suits the data is no question that pairs answer.
        ask = options.monitor.preflight and documents.group == 1
        self.sample = preflight.sample_of(documents, count, options.run.seed) if ask else ()
        self.writer = RunWriter(options, module, documents, world, step, total) if world.is_first else None

    def begin(self, step: int) -> None:
        """Before the steps that follow `step`: the pre-flight, once a run."""
        if self.sample and step == 0:
            observed = self._score(self.documents, self.sample)
            if self.writer:
                self.writer.preflight(observed, len(self.sample))

    def outputs(self, step: int) -> tuple[str, ...]:
        """Which statistics the passes of step 1, 2, ... observe; entropy costs a little, so not in every step."""
        return ("top1", "entropy") if self._is_diagnosed(step) else ("top1",)

    def step_begins(self, step: int) -> None:
        if self.writer:
            self.writer.step_begins(step)

    def step_ends(self, record: dict[str, Any], observed: Observed, examples: Sequence[int]) -> None:
        """After a step: `record` is its line of metrics.jsonl so far, `examples` the documents that it learned from."""
        step = record["step"]
        if self.writer and self._is_diagnosed(step):
            self.writer.probabilities(step, "batch", observed)
        if self.validation is not None and (step % self.options.monitor.validate_every == 0 or step == self.total):
            chosen = range(0, len(self.validation), self.validation.group)  # of pairs, the answers to learn
            found = self._score(self.validation, chosen)
            means = found.means()
            record |= {f"validation_{name}": means[name] for name in ("loss", "nll", "mean_prob")}
            if self.writer:
                self.writer.probabilities(step, "validation", found)
        if self.writer:
            self.writer.step_ends(record, examples)

    def finish(self) -> None:
        """After the last step: the pre-flight's examples once more."""
        if self.sample:
            observed = self._score(self.documents, self.sample)
            if self.writer:
                self.writer.finish(observed)

    def note(self, text: str) -> None:
        if self.writer:
            self.writer.note(text)

    def close(self) -> None:
        if self.writer:
            self.writer.close()

    def _is_diagnosed(self, step: int) -> bool:
        return step in (1, self.total) or step % self.options.monitor.diagnostics_every == 0

    def _score(self, documents: Documents, indices: Sequence[int]) -> Observed:
        return score(self.module, documents, indices, self.pad_token_id, self.world)
