"""The steps of a run: passes, gradients, update, record, save.

The loss of a step is the sum over its valid tokens on all ranks and passes, divided by their number: counted first, so
that ranks, micro-batches, packing and padding change nothing but rounding. FSDP averages gradients over ranks, hence
the factor `world.size`.

--normalization legacy-verl divides each pass by its own tokens instead and adds the passes up, which the paper's code
does: its trainer scales the loss by the number of micro-batches only after the backward.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule

from dftcore import checkpoint, models
from dftcore.cli import Interrupted
from dftcore.data import batching
from dftcore.data.documents import IGNORE, Documents
from dftcore.diagnostics import SIZE, Observed, finite
from dftcore.distributed import World, agree, sum_over_ranks, whole_tensor
from dftcore.errors import UserError
from dftcore.optim import learning_rate
from dftcore.training.context import ObjectiveContext
from dftcore.training.monitor import Monitor
from dftcore.training.options import TrainOptions
from dftcore.training.stopping import StopFlag

_MAX_SKIPPED = 10  # steps in a row whose gradient was not finite


@dataclass
class Loop:
    """What the steps of one run work on."""

    options: TrainOptions
    module: models.LanguageModelLoss
    optimizer: torch.optim.Optimizer
    documents: Documents
    pad_token_id: int
    world: World
    monitor: Monitor
    saver: checkpoint.Saver
    total: int
    context: ObjectiveContext

    def run(self, step: int) -> None:
        """Take the steps after `step`, up to `total`. Raises Interrupted after the save that a signal asked for."""
        run = self.options.run
        skipped = 0
        with StopFlag() as stop:
            while step < self.total:
                finite_gradient = self._step(step)
                step += 1
                skipped = 0 if finite_gradient else skipped + 1
                if skipped:
                    self.monitor.note(f"step {step}: the gradient is not finite; its update was skipped")
                if skipped >= _MAX_SKIPPED:
                    raise UserError(
                        f"the gradient was not finite for {skipped} steps in a row, up to step {step}; lower --lr, or"
                        " try --dtype float32"
                    )
                stopping = agree(stop.signal_number != 0 or self.saver.failed)
                last = step == self.total
                if stopping or last or (run.save_every and step % run.save_every == 0):
                    self.saver.save(step, self.module, self.optimizer, stopping or last, self.context.state)
                if stopping and step < self.total:
                    raise Interrupted(
                        f"stopped after step {step} of {self.total}, saved in {run.output / 'checkpoints'}; run the"
                        " same command again to go on",
                        stop.signal_number or signal.SIGTERM,
                    )

    def _step(self, step: int) -> bool:
        """One optimizer step; False if its gradient was not finite and nothing was updated."""
        self.monitor.step_begins(step + 1)
        began = time.perf_counter()
        lr = learning_rate(self.options.optimizer, step, self.total)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.context.before_step(step, self.module, self._examples)
        examples = self._examples(step)
        observed, tokens = self._gradients(self._passes(examples), self.monitor.outputs(step + 1))
        extra = self.context.finish_step(self.module, observed)
        norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.options.optimizer.clip)
        grad_norm = float(whole_tensor(norm))
        if math.isfinite(grad_norm):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        record = _record(step + 1, observed, tokens, grad_norm, lr, time.perf_counter() - began)
        record |= {name: finite(value) for name, value in extra.items()}
        self.monitor.step_ends(record, observed, batching.members(self.documents, examples))
        return math.isfinite(grad_norm)

    def _examples(self, step: int) -> list[int]:
        run = self.options.run
        return batching.examples_of_step(self.documents.examples, run.batch_size, run.epochs, run.seed, step)

    def _passes(self, examples: Sequence[int]) -> list[batching.Batch]:
        """This rank's passes of a step."""
        run, data, documents, world = self.options.run, self.options.data, self.documents, self.world
        in_order = run.normalization == "legacy-verl"
        dealt = batching.deal_examples(
            documents, examples, world.size, run.micro_batch_size, data.max_length, data.packing, in_order
        )
        return [batching.collate(documents, group, data.packing, self.pad_token_id) for group in dealt[world.rank]]

    def _gradients(self, passes: list[batching.Batch], outputs: Sequence[str]) -> tuple[Observed, int]:
        """Accumulate the step's gradient; the sums over all ranks, and the tokens that were processed."""
        device = self.world.device
        learned = sum(int((batch.targets != IGNORE).sum()) for batch in passes)
        counts = torch.tensor([learned, sum(batch.tokens for batch in passes)], device=device)
        targets, tokens = sum_over_ranks(counts).tolist()
        sums = torch.zeros(SIZE, dtype=torch.float64, device=device)
        for number, batch in enumerate(passes, 1):
            if self.world.replicas > 1 and isinstance(self.module, FSDPModule):
                self.module.set_requires_all_reduce(number == len(passes))  # between replicas; within one, each pass
            normalizer = targets / self.world.size
            if self.options.run.normalization == "legacy-verl":
                normalizer = max(1, int((batch.targets != IGNORE).sum()))
            batch = batch.to(device)
            loss, found, seen = self.module(batch, normalizer, outputs, **self.context.arguments(batch))
            self.context.observe(batch, seen)
            loss.backward()
            sums += found
        return Observed(sum_over_ranks(sums).tolist()), tokens


def _record(step: int, observed: Observed, tokens: int, grad_norm: float, lr: float, seconds: float) -> dict[str, Any]:
    """One line of metrics.jsonl. tokens: processed, prompts included; targets: those that are learned."""
    return {
        "step": step,
        **observed.means(),
        "grad_norm": finite(grad_norm),
        "lr": lr,
        "tokens": tokens,
        "targets": int(observed["targets"]),
        "tokens_per_second": tokens / seconds,
        "seconds": seconds,
    }
