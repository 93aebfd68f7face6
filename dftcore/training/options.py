"""The options of train.py, one frozen dataclass a concern."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch

from dftcore.errors import UserError
from dftcore.lora import LoraOptions, check_lora
from dftcore.objectives import Objective
from dftcore.optim import OptimizerOptions
from dftcore.options import flatten, option
from dftcore.parallel import ScaleOptions
from dftcore.trackers import check_trackers
from dftcore.training.context import needs_reference


@dataclass(frozen=True)
class ModelOptions:
    model: str = option(help="Hub id or local directory in Hugging Face safetensors format")
    chat_template: str | None = option(None, "template file, or user-assistant | problem-solution | llama-base")
    dtype: Literal["float32", "bfloat16"] = option("bfloat16", "compute type")
    master_dtype: Literal["float32", "bfloat16"] = option(
        "float32",
        "type of the parameters and AdamW's moments; bfloat16 halves their memory, as the paper did, but rounds most"
        " updates away: a step of 5e-5 leaves 43 to 75 % of the weights as they were",
    )


@dataclass(frozen=True)
class DataOptions:
    data: str = option(
        help="Hub id, directory, or .jsonl/.json/.parquet file of problem/solution or messages rows", unless="dry_run"
    )
    split: str = option("train", "split of a Hub id or directory")
    columns: tuple[str, ...] = option((), "other column names, such as problem=question")
    max_examples: int | None = option(100_000, "rows taken from the data; none: all", minimum=1)
    subset: Literal["random", "first"] = option("random", "which rows those are")
    max_length: int = option(2048, "tokens of an example; longer ones are cut at the right", minimum=2)
    packing: bool = option(True, "several examples in one row, kept apart by their positions")
    validation_data: str | None = option(None, "held-out data, in any form that --data takes (its test split)")
    validation_split: float = option(0.0, "rows held out of --data instead: a number, or a share below 1", minimum=0)
    tokenise_workers: int | None = option(None, "processes that tokenise; none: as many as it is worth", minimum=1)


@dataclass(frozen=True)
class ObjectiveOptions:
    objective: str = option("dft", "sft, dft, or another of the family")
    objective_args: tuple[str, ...] = option((), "parameters of the objective, such as alpha=0.5")
    reference: str | None = option(
        None, "reference model of iw_sft, psft, asft and dpo: Hub id or directory; none: the model that is trained"
    )
    loss_backend: Literal["auto", "triton", "torch", "reference"] = option("auto", "implementation of the loss")
    error_budget: float | None = option(
        None, "relative gradient error allowed to the loss; 0 is exact", minimum=0, maximum=0.99
    )


@dataclass(frozen=True)
class RunOptions:
    output: Path = option(help="run directory: config.yaml, metrics.jsonl, checkpoints/, final/", unless="dry_run")
    batch_size: int = option(256, "examples per optimizer step, all ranks together", minimum=1)
    micro_batch_size: int = option(1, "examples (packed: rows of --max-length) in one pass of one rank", minimum=1)
    normalization: Literal["exact", "legacy-verl"] = option(
        "exact",
        "exact: the loss is the mean over the step's label tokens. legacy-verl: the gradient is the sum over passes of"
        " each pass's own mean, averaged over ranks, as in the paper's code; it grows with the number of passes",
    )
    epochs: float = option(1.0, "passes over the data", above=0)
    max_steps: int | None = option(None, "stop after so many optimizer steps; none: as --epochs says", minimum=1)
    seed: int = option(0, "of the data order and sample", minimum=0, maximum=2**63 - 1)
    save_every: int = option(100, "steps between checkpoints; 0: only at the end", minimum=0)
    keep_checkpoints: int = option(2, "newest checkpoints kept", minimum=1)
    async_save: bool = option(True, "write checkpoints while training goes on, from a copy of the state in host memory")
    resume: bool = option(True, "go on from the run directory's newest checkpoint")


@dataclass(frozen=True)
class MonitorOptions:
    preflight: bool = option(
        True, "read the label probabilities before step 1 and after the last, with a recommendation"
    )
    validate_every: int = option(
        100, "steps between readings of the held-out data, if any; also after the last", minimum=1
    )
    diagnostics_every: int = option(10, "steps between records of diagnostics.jsonl", minimum=1)
    track: tuple[str, ...] = option((), "where metrics go beside metrics.jsonl: tensorboard, wandb")
    profile: int | None = option(None, "steps of which the first rank writes a trace, after two of warm-up", minimum=1)


@dataclass(frozen=True)
class PlanOptions:
    dry_run: bool = option(False, "print the memory plan of each GPU and exit; needs the model's config.json only")
    ranks: tuple[int, ...] = option((), "numbers of GPUs to plan for; none: those of this launch, or 1, 2, 4 and 8")
    device_memory: str | None = option(
        None, "memory of a GPU to plan for, such as 80GiB; none: what the GPU at hand has. A run that cannot fit stops"
    )
    host_memory: str | None = option(
        None, "CPU memory of a node, likewise; none: what this one has, or with --dry-run as much as it takes"
    )


@dataclass(frozen=True)
class TrainOptions:
    model: ModelOptions
    data: DataOptions
    objective: ObjectiveOptions
    optimizer: OptimizerOptions
    scale: ScaleOptions
    lora: LoraOptions
    plan: PlanOptions
    run: RunOptions
    monitor: MonitorOptions


# Options that change nothing but rounding of what is learned; a run resumes only with all others the same.
ROUNDING_ONLY = {
    "output",
    "save_every",
    "keep_checkpoints",
    "async_save",
    "resume",
    "micro_batch_size",
    "packing",
    "loss_backend",
    "validation_data",
    "tokenise_workers",
    *(field.name for group in (ScaleOptions, PlanOptions, MonitorOptions) for field in fields(group)),
}


def fingerprint(options: TrainOptions) -> dict[str, Any]:
    """What a run must have in common with the one that it resumes."""
    same = {key: value for key, value in flatten(options).items() if key not in ROUNDING_ONLY}
    if options.run.normalization == "legacy-verl":
        same["micro_batch_size"] = options.run.micro_batch_size  # here it changes what is learned
    return same


def check(options: TrainOptions) -> Objective:
    """The objective; refuses options that do not go together, or do not go here. Raises UserError."""
    objective = Objective.parse(options.objective.objective, options.objective.objective_args)
    if objective.name == "unlikelihood":
        raise UserError("--objective: unlikelihood lowers the probability of marked tokens; data rows carry no marks")
    if options.objective.reference and not needs_reference(objective):
        raise UserError(f"--reference: {objective!r} uses no reference model; leave the option away")
    if options.objective.loss_backend == "triton" and not torch.cuda.is_available():
        raise UserError("--loss-backend: triton needs a CUDA device and there is none; use auto, torch or reference")
    if options.run.normalization == "legacy-verl" and objective.denominator != "tokens":
        raise UserError(
            f"--normalization: legacy-verl divides by the tokens of each pass, {objective!r} by the step's"
            f" {objective.denominator}; use exact"
        )
    if options.run.normalization == "legacy-verl" and options.data.packing:
        raise UserError(
            "--normalization: legacy-verl takes the mean of each pass of --micro-batch-size examples, which packed rows"
            " do not have; add --no-packing"
        )
    split = options.data.validation_split
    if split and options.data.validation_data is not None:
        raise UserError("--validation-split: held-out rows come from --validation-data already; give one of the two")
    if split > 1 and not split.is_integer():
        raise UserError(f"--validation-split: {split:g} is neither a number of rows nor a share below 1")
    if options.plan.ranks and not options.plan.dry_run:
        raise UserError("--ranks: it names the plans that --dry-run prints; the launcher says how many ranks a run has")
    check_trackers(options.monitor.track)
    check_lora(options.lora)
    return objective
