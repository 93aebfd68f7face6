"""A grid of runs from one file: trained, evaluated and tabled; what is there already is not done again.

    train:                       # options of train.py, but for --output
      model: HuggingFaceTB/SmolLM2-135M-Instruct
      data: train.jsonl
    grid:                        # every combination is one run
      objective: [sft, dft, power alpha=0.5]
      lr: [1e-5, 5e-5]
      seed: [0, 1, 2]
    evaluate:                    # options of evaluate.py, but for --model and --output; left out: no evaluation
      benchmarks: test.jsonl
      samples: 4

    python -m dftcore sweep --plan plan.yaml --output runs/sweep

A run lies in <output>/objective=dft_lr=1e-05_seed=0, its evaluation in eval/ there. The whole grid is checked before
the first run starts; a run that fails is reported at the end and tried again by the next call.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dftcore import launch
from dftcore.data.sources import find_source
from dftcore.errors import UserError, nearest, one_line
from dftcore.evaluation import EvaluateOptions
from dftcore.files import check_writable, read_json, write_json, write_text
from dftcore.options import flatten, option, parse_options
from dftcore.runs import EVALUATION, Run, read_config, read_run
from dftcore.tables import markdown_table, score
from dftcore.training import TrainOptions
from dftcore.training.options import check, fingerprint

_DATA = "data.json"  # of each run, a digest of the data that it was trained on


@dataclass(frozen=True)
class SweepOptions:
    plan: Path = option(help="YAML file with the sections train, grid and evaluate")
    output: Path = option(help="directory of the runs, sweep.json and sweep.md")
    ranks: int | None = option(None, "processes of each run; none: one a GPU, else two", minimum=1)


@dataclass(frozen=True)
class SweepConfig:
    sweep: SweepOptions


@dataclass(frozen=True)
class Point:
    """One run of the grid: its values of the axes, the options given to its two programs, the latter's all resolved."""

    axes: dict[str, str]
    path: Path
    train: dict[str, Any]
    evaluate: dict[str, Any] | None
    evaluated: dict[str, Any]


def sweep(options: SweepOptions) -> None:
    """Run what is missing of the grid. Raises UserError naming the runs that failed, after all others are done."""
    check_writable(options.output, "--output")
    plan = read_plan(options.plan, required=("train", "grid"), optional=("evaluate",))
    run_points(grid_points(plan, options.plan, options.output), options.output, launch.local_ranks(options.ranks))


def grid_points(
    plan: Mapping[str, Any], file: Path, output: Path, data_of: Callable[[str], Path] | None = None
) -> list[Point]:
    """Every combination of the plan's grid, each checked as the programs themselves would check it.

    `data_of` gives the training data for an objective's name; without it the plan does. `file` is named in refusals.
    """
    points = []
    for values in itertools.product(*plan["grid"].values()):
        axes = {name: str(value) for name, value in zip(plan["grid"], values, strict=True)}
        path = output / "_".join(f"{name}={_in_a_name(value)}" for name, value in axes.items())
        given = {**plan["train"], **dict(zip(plan["grid"], values, strict=True)), "output": path}
        objective, *arguments = str(given.get("objective", "dft")).split()
        if arguments:
            given |= {"objective": objective, "objective_args": arguments}
        if data_of:
            given["data"] = data_of(objective)
        train = checked(TrainOptions, given, file, "train")
        _refuse_another_run(path, fingerprint(train))
        evaluate, evaluated = None, {}
        if plan.get("evaluate") is not None:
            evaluate = {**plan["evaluate"], "model": path / "final", "output": path / EVALUATION}
            evaluated = flatten(checked(EvaluateOptions, evaluate, file, "evaluate"))
        points.append(Point(axes, path, given, evaluate, evaluated))
    if len({point.path for point in points}) < len(points):
        raise UserError(f"--plan: {file}: grid: two values differ only in signs that a directory's name lacks")
    return points


def run_points(points: Sequence[Point], output: Path, ranks: int) -> None:
    """Train and evaluate what is missing; sweep.json and sweep.md tell after each run what there is."""
    failed = []
    for number, point in enumerate(points, 1):
        changed = _data_changed(point, output / _DATA)
        if changed:
            failed.append(f"{point.path.name} (its data has changed since; remove the run to train it again)")
        for stage, script, arguments in () if changed else _missing(point):
            print(f"\n[{number}/{len(points)}] {stage} {point.path.name}", flush=True)
            status = launch.torchrun(script, ranks, arguments)
            if status != 0:
                failed.append(f"{point.path.name} ({script}: status {status})")
                break
        _write_table(output, points)
    print("\n" + (output / "sweep.md").read_text(encoding="utf-8"), end="")
    if failed:
        raise UserError(f"{len(failed)} of {len(points)} runs failed: {', '.join(failed)}; mend it and run it again")


