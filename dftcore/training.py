"""The training loop, top to bottom: options, data, model, steps, checkpoints, export.

The loss of a step is the sum over its valid tokens on all ranks and passes, divided by their number: counted first, so
that ranks, micro-batches, packing and padding change nothing but rounding. FSDP averages gradients over ranks, hence
the factor `world.size`.
"""

from __future__ import annotations

import math
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
import yaml

from dftcore import checkpoint, models
from dftcore.cli import Interrupted
from dftcore.data import batching, chat, sources
from dftcore.data.documents import IGNORE, Documents, tokenise
from dftcore.distributed import World, agree, barrier, process_group, shard, sum_over_ranks, whole_tensor
from dftcore.errors import UserError
from dftcore.files import check_writable, set_aside, sweep, write_text
from dftcore.metrics import MetricsLog, finite
from dftcore.objectives import Objective
from dftcore.optim import OptimizerOptions, adamw, learning_rate
from dftcore.options import flatten, option, to_yaml


@dataclass(frozen=True)
class ModelOptions:
    model: str = option(help="Hub id or local directory in Hugging Face safetensors format")
    chat_template: str | None = option(None, "template file, or user-assistant | problem-solution")
    dtype: Literal["float32", "bfloat16"] = option("bfloat16", "compute type; parameters and AdamW stay float32")


@dataclass(frozen=True)
class DataOptions:
    data: str = option(help="Hub id, directory, or .jsonl/.json/.parquet file of problem/solution or messages rows")
    split: str = option("train", "split of a Hub id or directory")
    columns: tuple[str, ...] = option((), "other column names, such as problem=question")
    max_examples: int | None = option(100_000, "rows taken from the data; none: all", minimum=1)
    subset: Literal["random", "first"] = option("random", "which rows those are")
    max_length: int = option(2048, "tokens of an example; longer ones are cut at the right", minimum=2)
    packing: bool = option(True, "several examples in one row, kept apart by their positions")


@dataclass(frozen=True)
class ObjectiveOptions:
    objective: str = option("dft", "sft, dft, or another of the family")
    objective_args: tuple[str, ...] = option((), "parameters of the objective, such as alpha=0.5")
    loss_backend: Literal["auto", "triton", "torch", "reference"] = option("auto", "implementation of the loss")
    error_budget: float | None = option(
        None, "relative gradient error allowed to the loss; 0 is exact", minimum=0, maximum=0.99
    )


@dataclass(frozen=True)
class RunOptions:
    output: Path = option(help="run directory: config.yaml, metrics.jsonl, checkpoints/, final/")
    batch_size: int = option(256, "examples per optimizer step, all ranks together", minimum=1)
    micro_batch_size: int = option(1, "examples (packed: rows of --max-length) in one pass of one rank", minimum=1)
    reshard: bool = option(True, "free gathered layers between forward and backward: less memory, more traffic")
    epochs: float = option(1.0, "passes over the data", above=0)
    max_steps: int | None = option(None, "stop after so many optimizer steps; none: as --epochs says", minimum=1)
    seed: int = option(0, "of the data order and sample", minimum=0, maximum=2**63 - 1)
    save_every: int = option(100, "steps between checkpoints; 0: only at the end", minimum=0)
    keep_checkpoints: int = option(2, "newest checkpoints kept", minimum=1)
    resume: bool = option(True, "go on from the run directory's newest checkpoint")


@dataclass(frozen=True)
class TrainOptions:
    model: ModelOptions
    data: DataOptions
    objective: ObjectiveOptions
    optimizer: OptimizerOptions
    run: RunOptions


# Options that change nothing but rounding of what is learned; a run resumes only with all others the same.
_NOT_FINGERPRINT = {
    "output",
    "save_every",
    "keep_checkpoints",
    "resume",
    "micro_batch_size",
    "packing",
    "loss_backend",
    "reshard",
}
_MAX_SKIPPED = 10  # steps in a row whose gradient was not finite


@dataclass
class _StopFlag:
    """Set by SIGTERM, SIGUSR1 or Ctrl-C; the loop sees it between steps, saves and stops."""

    signal_number: int = 0
    since: float = 0.0
    previous: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> _StopFlag:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            self.previous[number] = signal.signal(number, self._set)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _set(self, number: int, _frame: FrameType | None) -> None:
        # A later Ctrl-C does not wait for the step; one at once is the launcher passing the first on.
        if self.signal_number and number == signal.SIGINT and time.monotonic() - self.since > 3.0:
            raise KeyboardInterrupt
        if not self.signal_number:
            self.signal_number, self.since = number, time.monotonic()


