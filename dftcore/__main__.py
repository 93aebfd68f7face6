"""Everything beyond train.py and evaluate.py, as verbs: `python -m dftcore VERB --help`."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dftcore.cli import run_program
from dftcore.errors import UserError, nearest
from dftcore.options import option, parse_options


@dataclass(frozen=True)
class ProblemOptions:
    output: Path = option(help="JSONL file to write")
    split: Literal["train", "test"] = option("train", "the two share no problem, whatever the seed")
    count: int = option(1000, "problems", minimum=1)
    levels: tuple[int, ...] = option((1, 2, 3), "difficulty levels, 1 to 4")
    seed: int = option(0, "of the problems", minimum=0, maximum=2**63 - 1)


@dataclass(frozen=True)
class ProblemConfig:
    problems: ProblemOptions


def demo(argv: Sequence[str]) -> None:
    from dftcore.demo import Demo, DemoConfig

    Demo(parse_options(DemoConfig, argv, "python -m dftcore demo", "Train SFT and DFT, score both, report.").demo).run()


def export(argv: Sequence[str]) -> None:
    from dftcore.training import ExportConfig, export_checkpoint

    description = "Turn a checkpoint into a Hugging Face model directory."
    export_checkpoint(parse_options(ExportConfig, argv, "python -m dftcore export", description).export)


def preflight(argv: Sequence[str]) -> None:
    from dftcore.preflight import PreflightConfig, preflight

    description = "Read the label probabilities of a model on data, and say whether DFT suits them."
    preflight(parse_options(PreflightConfig, argv, "python -m dftcore preflight", description).preflight)


def pipeline(argv: Sequence[str]) -> None:
    from dftcore.offline.pipeline import PipelineConfig, pipeline

    description = "Sample, verify, train every objective on the outcome, evaluate, report."
    pipeline(parse_options(PipelineConfig, argv, "python -m dftcore pipeline", description).pipeline)


def problems(argv: Sequence[str]) -> None:
    from dftcore.data.problems import write_problems

    options = parse_options(
        ProblemConfig, argv, "python -m dftcore problems", "Generate maths word problems with worked solutions."
    ).problems
    write_problems(options.output, options.split, options.count, options.levels, options.seed)
    print(f"{options.count} problems are in {options.output}")


def report(argv: Sequence[str]) -> None:
    from dftcore.report import ReportConfig, write_report

    description = "Write one HTML page with the tables and figures of runs."
    write_report(parse_options(ReportConfig, argv, "python -m dftcore report", description).report)


def sample(argv: Sequence[str]) -> None:
    from dftcore.offline.sample import SampleConfig, sample

    description = "Sample a model's responses to the questions of a training set."
    sample(parse_options(SampleConfig, argv, "python -m dftcore sample", description))


def sweep(argv: Sequence[str]) -> None:
    from dftcore.sweep import SweepConfig, sweep

    sweep(parse_options(SweepConfig, argv, "python -m dftcore sweep", "Train and evaluate a grid of runs.").sweep)


def verify(argv: Sequence[str]) -> None:
    from dftcore.offline.verify import VerifyConfig, verify

    description = "Grade sampled responses; write the right ones, and pairs of right and wrong, as training data."
    verify(parse_options(VerifyConfig, argv, "python -m dftcore verify", description).verify)


VERBS: dict[str, Callable[[Sequence[str]], None]] = {
    "demo": demo,
    "export": export,
    "pipeline": pipeline,
    "preflight": preflight,
    "problems": problems,
    "report": report,
    "sample": sample,
    "sweep": sweep,
    "verify": verify,
}


def main(argv: Sequence[str]) -> None:
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: python -m dftcore VERB [options]\n\nverbs: {', '.join(VERBS)}; each has --help")
        return
    if argv[0] not in VERBS:
        raise UserError(f"unknown verb {argv[0]!r}{nearest(argv[0], VERBS)}")
    VERBS[argv[0]](argv[1:])


if __name__ == "__main__":
    sys.exit(run_program("dftcore", main))
