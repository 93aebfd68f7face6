"""One run from options to exported model: data, model, resume, steps, final/."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import torch

from dftcore import checkpoint, lora, models
from dftcore.data import batching, chat, sources
from dftcore.data.documents import Documents, Selection, tokenise
from dftcore.distributed import World, barrier, differing, process_group, sum_over_ranks
from dftcore.errors import UserError
from dftcore.files import check_writable, set_aside, sweep, write_text
from dftcore.objectives import Objective
from dftcore.optim import adamw
from dftcore.options import flatten, to_yaml
from dftcore.parallel import check_replicas, parameter_device, shard
from dftcore.references import Reference, find_reference
from dftcore.training.build import build_module
from dftcore.training.context import needs_reference, supply
from dftcore.training.export import gathered, write_trained
from dftcore.training.loop import Loop
from dftcore.training.monitor import Monitor
from dftcore.training.options import DataOptions, RunOptions, TrainOptions, check, fingerprint
from dftcore.training.planning import check_memory, print_plan

# What differs, in words; everything else is an option.
_NAMED = {"documents": "the data", "base": "the model in --model", "reference_weights": "the reference model"}


def train(options: TrainOptions) -> Path:
    """Run or resume the training that `options` describe; returns the exported model's directory, <output>/final.

    With --dry-run it only prints the memory plan.
    """
    objective = check(options)
    if options.plan.dry_run:
        print_plan(options, models.load_config(models.find_model(options.model.model, weights=False)), objective)
        return options.run.output / "final"
    check_replicas(options.scale)
    check_writable(options.run.output, "--output")
    found = _find_data(options.data)
    directory = models.find_model(options.model.model)
    config = models.load_config(directory)
    tokenizer = chat.load_tokenizer(str(directory), options.model.chat_template)
    models.check_vocabulary(tokenizer, config, directory)
    check_memory(options, config, objective)
    reference = None
    if needs_reference(objective):
        name = options.objective.reference or options.model.model
        reference = find_reference(name, tokenizer, config, getattr(torch, options.model.dtype), options.scale)
    # Tokenising can take long: it happens before the process group exists, out of reach of its time-out.
    documents, validation = _documents(options, found, tokenizer, "pairs" in objective.definition.context)
    with process_group(replicas=options.scale.replicas) as world:
        _run(options, objective, directory, config, tokenizer, documents, validation, reference, world)
    return options.run.output / "final"


def _run(
    options: TrainOptions,
    objective: Objective,
    directory: Path,
    config: Any,
    tokenizer: Any,
    documents: Documents,
    validation: Documents | None,
    reference: Reference | None,
    world: World,
) -> None:
    run = options.run
    total = batching.total_steps(documents.examples, run.batch_size, run.epochs, run.max_steps)
    identity = {**fingerprint(options), "documents": documents.fingerprint}
    if reference:
        identity["reference_weights"] = reference.digest
    if options.lora.lora_rank is not None:  # its checkpoints lean on the frozen weights
        identity["base"] = models.fingerprint(directory)
    _refuse_ranks_that_differ(flatten(options))
    _refuse_ranks_that_differ(identity)  # after the options, which say what it holds
    start = _find_start(run, identity, world)
    before: dict[str, Any] = checkpoint.describe(start) if start else {"step": 0, "context": {}}
    checkpoints, step = run.output / "checkpoints", before["step"]
    if start and step >= total and (run.output / "final").is_dir():
        if world.is_first:
            print(f"{run.output} is complete: {total} steps, model in {run.output / 'final'}")
        return
    documents, context = supply(
        objective, before["context"], documents, reference, checkpoints, tokenizer.pad_token_id, world
    )
    module = build_module(options, config, objective)
    shard(module, world, getattr(torch, options.model.dtype), options.scale)
    models.load_weights(module, directory, world.device, parameter_device(world, options.scale))
    lora.initialize(module.language_model, run.seed)
    optimizer = adamw(module, options.optimizer)
    if start:
        checkpoint.load(start, module, optimizer)
    if world.is_first:
        sweep(run.output)
        sweep(checkpoints)
        write_text(run.output / "config.yaml", to_yaml(options))
    pad = tokenizer.pad_token_id
    monitor = Monitor(options, module, documents, validation, pad, world, step, total)
    monitor.note(_summary(options, documents, validation, total, world) + (f"; resumed at {step}" if step else ""))
    try:
        monitor.begin(step)
        with checkpoint.Saver(checkpoints, world, identity, run.keep_checkpoints, run.async_save) as saver:
            Loop(options, module, optimizer, documents, pad, world, monitor, saver, total, context).run(step)
        monitor.finish()
    finally:
        monitor.close()
    weights = gathered(module, models.stored_dtype(config) if options.lora.lora_rank is None else torch.float32)
    if world.is_first:
        write_trained(weights, options.lora, options.model.model, directory, tokenizer, run.output / "final")
    else:
        deque(weights, maxlen=0)  # takes part in every gather
    barrier()


def _find_data(data: DataOptions) -> tuple[sources.Source, sources.Source | None, dict[str, str]]:
    """The training data, the validation data if they are data of their own, and how columns are named in both."""
    columns = sources.parse_columns(data.columns)
    validation = None
    if data.validation_data is not None:
        validation = sources.find_source(data.validation_data, "test", "--validation-data")
    return sources.find_source(data.data, data.split), validation, columns


def _documents(
    options: TrainOptions,
    found: tuple[sources.Source, sources.Source | None, dict[str, str]],
    tokenizer: Any,
    pairs: bool,
) -> tuple[Documents, Documents | None]:
    """What is learned, and what is held out of it, if anything."""
    data, (source, validation, columns) = options.data, found
    chosen = Selection(data.max_examples, data.subset, options.run.seed, data.validation_split)
    held_out = Selection(held_out=data.validation_split, part="held-out") if data.validation_split else Selection()
    if data.validation_split:
        validation = source
    arguments = (tokenizer, columns, data.max_length)
    documents = tokenise(source, *arguments, chosen, data.tokenise_workers, pairs)
    if not validation:
        return documents, None
    return documents, tokenise(validation, *arguments, held_out, data.tokenise_workers, pairs)


def _summary(
    options: TrainOptions, documents: Documents, validation: Documents | None, total: int, world: World
) -> str:
    text = f"{documents.counts}; {total} steps on {world.size} rank(s)"
    if validation:
        text += f"; {len(validation)} documents held out"
    if options.run.normalization != "exact":
        text += f"; the gradient is normalized as {options.run.normalization} does, not over the step's tokens"
    return text


def _refuse_ranks_that_differ(given: dict[str, Any]) -> None:
    """Nodes with files of their own would learn different data, or wait for each other for ever. Raises UserError."""
    for place in differing([str(value) for value in given.values()]):
        name = _told(list(given)[place])
        raise UserError(f"{name} differs between ranks; give all nodes the same command and the same files")


def _told(name: str) -> str:
    return _NAMED.get(name, "--" + name.replace("_", "-"))


def _find_start(run: RunOptions, identity: dict[str, Any], world: World) -> Path | None:
    """The checkpoint to go on from. A run that cannot be gone on with is set aside, never overwritten."""
    # The first rank looks for all: another's view of a network file system may be older.
    found = checkpoint.complete(run.output / "checkpoints") if world.is_first else []
    newest = int(sum_over_ranks(torch.tensor(checkpoint.step_of(found[-1]) if found else 0)))
    leftover = (run.output / "final").exists() or (run.output / "metrics.jsonl").exists()
    if not run.resume or not newest:
        if world.is_first and leftover:
            why = "--no-resume" if not run.resume else "no checkpoint to go on from"
            print(f"{why}: the run that was in {run.output} is now in {set_aside(run.output)}")
        barrier()
        return None
    start = checkpoint.directory(run.output / "checkpoints", newest)
    before = checkpoint.describe(start)["run"]
    changed = [key for key in identity if before.get(key) != identity[key]]
    if changed:
        key = changed[0]
        name = _told(key)
        detail = "" if key in _NAMED else f" (it was {before.get(key)}, now {identity[key]})"
        raise UserError(
            f"{name} differs from the run in {run.output}{detail}; restore it, choose another --output, or give"
            " --no-resume to start over"
        )
    return start
