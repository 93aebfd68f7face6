"""The report of an evaluation: tables for the terminal and Markdown, results.json, and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dftcore import plots
from dftcore.evaluation import pictures
from dftcore.files import write_json, write_text
from dftcore.tables import interval, markdown_table


def write_report(output: Path, results: dict[str, Any]) -> None:
    """results.json, results.md, and results.png where matplotlib is installed."""
    write_json(output / "results.json", results)
    write_text(output / "results.md", tables(results) + "\n")
    if plots.available():
        pictures.evaluation(output / "results.png", results)


def tables(results: dict[str, Any]) -> str:
    """Accuracy, then how the samples ended, a row for each benchmark; then what a reader must know beside them."""
    return "\n\n".join((_accuracy(results), _samples(results), *_notes(results)))


def _notes(results: dict[str, Any]) -> list[str]:
    notes = []
    if results["not_sampled"]:
        notes.append(f"No sample yet: {', '.join(results['not_sampled'])}.")
    if (policy := results["options"]["grading_policy"]) != "strict":
        notes.append(f"Graded {policy}: to compare with figures of that grader only.")
    if (ks := shared_sizes(results["benchmarks"])) and ks[-1] > 1:
        notes.append(f"maj@{ks[-1]} breaks a tie evenly at random, in expectation; no answer is no vote.")
    if not plots.available():
        notes.append("No picture: matplotlib is not installed (pip install -e '.[demo]').")
    return notes


def _accuracy(results: dict[str, Any]) -> str:
    benchmarks = results["benchmarks"]
    ks = [k for k in shared_sizes(benchmarks) if k > 1]
    vote = f"maj@{ks[-1]}" if ks else None
    heads = ["benchmark", f"avg@{results['options']['samples']}", "95 % interval", "sampling alone"]
    rows = [[*heads, *(f"pass@{k}" for k in ks), *([vote] if vote else []), "questions", "samples"]]
    for name, found in benchmarks.items():
        alone = found["sampling_error"]
        missing = f" of {found['samples'] + found['missing_samples']}" if found["missing_samples"] else ""
        rows.append(
            [
                name,
                f"{found['value']:.1%}",
                interval(found),
                "" if alone is None else f"± {1.96 * alone:.1%}",
                *(f"{found['pass_at_k'][str(k)]:.1%}" for k in ks),
                *([f"{found['majority_at_k'][str(ks[-1])]:.1%}"] if vote else []),
                str(found["questions"]),
                f"{found['samples']}{missing}",
            ]
        )
    if "average" in results:
        average = results["average"]
        rows.append(["average", f"{average['value']:.1%}", interval(average), *[""] * (len(rows[0]) - 3)])
    return markdown_table(rows)


def _samples(results: dict[str, Any]) -> str:
    rates = {
        "answer found": "extraction_rate",
        "stated": "stated_rate",
        "boxed": "boxed_rate",
        "cut off": "truncation_rate",
        "repetitive": "repetition_rate",
        "checker stopped": "checker_failure_rate",
    }
    rows = [["benchmark", *rates, "tokens", "tokens/s a rank"]]
    for name, found in results["benchmarks"].items():
        shown = [f"{found[key]:.1%}" for key in rates.values()]
        rows.append([name, *shown, f"{found['mean_tokens']:.0f}", f"{found['tokens_per_second']:.0f}"])
    return markdown_table(rows)


def shared_sizes(benchmarks: dict[str, Any]) -> list[int]:
    """The k of pass@k that every benchmark has."""
    return sorted(set.intersection(*(set(map(int, found["pass_at_k"])) for found in benchmarks.values())))
