"""Finished or unfinished runs read back from their directories: what sweep and report know of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dftcore.errors import UserError
from dftcore.files import read_json, read_log

EVALUATION = "eval"  # directory of a run where its final model's evaluation lies


@dataclass(frozen=True)
class Run:
    """options: config.yaml. metrics, diagnostics: records of those files. results: of the evaluation, or {}."""

    path: Path
    options: dict[str, Any]
    metrics: list[dict[str, Any]]
    diagnostics: list[dict[str, Any]]
    results: dict[str, Any]

    @property
    def is_trained(self) -> bool:
        """False for a bare evaluation, such as the start model's."""
        return "objective" in self.options

    @property
    def evaluation(self) -> Path:
        """Where its evaluation lies, if there is one."""
        return self.path / EVALUATION if self.is_trained else self.path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def objective(self) -> str:
        """Objective with its parameters, such as `power alpha=0.5`; of a bare evaluation, its name."""
        if not self.is_trained:
            return self.name
        return " ".join([str(self.options.get("objective")), *self.options.get("objective_args", ())])

    @property
    def accuracies(self) -> dict[str, dict[str, Any]]:
        """benchmark -> value, low, high, questions, samples and rates."""
        return dict(self.results.get("benchmarks", {}))


def read_run(path: Path, option: str) -> Run:
    """The run in a directory of train.py, or the bare evaluation in one of evaluate.py.

    Raises UserError when it is neither, or a file of it is damaged.
    """
    options = read_config(path / "config.yaml", option)
    results: dict[str, Any] = {}
    found = (path / EVALUATION if "objective" in options else path) / "results.json"
    if found.is_file():
        results = read_results(found)
    return Run(path, options, read_log(path / "metrics.jsonl"), read_log(path / "diagnostics.jsonl"), results)


def read_results(path: Path) -> dict[str, Any]:
    """What results.json of an evaluation holds. Raises UserError when it is damaged."""
    results = read_json(path)
    try:
        for found in results["benchmarks"].values():
            sum(found[name] for name in ("value", "low", "high", "questions", "samples"))
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"{path} is damaged: no accuracies in it; restore it, or evaluate again") from None
    return results


def read_config(path: Path, option: str) -> dict[str, Any]:
    """The resolved options that a run was started with."""
    if not path.is_file():
        raise UserError(f"{option}: {path.parent} is not a run directory: it has no {path.name}")
    try:
        return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, ValueError):
        raise UserError(f"{option}: {path} is damaged; restore it or remove that run") from None