def train(options: TrainOptions) -> Path:
    """Run or resume the training that `options` describe; returns the exported model's directory, <output>/final."""
    objective = Objective.parse(options.objective.objective, options.objective.objective_args)
    if objective.name == "unlikelihood":
        raise UserError("--objective: unlikelihood lowers the probability of marked tokens; data rows carry no marks")
    if options.objective.loss_backend == "triton" and not torch.cuda.is_available():
        raise UserError("--loss-backend: triton needs a CUDA device and there is none; use auto, torch or reference")
    check_writable(options.run.output, "--output")
    columns = sources.parse_columns(options.data.columns)
    source = sources.find_source(options.data.data, options.data.split)
    directory = models.find_model(options.model.model)
    config = models.load_config(directory)
    tokenizer = chat.load_tokenizer(str(directory), options.model.chat_template)
    models.check_vocabulary(tokenizer, config, directory)
    # Tokenising can take long: it happens before the process group exists, out of reach of its time-out.
    documents = tokenise(
        source,
        tokenizer,
        columns,
        options.data.max_length,
        max_examples=options.data.max_examples,
        subset=options.data.subset,
        seed=options.run.seed,
    )
    with process_group() as world:
        _run(options, objective, directory, config, tokenizer, documents, world)
    return options.run.output / "final"


def _run(
    options: TrainOptions,
    objective: Objective,
    directory: Path,
    config: Any,
    tokenizer: Any,
    documents: Documents,
    world: World,
) -> None:
    run = options.run
    total = batching.total_steps(len(documents), run.batch_size, run.epochs, run.max_steps)
    fingerprint = {
        **{key: value for key, value in flatten(options).items() if key not in _NOT_FINGERPRINT},
        "documents": documents.fingerprint,
    }
    start = _find_start(run, fingerprint, world)
    step = checkpoint.describe(start)["step"] if start else 0
    if start and step >= total and (run.output / "final").is_dir():
        if world.is_first:
            print(f"{run.output} is complete: {total} steps, model in {run.output / 'final'}")
        return
    module = models.LanguageModelLoss(
        models.build(config), objective, options.objective.loss_backend, options.objective.error_budget
    )
    shard(module, module.layers, world, getattr(torch, options.model.dtype), run.reshard)
    models.load_weights(module, directory, world.device)
    optimizer = adamw(module, options.optimizer)
    if start:
        checkpoint.load(start, module, optimizer)
    log = None
    if world.is_first:
        sweep(run.output)
        sweep(run.output / "checkpoints")
        write_text(run.output / "config.yaml", to_yaml(options))
        log = MetricsLog(run.output / "metrics.jsonl", step, total, f"{objective.name} {run.output.name}")
        log.note(
            f"{documents.counts}; {total} steps on {world.size} rank(s)" + (f"; resumed at {step}" if step else "")
        )
    try:
        _loop(options, module, optimizer, documents, tokenizer.pad_token_id, world, log, fingerprint, step, total)
    finally:
        if log:
            log.close()
    state = models.gather(module, models.stored_dtype(config), world.is_first)
    if world.is_first:
        models.export(state, directory, tokenizer, run.output / "final")
    barrier()


@dataclass(frozen=True)
class ExportOptions:
    run: Path = option(help="run directory of train.py")
    output: Path = option(help="directory to write, in Hugging Face format")
    step: int | None = option(None, "checkpoint's step; none: the newest", minimum=1)


@dataclass(frozen=True)
class ExportConfig:
    export: ExportOptions


