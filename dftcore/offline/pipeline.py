"""Sample, verify, train every objective on the outcome, evaluate, report: one command over one file.

    sample:                       # options of `python -m dftcore sample`, but for --output
      model: HuggingFaceTB/SmolLM2-135M-Instruct
      data: problems.jsonl
    verify:                       # options of `python -m dftcore verify`; may be left out
      keep_per_question: 4
    train:                        # options of train.py; model is the sampled one unless it says otherwise
      lr: 1e-5
    grid:                         # a run each; dpo learns from the pairs, all others from what is right
      objective: [rft, dft, iw_sft, dpo beta=0.1]
    evaluate:                     # options of evaluate.py; left out: no evaluation
      benchmarks: test.jsonl

    python -m dftcore pipeline --plan plan.yaml --output runs/offline

<output>/samples holds responses and data, <output>/base the start model's evaluation, <output>/runs the runs. What is
there already is not done again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dftcore import launch
from dftcore.errors import UserError
from dftcore.evaluation import EvaluateOptions
from dftcore.files import check_writable
from dftcore.offline.sample import SampleConfig
from dftcore.offline.verify import VerifyConfig
from dftcore.options import flatten, option
from dftcore.report import write_report
from dftcore.report.page import ReportOptions
from dftcore.sweep import checked, grid_points, is_evaluated, read_plan, run_points

PAIRED = ("dpo",)  # objectives that learn from pairs


@dataclass(frozen=True)
class PipelineOptions:
    plan: Path = option(help="YAML file with the sections sample, verify, train, grid and evaluate")
    output: Path = option(help="directory of samples, runs and report.html")
    ranks: int | None = option(None, "processes of each program; none: one a GPU, else two", minimum=1)


@dataclass(frozen=True)
class PipelineConfig:
    pipeline: PipelineOptions


def pipeline(options: PipelineOptions) -> None:
    """Do what is missing, stage by stage. Raises UserError naming the stage that failed."""
    output, samples = options.output, options.output / "samples"
    check_writable(output, "--output")
    plan = read_plan(options.plan, required=("sample", "grid"), optional=("verify", "train", "evaluate"))
    _refuse_data(plan, options.plan)
    sampling = {**plan["sample"], "output": samples}
    verifying = {**(plan.get("verify") or {}), "input": samples}
    checked(SampleConfig, sampling, options.plan, "sample")
    checked(VerifyConfig, verifying, options.plan, "verify")
    plan["train"] = {"model": plan["sample"].get("model"), **(plan.get("train") or {})}
    points = grid_points(
        plan,
        options.plan,
        output / "runs",
        lambda objective: samples / ("pairs.jsonl" if objective in PAIRED else "verified.jsonl"),
    )
    base, evaluated = None, {}
    if plan.get("evaluate") is not None:
        base = {**plan["evaluate"], "model": plan["train"]["model"], "output": output / "base"}
        evaluated = flatten(checked(EvaluateOptions, base, options.plan, "evaluate"))
    ranks = launch.local_ranks(options.ranks)
    _say("sample responses")
    launch.check("sample", launch.verb("sample", sampling, ranks))
    _say("verify them")  # always: it is quick, and the same responses give the same data
    launch.check("verify", launch.verb("verify", verifying))
    if base and not is_evaluated(output / "base", evaluated):
        _say("evaluate the start model")
        launch.check("evaluate.py", launch.torchrun("evaluate.py", ranks, base))
    run_points(points, output / "runs", ranks)
    described = [output / "base"] if base else []
    write_report(ReportOptions((*described, output / "runs"), output / "report.html"))


def _say(stage: str) -> None:
    print(f"\n[{stage}]", flush=True)


def _refuse_data(plan: Mapping[str, Any], file: Path) -> None:
    for name in ("train", "grid"):
        if "data" in (plan.get(name) or {}):
            raise UserError(f"--plan: {file}: section {name}: data is what was sampled; remove that line")
    if "input" in (plan.get("verify") or {}):
        raise UserError(f"--plan: {file}: section verify: input is what was sampled; remove that line")
