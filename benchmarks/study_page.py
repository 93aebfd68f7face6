"""What study.py shows of its outcome: the table as Markdown, and the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness import table

from dftcore import plots
from dftcore.tables import score

COLUMNS = {
    "method": "method",
    "accuracy": "accuracy, 95 % interval",
    "seeds": "by seed",
    "difference": "minus sft, points",
    "nll": "NLL",
    "mean_prob": "mean p",
    "below": "labels with p < 0.01",
    "not_ended": "not ended",
    "seconds": "training s",
}


def _grid(points: list[dict[str, Any]]) -> tuple[str, ...]:
    """The share of right answers at every learning rate and batch size, one seed each."""
    rows = [{**point, "accuracy": score(point), "nll": f"{point['nll']:.3f}"} for point in points]
    columns = {name: name for name in ("objective", "lr", "batch_size", "accuracy", "nll")}
    return ("Learning rate and batch size, from the same start, one seed each:", table(rows, columns)) if rows else ()


def render(result: dict[str, Any]) -> str:
    around, foretold = result["environment"], result["foretold"]
    versions = ", ".join(f"{name} {version}" for name, version in around["versions"].items())
    rows = []
    for row in result["rows"]:
        apart = row["minus_sft"]
        span = f"{100 * apart['value']:+.1f} ({100 * apart['low']:+.1f} to {100 * apart['high']:+.1f})" if apart else ""
        rows.append(
            {
                "method": row["method"],
                "accuracy": score(row),
                "seeds": " ".join(f"{value:.0%}" for value in row["by_seed"]),
                "difference": span,
                "nll": f"{row['nll']:.3f}",
                "mean_prob": f"{row['mean_prob']:.3f}",
                "below": f"{row['below']:.1%}",
                "not_ended": f"{row['not_ended']:.0%}",
                "seconds": f"{row['seconds']:.0f}" if row["seconds"] else "",
            }
        )
    size, used = result["size"], result["used"]
    return "\n\n".join(
        (
            "# The family side by side",
            f"{around['device']}, {result['ranks']} processes, {result['dtype']}; {versions}; commit"
            f" {around['commit']}; {around['date']}.",
            f"{result['model']}, then {result['warm_steps']} steps of SFT on {used['warm']} problems: the start."
            f" {used['train']} further problems, batches of {size['batch']}; {used['test']} held-out questions,"
            f" {size['samples']} sample(s) each at temperature 1, {result['seeds']} seeds. Data: {result['data']}.",
            f"Pre-flight of the start on the training data: mean label probability {foretold['mean_prob']:.3f};"
            f" {foretold['recommendation']}.",
            table(rows, COLUMNS),
            "NLL, mean p and small p are of the held-out solutions' tokens. The accuracy's interval is over questions,"
            " that of a difference over questions and seeds; of so few seeds it can be too narrow.",
            "\n".join(f"- {line}" for line in result["verdicts"]),
            "Each verdict stands for itself: with several pairs one in twenty errs.",
            *_grid(result["grid"]),
        )
    )


def plot(result: dict[str, Any], path: Path) -> None:
    plt = plots.pyplot()
    rows = result["rows"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 0.5 * len(rows) + 1.6), sharey=True, layout="constrained")
    for place, row in enumerate(rows):
        ends = [[row["value"] - row["low"]], [row["high"] - row["value"]]]
        left.errorbar(row["value"], place, xerr=ends, fmt="o", capsize=4, color="#2a6f97")
        left.plot(row["by_seed"], [place] * len(row["by_seed"]), "|", color="#c8553d", markersize=11)
        right.plot([rows[0]["mean_prob"], row["mean_prob"]], [place, place], color="#8a8a8a")
        right.plot(row["mean_prob"], place, "o", color="#2a6f97")
    left.set_yticks(range(len(rows)), [row["method"] for row in rows])
    left.invert_yaxis()
    left.set(title="Held-out accuracy, 95 % interval; bars: seeds")
    left.xaxis.set_major_formatter(plt.matplotlib.ticker.PercentFormatter(1.0))
    right.set(title="Mean probability of held-out labels, from the start's")
    for axis in (left, right):
        axis.grid(axis="x", alpha=0.25)
    plots.save(figure, path)
