"""The memory plan of a run: printed by --dry-run, and refused where it cannot fit the GPU at hand or its host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from dftcore import memory
from dftcore.distributed import local_device
from dftcore.errors import UserError
from dftcore.objectives import Objective
from dftcore.parallel import recompute_activations
from dftcore.training.build import build_module
from dftcore.training.options import TrainOptions

_RANKS = (1, 2, 4, 8)
_NODE = 8  # of ranks that --dry-run plans for, the most that share a node
_NO = "does not fit"


def print_plan(options: TrainOptions, config: Any, objective: Objective) -> None:
    """What --dry-run shows, for --ranks, the ranks of this launch, or a few numbers of them.

    Raises UserError, naming what would fit, when none of them does.
    """
    launched = _launched()
    wanted = options.plan.ranks or ((launched,) if launched > 1 else _RANKS)
    wanted = tuple(ranks for ranks in wanted if ranks % options.scale.replicas == 0)
    if not wanted:
        raise UserError(f"--ranks: none of {options.plan.ranks} is a multiple of --replicas {options.scale.replicas}")
    planner = _Planner(options, config, objective)
    node = _local() if launched > 1 else _NODE
    plans = [(ranks, planner.plan(options, ranks)) for ranks in wanted]
    run, limits = options.run, _Limits(device_bytes(options), _asked_host_bytes(options), node)
    print(
        f"{planner.describe()}; passes of {run.micro_batch_size} x {options.data.max_length} tokens,"
        f" {options.model.dtype} compute, {options.model.master_dtype} parameters"
    )
    print(memory.table(plans, limits.device, limits.host, node))
    print("not counted: the CUDA context, communication buffers, fragmentation; compiled layers need less")
    if not any(limits.allow(plan, ranks) for ranks, plan in plans):
        raise UserError(f"none of these plans can fit; {planner.what_would_fit(options, max(wanted), limits)}")


def check_memory(options: TrainOptions, config: Any, objective: Objective) -> None:
    """Refuse a run whose plan cannot fit the device or its host, and name what would. Raises UserError."""
    device = device_bytes(options)
    if device is None and not options.scale.cpu_offload:
        return
    planner, ranks = _Planner(options, config, objective), _launched()
    limits = _Limits(device, _asked_host_bytes(options) or memory.host_bytes(), _local())
    plan = planner.plan(options, ranks)
    if limits.allow(plan, ranks):
        return
    if limits.device and memory.verdict(plan.peak, limits.device) == _NO:
        needs = f"{plan.peak / memory.GIB:.1f} GiB on each of {ranks} GPU(s) of {limits.device / memory.GIB:.1f} GiB"
    else:
        needs = (
            f"{limits.of_node(plan, ranks) / memory.GIB:.1f} GiB of CPU memory for the ranks of a node, which has"
            f" {(limits.host or 0) / memory.GIB:.1f} GiB"
        )
    raise UserError(
        f"this run needs about {needs}; {planner.what_would_fit(options, ranks, limits)} (--dry-run shows the plan)"
    )


@dataclass(frozen=True)
class _Limits:
    """Bytes of a GPU and of a node's CPU memory, as far as they are known, and how many ranks share a node."""

    device: int | None
    host: int | None
    node: int

    def of_node(self, plan: memory.Plan, ranks: int) -> int:
        return min(ranks, self.node) * plan.host

    def allow(self, plan: memory.Plan, ranks: int) -> bool:
        pairs = ((plan.peak, self.device), (self.of_node(plan, ranks), self.host))
        return all(limit is None or memory.verdict(planned, limit) != _NO for planned, limit in pairs)


def _asked_host_bytes(options: TrainOptions) -> int | None:
    asked = options.plan.host_memory
    return None if asked is None else memory.parse_bytes(asked, "--host-memory")


def device_bytes(options: TrainOptions) -> int | None:
    """--device-memory, or what the GPU at hand has; None on the CPU."""
    if options.plan.device_memory is not None:
        return memory.parse_bytes(options.plan.device_memory, "--device-memory")
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(local_device()).total_memory
    return None


class _Planner:
    """Plans of one model; a trace serves every number of ranks."""

    def __init__(self, options: TrainOptions, config: Any, objective: Objective) -> None:
        self.build = lambda: build_module(options, config, objective)
        self.module = self.build()
        self.anchored = "anchor" in objective.definition.context
        self.traces: dict[Any, memory.Trace] = {}

    def plan(self, options: TrainOptions, ranks: int) -> memory.Plan:
        """For options that build the same module."""
        dtype, scale = getattr(torch, options.model.dtype), options.scale
        rows, tokens = options.run.micro_batch_size, options.data.max_length
        key = (rows, tokens, scale.activation_checkpointing)
        if key not in self.traces:
            module = self.build()  # the trace uses it up
            if scale.activation_checkpointing:
                recompute_activations(module)
            self.traces[key] = memory.trace(module, rows, tokens, dtype, padded=not options.data.packing)
        backend = options.objective.loss_backend
        if backend == "auto":
            backend = "torch" if device_bytes(options) is None else "triton"
        job = memory.Job(
            rows,
            tokens,
            dtype,
            ranks // scale.replicas,
            scale.replicas,
            scale.reshard,
            scale.cpu_offload,
            backend,
            options.objective.error_budget,
            self.anchored,
            options.run.async_save,
        )
        return memory.foretell(self.module, self.traces[key], job)

    def what_would_fit(self, options: TrainOptions, ranks: int, limits: _Limits) -> str:
        mends = [
            f"{words} ({found.peak / memory.GIB:.1f} GiB)"
            for words, changed, count in _mends(options, ranks)
            if limits.allow(found := self.plan(changed, count), count)
        ]
        return f"what would fit: {'; '.join(mends[:4]) or 'nothing tried, even together'}"

    def describe(self) -> str:
        parameters = list(self.module.parameters())
        total, trained = (
            sum(parameter.numel() for parameter in chosen)
            for chosen in (parameters, [parameter for parameter in parameters if parameter.requires_grad])
        )
        return f"{total:,} parameters" + (f", {trained:,} of them trained" if trained < total else "")


def _mends(options: TrainOptions, ranks: int) -> Iterator[tuple[str, TrainOptions, int]]:
    """Changes that save memory, the cheapest first, each alone and then together: words, options, ranks."""
    lean = replace(options, scale=replace(options.scale, activation_checkpointing=True))
    if options.scale.cpu_offload:
        yield "--no-async-save", replace(options, run=replace(options.run, async_save=False)), ranks
        yield "--no-cpu-offload", replace(options, scale=replace(options.scale, cpu_offload=False)), ranks
    if not options.scale.activation_checkpointing:
        yield "--activation-checkpointing", lean, ranks
    if options.run.micro_batch_size > 1:
        yield "--micro-batch-size 1", replace(options, run=replace(options.run, micro_batch_size=1)), ranks
        lean = replace(lean, run=replace(lean.run, micro_batch_size=1))
    for count in (2 * ranks, 4 * ranks, 8 * ranks):
        yield f"{count} ranks", options, count
    together = "--activation-checkpointing" + (" --micro-batch-size 1" if options.run.micro_batch_size > 1 else "")
    yield f"{together} --cpu-offload", replace(lean, scale=replace(lean.scale, cpu_offload=True)), ranks
    for count in (2 * ranks, 4 * ranks, 8 * ranks):
        yield f"{together} and {count} ranks", lean, count


def _launched() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _local() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
