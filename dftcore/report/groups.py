"""Runs told apart: by what their options differ in, seeds of one setting together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dftcore.runs import Run
from dftcore.training.options import ROUNDING_ONLY

_LONGEST = 60  # characters of a label; a longer one leaves a figure no room


@dataclass(frozen=True)
class Group:
    """Runs of one setting, which differ by their seed alone."""

    label: str
    runs: tuple[Run, ...]


def differing(runs: Sequence[Run]) -> list[str]:
    """Options that are not the same in all training runs; the objective with its parameters counts as one."""
    runs = [run for run in runs if run.is_trained]
    names = dict.fromkeys(name for run in runs for name in run.options)
    changed = [
        name
        for name in names
        if name not in ROUNDING_ONLY | {"objective_args"} and len({str(run.options.get(name)) for run in runs}) > 1
    ]
    if "objective" not in changed and len({run.objective for run in runs}) > 1:
        changed.insert(0, "objective")
    return changed


def value(run: Run, name: str) -> str:
    return run.objective if name == "objective" else str(run.options.get(name, "-"))


def groups(runs: Sequence[Run]) -> list[Group]:
    """The runs by setting, in the order of their first; labelled by objective and by what else differs but the seed."""
    names = [name for name in differing(runs) if name != "seed"]
    labelled: dict[str, list[Run]] = {}
    for run in runs:
        rest = [f"{name}={value(run, name)}" for name in names if name != "objective" and run.is_trained]
        labelled.setdefault(" ".join([run.objective, *rest]), []).append(run)
    return [
        Group(label if len(label) <= _LONGEST else members[0].name[:_LONGEST], tuple(members))
        for label, members in labelled.items()
    ]