def _data_changed(point: Point, path: Path) -> bool:
    """Whether a trained run's data are no longer those it learned; of one to be trained they are noted in `path`."""
    known = read_json(path) if path.is_file() else {}
    try:
        digest = find_source(str(point.train["data"]), str(point.train.get("split", "train"))).fingerprint()
    except UserError:
        return False  # not to be had: the trained model stands, and train.py says so itself
    if (point.path / "final").is_dir():
        return known.get(point.path.name, digest) != digest
    write_json(path, {**known, point.path.name: digest})
    return False


def _in_a_name(value: str) -> str:
    return re.sub(r"[^\w.=+-]+", "-", value).strip("-")


def read_plan(path: Path, required: Sequence[str], optional: Sequence[str]) -> dict[str, Any]:
    """The plan's sections, a grid's values checked to be lists. Raises UserError naming file, section and line."""
    try:
        plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--plan: cannot read {path}: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"--plan: {path} is not YAML: {one_line(error)}") from None
    if not isinstance(plan, dict) or not all(plan.get(name) for name in required):
        also = f", and may have {' and '.join(optional)}" if optional else ""
        raise UserError(f"--plan: {path} needs the sections {' and '.join(required)}{also}")
    for name, section in plan.items():
        if name not in (*required, *optional):
            raise UserError(f"--plan: {path}: unknown section {name!r}{nearest(str(name), [*required, *optional])}")
        if not isinstance(section, dict) and (section is not None or name in required):
            raise UserError(f"--plan: {path}: section {name} holds no lines such as `lr: 5e-5`")
        for key in section or ():
            if str(key).replace("-", "_") in ("output", "config"):
                raise UserError(f"--plan: {path}: {key} is set by the program; remove it from section {name}")
    for name, values in plan["grid"].items():
        if not isinstance(values, list) or not values or len({str(value) for value in values}) != len(values):
            raise UserError(f"--plan: {path}: grid: {name} needs a list of distinct values, such as [1e-5, 5e-5]")
    return dict(plan)


def checked(config_type: type, given: Mapping[str, Any], file: Path, section: str) -> Any:
    """The options of a section as its program would read them."""
    try:
        config: Any = parse_options(config_type, launch.words(given), section, "")
        if isinstance(config, TrainOptions):
            check(config)
        return config
    except UserError as error:
        raise UserError(f"--plan: {file}: {section}: {error}") from None


def _refuse_another_run(path: Path, wanted: dict[str, Any]) -> None:
    if not (path / "config.yaml").is_file():
        return
    before = read_config(path / "config.yaml", "--output")
    changed = [name for name, value in wanted.items() if before.get(name) != value]
    if changed:
        name = changed[0]
        raise UserError(
            f"--output: {path} was run with {name}: {before.get(name)}, the plan says {wanted[name]}; choose another"
            " directory or remove that run"
        )


def _missing(point: Point) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The stages of a run that have left no result yet."""
    if not (point.path / "final").is_dir():
        yield "train", "train.py", point.train
    if point.evaluate is not None and not is_evaluated(point.path / EVALUATION, point.evaluated):
        yield "evaluate", "evaluate.py", point.evaluate


def is_evaluated(directory: Path, options: dict[str, Any]) -> bool:
    """Under these resolved options; evaluate.py itself goes on with, or refuses, what it finds under others."""
    if not (directory / "results.json").is_file():
        return False
    return read_config(directory / "config.yaml", "--output") == options


def _write_table(output: Path, points: Sequence[Point]) -> None:
    """sweep.json and sweep.md: a line a run that has started."""
    runs = [(point, read_run(point.path, "--output")) for point in points if (point.path / "config.yaml").is_file()]
    records = [_record(point, run) for point, run in runs]
    write_json(output / "sweep.json", records)
    benchmarks = list(dict.fromkeys(name for record in records for name in record["accuracy"]))
    rows = [(*points[0].axes, "steps", "NLL", "mean p", *benchmarks)]
    for record in records:
        rows.append(
            (
                *record["axes"].values(),
                str(record["steps"]),
                *("-" if record[name] is None else f"{record[name]:.3f}" for name in ("nll", "mean_prob")),
                *(score(record["accuracy"].get(name)) for name in benchmarks),
            )
        )
    write_text(output / "sweep.md", markdown_table(rows) + "\n")


def _record(point: Point, run: Run) -> dict[str, Any]:
    last = run.metrics[-1] if run.metrics else {}
    return {
        "axes": point.axes,
        "run": point.path.name,
        "steps": last.get("step", 0),
        "nll": last.get("nll"),
        "mean_prob": last.get("mean_prob"),
        "accuracy": {
            name: {key: found[key] for key in ("value", "low", "high", "questions", "samples")}
            for name, found in run.accuracies.items()
        },
    }
