"""The files and the terminal of a run, which its first rank writes: see `metrics` for what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dftcore import preflight, throughput
from dftcore.data.documents import Documents
from dftcore.diagnostics import BINS, Observed, finite
from dftcore.distributed import World
from dftcore.files import write_json
from dftcore.metrics import MetricsLog, StepLog
from dftcore.models import LanguageModelLoss
from dftcore.options import flatten
from dftcore.trackers import open_trackers
from dftcore.training.options import TrainOptions
from dftcore.training.profile import Profiler
from dftcore.training.spikes import SpikeDetector


class RunWriter:
    """Of a run that goes on after `step` steps of `total`."""

    def __init__(
        self,
        options: TrainOptions,
        module: LanguageModelLoss,
        documents: Documents,
        world: World,
        step: int,
        total: int,
    ) -> None:
        self.run, self.clip = options.run.output, options.optimizer.clip
        self.documents, self.world, self.total = documents, world, total
        trackers = open_trackers(options.monitor.track, self.run, step, flatten(options))
        title = f"{options.objective.objective} {self.run.name}"
        self.metrics = MetricsLog(self.run / "metrics.jsonl", step, total, title, trackers)
        self.diagnostics = StepLog(self.run / "diagnostics.jsonl", step)
        self.spikes = StepLog(self.run / "spikes.jsonl", step)
        self.detector = SpikeDetector(self.metrics.log.kept)
        self.clipped = [bool(record.get("clipped")) for record in self.metrics.log.kept]
        self.skipped = sum(record.get("grad_norm") is None for record in self.metrics.log.kept)
        self.flops = throughput.model_flops(module.language_model)
        peak = throughput.peak_flops(throughput.device_name(world.device))
        self.peak = peak if options.model.dtype == "bfloat16" else None  # the peaks are those of bf16
        steps = options.monitor.profile
        self.profiler = Profiler(steps, step, total, self.run) if steps is not None else None

    def preflight(self, observed: Observed, examples: int) -> None:
        """Before step 1: preflight.json, and its advice in one line."""
        self.probabilities(0, "sample", observed)
        if observed.means()["mean_prob"] is None:
            self.note("pre-flight: the label probabilities are not finite")
            return
        result = preflight.assess(observed, examples)
        write_json(self.run / "preflight.json", result)
        self.note("pre-flight: " + preflight.advice(result))

    def step_begins(self, step: int) -> None:
        if self.profiler:
            self.profiler.begin(step)

    def step_ends(self, record: dict[str, Any], examples: Sequence[int]) -> None:
        """`record` as it will stand in metrics.jsonl but for what is added here; examples: documents of the step."""
        step, norm = record["step"], record["grad_norm"]
        if self.profiler and (line := self.profiler.end(step)):
            self.note(line)
        record["clipped"] = norm is not None and norm > self.clip
        record["mfu"] = None
        if self.flops and self.peak:
            done = self.flops.step(self.documents.lengths[list(examples)]) / record["seconds"]
            record["mfu"] = finite(done / (self.peak * self.world.size))
        record["memory_bytes"] = throughput.memory_bytes(self.world.device)
        self.metrics.write(record)
        self.clipped.append(record["clipped"])
        self.skipped += norm is None
        if spike := self.detector.check(record):
            rows = sorted({int(self.documents.rows[index]) for index in examples})
            self.spikes.write({"step": step, **spike, "examples": rows})
            shown = "" if spike["value"] is None else f" {spike['value']:.3g} is above {spike['limit']:.3g}"
            self.note(f"step {step}: {spike['what']}{shown}; the rows of its examples are in {self.spikes.path}")

    def probabilities(self, step: int, data: str, observed: Observed) -> None:
        """One line of diagnostics.jsonl."""
        found = {"step": step, "data": data, "bins": list(BINS), "probabilities": observed.probabilities()}
        self.diagnostics.write(found)

    def finish(self, observed: Observed) -> None:
        """After the last step: the pre-flight's examples once more, and the steps that were clipped or skipped."""
        if not any(record["step"] == self.total and record["data"] == "sample" for record in self.diagnostics.kept):
            self.probabilities(self.total, "sample", observed)
        mean = observed.means()["mean_prob"]
        now = "not finite" if mean is None else f"{mean:.3f}"
        clipped = f"; {sum(self.clipped)} of {len(self.clipped)} steps were clipped"
        clipped += f", {self.skipped} skipped" if self.skipped else ""
        self.note(f"mean label probability of the pre-flight's examples now {now}{clipped}")

    def note(self, text: str) -> None:
        self.metrics.note(text)

    def close(self) -> None:
        self.metrics.close()
        self.diagnostics.close()
        self.spikes.close()
