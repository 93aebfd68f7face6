"""The options of evaluate.py: one dataclass a concern, in the order of `--help`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dftcore.grading import PolicyName
from dftcore.options import option
from dftcore.sampling import SampledModelOptions, SamplingOptions


@dataclass(frozen=True)
class BenchmarkOptions:
    benchmarks: tuple[str, ...] = option(help="names (math500, gsm8k, ...) or files with problem/answer columns")
    data_dir: Path | None = option(None, "directory with <name>/test.jsonl, looked at before the Hub")
    limit: int | None = option(None, "first questions of each benchmark; none: all", minimum=1)
    grading_policy: PolicyName = option(
        "strict", "what counts as the same answer; the others only to compare with figures of those graders"
    )
    label_statistics: bool = option(False, "also the NLL and label probabilities of the reference solutions")


@dataclass(frozen=True)
class ReportOptions:
    output: Path = option(help="directory for samples.jsonl and results.json")
    resume: bool = option(True, "go on from the samples that the directory holds")
    grade_only: bool = option(False, "grade and report the samples that are there; load no model")


@dataclass(frozen=True)
class EvaluateOptions:
    model: SampledModelOptions
    benchmarks: BenchmarkOptions
    sampling: SamplingOptions
    report: ReportOptions
