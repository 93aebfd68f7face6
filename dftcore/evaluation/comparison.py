"""Two or more evaluations compared on the questions they share, by paired bootstrap over questions.

python evaluate.py --compare runs/sft/eval runs/dft/eval
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from dftcore import plots
from dftcore.errors import UserError
from dftcore.evaluation import pictures
from dftcore.files import check_writable, read_log, write_json, write_text
from dftcore.options import option
from dftcore.runs import read_results
from dftcore.statistics import Estimate, average_accuracy, bootstrap_mean
from dftcore.tables import markdown_table, score

FEWEST = 10  # questions; a bootstrap of fewer says nothing of how far they vary

# Options of an evaluation that a reader must know of where they differ.
_TOLD = ("samples", "temperature", "top_p", "max_new_tokens", "prompt", "chat_template", "dtype", "backend")

# benchmark -> question -> correctness of its samples
Verdicts = dict[str, dict[str, list[bool]]]


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation: its verdicts, the gold of each (benchmark, question), and what results.json says."""

    verdicts: Verdicts
    golds: dict[tuple[str, str], str]
    results: dict[str, Any]

    def setting(self, name: str) -> Any:
        return self.results.get("options", {}).get(name)


@dataclass(frozen=True)
class ComparisonOptions:
    compare: tuple[Path, ...] = option(help="output directories of evaluate.py, two or more; all pairs are compared")
    output: Path | None = option(None, "directory for comparison.json, .md and .png; none: only the terminal")
    resamples: int = option(10_000, "of the bootstrap", minimum=1000)
    seed: int = option(0, "of the bootstrap", minimum=0, maximum=2**63 - 1)


@dataclass(frozen=True)
class CompareOptions:
    comparison: ComparisonOptions


def compare(options: ComparisonOptions) -> str:
    """Tables and verdicts, as Markdown. Raises UserError for runs that cannot be compared."""
    if len(options.compare) < 2:
        raise UserError("--compare: give two or more output directories of evaluate.py")
    if options.output:
        check_writable(options.output, "--output")
    names = short_names(options.compare)
    runs = {name: read_evaluation(run) for name, run in zip(names, options.compare, strict=True)}
    pairs = differences(runs, combinations(names, 2), options.seed, options.resamples)
    verdicts = [verdict(pair) for pair in pairs if pair["benchmark"] == pair["overall"]]
    notes = _notes(runs)
    told = "\n\n".join(("\n".join(f"- {line}" for line in verdicts), *notes))
    text = f"{_accuracies(runs)}\n\n{_differences(pairs)}\n\n{told}"
    if options.output:
        places = dict(zip(names, map(str, options.compare), strict=True))
        record = {"runs": places, "resamples": options.resamples, "seed": options.seed, "pairs": pairs}
        write_json(options.output / "comparison.json", {**record, "verdicts": verdicts, "notes": notes})
        write_text(options.output / "comparison.md", text + "\n")
        if plots.available():
            rows = [{**pair, "label": f"{pair['first']} - {pair['second']}, {pair['benchmark']}"} for pair in pairs]
            pictures.comparison(options.output / "comparison.png", rows)
    return text


def differences(
    runs: Mapping[str, Evaluation], pairs: Iterable[tuple[str, str]], seed: int = 0, resamples: int = 10_000
) -> list[dict[str, Any]]:
    """The first minus the second of each pair of named evaluations: a row a benchmark, their average last.

    Raises UserError for evaluations without a shared question, of different answers, or graded by different rules.
    """
    return [row for a, b in pairs for row in _pair(a, b, runs[a], runs[b], seed, resamples)]


def verdict(pair: Mapping[str, Any]) -> str:
    """In words: who is better by how many points, or that no difference is shown."""
    a, b = pair["first"], pair["second"]
    where = f"on {pair['benchmark']}, {pair['questions']} questions"
    if pair["low"] <= 0.0 <= pair["high"] or pair["questions"] < FEWEST:
        few = ", too few to tell" if pair["questions"] < FEWEST else ""
        shown = f"{a} minus {b} is {_points(pair['value'])} points, 95 % interval {_span(pair['low'], pair['high'])}"
        return f"{a} and {b}: no difference shown ({shown}) {where}{few}"
    better, worse, sign = (a, b, 1.0) if pair["value"] > 0.0 else (b, a, -1.0)
    low, high = sorted((sign * pair["low"], sign * pair["high"]))
    by = f"{100 * abs(pair['value']):.1f} points (95 % interval {_span(low, high)})"
    return f"{better} is better than {worse} by {by} {where}"