def export_checkpoint(options: ExportOptions) -> None:
    """Turn a checkpoint of a run into a model directory."""
    found = {checkpoint.describe(path)["step"]: path for path in checkpoint.complete(options.run / "checkpoints")}
    if not found:
        raise UserError(f"--run: {options.run} holds no checkpoint")
    step = options.step or max(found)
    if step not in found:
        raise UserError(f"--step: {options.run} has no checkpoint of step {step}; there are {sorted(found)}")
    if options.output.exists():
        raise UserError(f"--output: {options.output} exists already; nothing is overwritten, choose another directory")
    try:
        before = yaml.safe_load((options.run / "config.yaml").read_text(encoding="utf-8"))
        name, template = before["model"], before["chat_template"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        raise UserError(f"--run: {options.run}/config.yaml is missing or damaged") from None
    directory = models.find_model(name)
    tokenizer = chat.load_tokenizer(str(directory), template)
    dtype, prefix = models.stored_dtype(models.load_config(directory)), "language_model."
    whole = checkpoint.parameters(found[step])
    state = {name.removeprefix(prefix): tensor.to(dtype) for name, tensor in whole.items()}
    models.export(state, directory, tokenizer, options.output)
    print(f"step {step} of {options.run} is now in {options.output}")


def _loop(
    options: TrainOptions,
    module: models.LanguageModelLoss,
    optimizer: torch.optim.Optimizer,
    documents: Documents,
    pad_token_id: int,
    world: World,
    log: MetricsLog | None,
    fingerprint: dict[str, Any],
    step: int,
    total: int,
) -> None:
    run = options.run
    root = run.output / "checkpoints"
    skipped = 0
    saved = step
    with _StopFlag() as stop:
        while step < total:
            began = time.perf_counter()
            passes = _passes(options, documents, pad_token_id, world, step, total)
            lr = learning_rate(options.optimizer, step, total)
            for group in optimizer.param_groups:
                group["lr"] = lr
            sums, tokens = _gradients(module, passes, world)
            norm = torch.nn.utils.clip_grad_norm_(module.parameters(), options.optimizer.clip)
            grad_norm = float(whole_tensor(norm))
            if math.isfinite(grad_norm):
                optimizer.step()
                skipped = 0
            else:
                skipped += 1
            optimizer.zero_grad(set_to_none=True)
            step += 1
            if log:
                log.write(_record(step, sums, tokens, grad_norm, lr, time.perf_counter() - began))
                if skipped:
                    log.note(f"step {step}: the gradient is not finite; its update was skipped")
            if skipped >= _MAX_SKIPPED:
                raise UserError(
                    f"the gradient was not finite for {skipped} steps in a row, up to step {step}; lower --lr, or try"
                    " --dtype float32"
                )
            stopping = agree(stop.signal_number != 0)
            if stopping or step == total or (run.save_every and step % run.save_every == 0):
                checkpoint.save(root, step, module, optimizer, world, fingerprint, run.keep_checkpoints)
                saved = step
            if stopping and step < total:
                raise Interrupted(
                    f"stopped after step {saved} of {total}, saved in {root}; run the same command again to go on",
                    stop.signal_number or signal.SIGTERM,
                )


def _passes(
    options: TrainOptions, documents: Documents, pad_token_id: int, world: World, step: int, total: int
) -> list[batching.Batch]:
    """This rank's passes of a step."""
    run, data = options.run, options.data
    indices = batching.examples_of_step(len(documents), run.batch_size, run.epochs, run.seed, step)
    dealt = batching.deal(indices, documents.lengths, world.size, run.micro_batch_size, data.max_length, data.packing)
    return [batching.collate(documents, group, data.packing, pad_token_id) for group in dealt[world.rank]]


def _gradients(
    module: models.LanguageModelLoss, passes: list[batching.Batch], world: World
) -> tuple[dict[str, float], int]:
    """Accumulate the step's gradient; the sums over all ranks, and the tokens that were processed."""
    learned = sum(int((batch.targets != IGNORE).sum()) for batch in passes)
    counts = torch.tensor([learned, sum(batch.tokens for batch in passes)], device=world.device)
    targets, tokens = sum_over_ranks(counts).tolist()
    sums = torch.zeros(len(models.SUMS), dtype=torch.float64, device=world.device)
    for batch in passes:
        loss, found = module(batch.to(world.device), targets / world.size)
        loss.backward()
        sums += found
    return dict(zip(models.SUMS, sum_over_ranks(sums).tolist(), strict=True)), tokens


def _record(
    step: int, sums: dict[str, float], tokens: int, grad_norm: float, lr: float, seconds: float
) -> dict[str, Any]:
    """One line of metrics.jsonl. tokens: processed, prompts included; targets: those the loss is the mean over."""
    targets = sums["targets"]
    effective = sums["weight"] ** 2 / sums["weight_squared"] if sums["weight_squared"] else 0.0
    return {
        "step": step,
        "loss": finite(sums["loss"] / targets),
        "nll": finite(sums["nll"] / targets),
        "mean_prob": finite(sums["prob"] / targets),
        "mean_weight": finite(sums["weight"] / targets),
        "effective_targets": finite(effective),
        "grad_norm": finite(grad_norm),
        "lr": lr,
        "tokens": tokens,
        "targets": int(targets),
        "tokens_per_second": tokens / seconds,
        "seconds": seconds,
    }


def _find_start(run: RunOptions, fingerprint: dict[str, Any], world: World) -> Path | None:
    """The checkpoint to go on from. A run that cannot be gone on with is set aside, never overwritten."""
    found = checkpoint.complete(run.output / "checkpoints")
    leftover = (run.output / "final").exists() or (run.output / "metrics.jsonl").exists()
    barrier()  # every rank has looked before any moves something
    if not run.resume or not found:
        if world.is_first and leftover:
            why = "--no-resume" if not run.resume else "no checkpoint to go on from"
            print(f"{why}: the run that was in {run.output} is now in {set_aside(run.output)}")
        barrier()
        return None
    before = checkpoint.describe(found[-1])["run"]
    changed = [key for key in fingerprint if before.get(key) != fingerprint[key]]
    if changed:
        key = changed[0]
        name = "the data" if key == "documents" else "--" + key.replace("_", "-")
        detail = "" if key == "documents" else f" (it was {before.get(key)}, now {fingerprint[key]})"
        raise UserError(
            f"{name} differs from the run in {run.output}{detail}; restore it, choose another --output, or give"
            " --no-resume to start over"
        )
    return found[-1]
