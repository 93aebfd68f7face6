"""A training run evaluated while it trains: every checkpoint as it is written, until the run is complete.

python evaluate.py --watch runs/dft --benchmarks math500 --samples 4

    <run>/watch/step-00000100/   the evaluation of that checkpoint: samples.jsonl, results.json, ...
    <run>/watch/settings.json    how they are evaluated, the same for all
    <run>/watch/watch.json       accuracy of every step so far; watch.md its table, watch.png its picture

A checkpoint that training removes before it was exported is passed over, and said so. A killed watcher goes on where it
stopped when the same command is given again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dftcore import checkpoint, plots
from dftcore.distributed import World, process_group
from dftcore.errors import UserError
from dftcore.evaluation import pictures
from dftcore.evaluation.options import BenchmarkOptions, EvaluateOptions, ReportOptions
from dftcore.evaluation.run import evaluate_on, load_benchmarks
from dftcore.files import check_writable, read_json, read_log, sweep, write_json, write_text
from dftcore.options import flatten, option
from dftcore.runs import read_results
from dftcore.sampling import PATIENCE, BackendOptions, SampledModelOptions, SamplingOptions, refuse_absent
from dftcore.tables import markdown_table, score
from dftcore.training.export import ExportOptions, export_checkpoint

_END = "end"


@dataclass(frozen=True)
class WatchedOptions:
    watch: Path = option(help="run directory of train.py; each of its checkpoints is evaluated")
    output: Path | None = option(None, "directory of the evaluations; none: watch/ in the run directory")
    poll_seconds: float = option(15.0, "between two looks for a new checkpoint", above=0)
    idle_minutes: float | None = option(
        60.0,
        "give up after so long without a checkpoint or step of training, which has died; none: never",
        above=0,
    )


@dataclass(frozen=True)
class WatchOptions:
    run: WatchedOptions
    backend: BackendOptions
    benchmarks: BenchmarkOptions
    sampling: SamplingOptions


def watch(options: WatchOptions, tell: Callable[[str], None]) -> None:
    """Evaluate every checkpoint of the run, those to come included; returns when the run is complete.

    `tell` gets a line for each step, on the first rank. Raises UserError for a directory that holds no run.
    """
    run = options.run.watch
    if not (run / "config.yaml").is_file():
        raise UserError(f"--watch: {run} holds no config.yaml; give the --output of a train.py that has started")
    output = options.run.output or run / "watch"
    questions = load_benchmarks(options.benchmarks)
    check_writable(output, "--output")
    refuse_absent(options.backend.backend)
    settings = {name: value for name, value in flatten(options).items() if name not in vars(options.run)}
    _refuse_other_settings(output, settings)
    with process_group(PATIENCE) as world:
        if world.is_first:
            write_json(output / "settings.json", settings)
        for step, model in _checkpoints(world, options.run, output, tell):
            name = SampledModelOptions(**vars(options.backend), model=str(model))
            report = ReportOptions(output=_place(output, step))
            evaluate_on(world, EvaluateOptions(name, options.benchmarks, options.sampling, report), questions)
            if world.is_first:
                shutil.rmtree(_place(output, step) / "model", ignore_errors=True)
                tell(f"step {step}: {_report(output)}")


def _refuse_other_settings(output: Path, settings: dict[str, Any]) -> None:
    """Steps evaluated in different ways are never put in one picture."""
    path = output / "settings.json"
    before = read_json(path) if path.is_file() else settings
    for name, value in settings.items():
        if before.get(name) != value:
            raise UserError(
                f"--{name.replace('_', '-')}: the steps in {output} were evaluated with {before.get(name)}, now"
                f" {value}; restore it, or give another --output"
            )


def _checkpoints(
    world: World, options: WatchedOptions, output: Path, tell: Callable[[str], None]
) -> Iterator[tuple[int, Path]]:
    """Steps to evaluate and the model of each, the same on all ranks: the first one looks, the others are told."""
    for number in range(1 << 62):
        if world.is_first:
            found = _wait(options, output, tell)
            world.store.set(f"watch {number}", _END if found is None else f"{found[0]} {found[1]}")
        told = world.store.get(f"watch {number}").decode()
        if told == _END:
            return
        step, _, model = told.partition(" ")
        yield int(step), Path(model)


def _wait(options: WatchedOptions, output: Path, tell: Callable[[str], None]) -> tuple[int, Path] | None:
    """The oldest checkpoint without results, exported; None when the run is complete and has them all.

    Raises UserError when training takes no more steps.
    """
    run, gone = options.watch, set[int]()
    before, since = -1.0, time.monotonic()
    while True:
        complete = (run / "final" / "config.json").is_file()  # looked at before the checkpoints: it is written last
        for path in checkpoint.complete(run / "checkpoints"):
            step = int(path.name.removeprefix("step-"))
            if step in gone or (_place(output, step) / "results.json").is_file():
                continue
            if model := _export(run, path, step, _place(output, step)):
                return step, model
            gone.add(step)
            tell(f"step {step}: removed by training before it was read; --keep-checkpoints keeps more of them")
        if complete:
            last = max((record["step"] for record in read_log(run / "metrics.jsonl")), default=0)
            return None if (_place(output, last) / "results.json").is_file() else (last, run / "final")
        metrics = run / "metrics.jsonl"
        written = metrics.stat().st_mtime if metrics.exists() else 0.0
        if written != before:
            before, since = written, time.monotonic()
        if options.idle_minutes and time.monotonic() - since > 60 * options.idle_minutes:
            raise UserError(
                f"--watch: training in {run} has taken no step for {options.idle_minutes:g} minutes; start it and this"
                " command again, or wait longer with --idle-minutes"
            )
        time.sleep(options.poll_seconds)


def _export(run: Path, source: Path, step: int, place: Path) -> Path | None:
    """The checkpoint as a model directory, or None when it was removed meanwhile."""
    model = place / "model"
    if model.is_dir():  # a watcher was killed while it evaluated it
        return model
    place.mkdir(parents=True, exist_ok=True)
    sweep(place)
    try:
        export_checkpoint(ExportOptions(run=run, output=model, step=step))
    except Exception:  # reading files that vanish fails in many ways; while they are there it is a fault
        if (source / "state.json").is_file():
            raise
        place.rmdir()
        return None
    return model


def _report(output: Path) -> str:
    """watch.json, .md and .png from the results of all steps; a line on the newest."""
    points = []
    for path in sorted(output.glob("step-*/results.json")):
        found = read_results(path)["benchmarks"]
        points.append({"step": int(path.parent.name.removeprefix("step-")), "benchmarks": found})
    names = list(dict.fromkeys(name for point in points for name in point["benchmarks"]))
    rows = [["step", *names], *([str(point["step"]), *_cells(point["benchmarks"], names)] for point in points)]
    write_json(output / "watch.json", points)
    write_text(output / "watch.md", markdown_table(rows) + "\n")
    if plots.available():
        pictures.over_steps(output / "watch.png", points)
    return ", ".join(f"{name} {cell}" for name, cell in zip(names, rows[-1][1:], strict=True))


def _cells(benchmarks: dict[str, Any], names: list[str]) -> list[str]:
    return [score(benchmarks.get(name)) for name in names]


def _place(output: Path, step: int) -> Path:
    return output / f"step-{step:08d}"