def short_names(runs: Sequence[Path]) -> list[str]:
    """The part of each path that tells the runs apart: runs/sft/eval and runs/dft/eval are sft and dft."""
    if len(set(runs)) != len(runs):
        raise UserError(f"--compare: {next(run for run in runs if runs.count(run) > 1)} is named twice")
    parts = [run.parts for run in runs]
    while len({part[-1:] for part in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [part[:-1] for part in parts]
    while len({part[:1] for part in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [part[1:] for part in parts]
    return ["/".join(part) for part in parts]


def read_evaluation(run: Path) -> Evaluation:
    """What an evaluation wrote into its --output. Raises UserError where it has not come to its end."""
    records = [record for record in read_log(run / "samples.jsonl") if "correct" in record]
    if not records or not (run / "results.json").is_file():
        raise UserError(f"--compare: {run} holds no graded samples; give the --output of a finished evaluation")
    verdicts: Verdicts = defaultdict(lambda: defaultdict(list))
    for record in records:
        verdicts[record["dataset"]][record["id"]].append(record["correct"])
    golds = {(record["dataset"], record["id"]): record.get("gold", "") for record in records}
    return Evaluation(verdicts, golds, read_results(run / "results.json"))


def _notes(runs: Mapping[str, Evaluation]) -> list[str]:
    """What a reader of the verdicts must know beside them."""
    notes = []
    for name in _TOLD:
        values = {run: evaluation.setting(name) for run, evaluation in runs.items()}
        if len(set(map(str, values.values()))) > 1:
            told = ", ".join(f"{run} {value}" for run, value in values.items())
            notes.append(f"The runs differ in --{name.replace('_', '-')}: {told}.")
    for run, evaluation in runs.items():
        found = evaluation.results.get("benchmarks", {})
        missing = {name: figures["missing_samples"] for name, figures in found.items() if figures["missing_samples"]}
        if missing:
            notes.append(f"{run} lacks {', '.join(f'{count} samples of {name}' for name, count in missing.items())}.")
    if len(runs) > 2:
        notes.append("Each verdict stands for itself: with many pairs one in twenty errs.")
    return notes


def _pair(a: str, b: str, first: Evaluation, second: Evaluation, seed: int, resamples: int) -> list[dict[str, Any]]:
    """The difference of two runs on each benchmark that both have, and averaged over those when there are several."""
    policies = [evaluation.setting("grading_policy") or "strict" for evaluation in (first, second)]
    if policies[0] != policies[1]:
        raise UserError(f"--compare: {a} is graded {policies[0]}, {b} {policies[1]}; grade one anew with --grade-only")
    differences: dict[str, list[float]] = {}
    left_out: dict[str, int] = {}
    for name, questions in first.verdicts.items():
        others = second.verdicts.get(name, {})
        shared = sorted(set(questions) & set(others))
        other = [question for question in shared if first.golds[name, question] != second.golds[name, question]]
        if other:
            raise UserError(f"--compare: {a} and {b} have different answers to question {other[0]} of {name}")
        if shared:
            differences[name] = [_share(questions[q]) - _share(others[q]) for q in shared]
            left_out[name] = len(set(questions) ^ set(others))
    if not differences:
        raise UserError(f"--compare: {a} and {b} share no question; evaluate both on the same benchmarks")
    groups = {name: [values] for name, values in differences.items()}
    if len(groups) > 1:
        groups["average"] = list(differences.values())
        left_out["average"] = sum(left_out.values())
    overall = list(groups)[-1]
    rows = []
    for name, values in groups.items():
        estimate: Estimate = bootstrap_mean(values, seed, resamples)
        count = sum(map(len, values))
        row = {"first": a, "second": b, "benchmark": name, "overall": overall, **asdict(estimate)}
        rows.append({**row, "questions": count, "not_shared": left_out[name]})
    return rows


def _share(correct: Sequence[bool]) -> float:
    return sum(correct) / len(correct)


def _accuracies(runs: Mapping[str, Evaluation]) -> str:
    benchmarks = list(dict.fromkeys(name for evaluation in runs.values() for name in evaluation.verdicts))
    rows = [["run", *benchmarks]]
    for run, evaluation in runs.items():
        verdicts = evaluation.verdicts
        cells = []
        for name in benchmarks:
            accuracy = average_accuracy(list(verdicts[name].values())) if name in verdicts else None
            cells.append(score(asdict(accuracy) if accuracy else None))
        rows.append([run, *cells])
    return markdown_table(rows)


def _differences(pairs: Sequence[Mapping[str, Any]]) -> str:
    rows = [["pair", "benchmark", "difference, points", "95 % interval", "questions", "not shared"]]
    for pair in pairs:
        spans = (_points(pair["value"]), _span(pair["low"], pair["high"]))
        counts = (str(pair["questions"]), str(pair["not_shared"]))
        rows.append([f"{pair['first']} - {pair['second']}", pair["benchmark"], *spans, *counts])
    return markdown_table(rows)


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _span(low: float, high: float) -> str:
    return f"{_points(low)} to {_points(high)}"
