"""The report's figures, each as SVG text, or None when no run recorded what it shows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from dftcore.plots import colours, pyplot
from dftcore.report.groups import Group
from dftcore.runs import Run

# key of metrics.jsonl, title, unit, scale
CURVES: tuple[tuple[str, str, str, str], ...] = (
    ("nll", "NLL of the training labels", "nats per token", "linear"),
    ("loss", "Weighted loss", "as the objective defines it", "log"),
    ("mean_prob", "Mean probability of the labels", "probability", "linear"),
    ("effective_share", "Effective sample size, (sum w)² / sum w²", "share of the tokens", "linear"),
    ("grad_norm", "Gradient norm before clipping", "norm", "log"),
    ("entropy", "Entropy of the model on the labels' places", "nats", "linear"),
    ("top1", "Labels that are the model's first choice", "share", "linear"),
    ("validation_nll", "NLL of the held-out labels", "nats per token", "linear"),
    ("tokens_per_second", "Throughput", "tokens per second", "linear"),
)


def curve(groups: Sequence[Group], key: str, title: str, unit: str, scale: str) -> str | None:
    """One quantity over the steps; every run a line, settings told apart by colour."""
    found = [[(run, points) for run in group.runs if (points := _points(run, key))] for group in groups]
    if not any(found):
        return None
    figure, axis = pyplot().subplots(figsize=(6.2, 3.4), layout="constrained")
    for group, members, colour in zip(groups, found, colours([g.label for g in groups]), strict=True):
        for number, (_run, points) in enumerate(members):
            steps, values = np.array(points).T
            smooth = _smoothed(values)
            if smooth is not values:
                axis.plot(steps, values, color=colour, alpha=0.2, linewidth=0.8)
            axis.plot(steps, smooth, color=colour, linewidth=1.5, label=group.label if number == 0 else None)
    clips = {float(run.options["clip"]) for group in groups for run in group.runs if "clip" in run.options}
    if key == "grad_norm" and len(clips) == 1:
        axis.axhline(clips.pop(), color="#888888", linestyle=":", linewidth=1, label="clipped above")
    axis.set(title=title, xlabel="step", ylabel=unit, yscale=scale)
    axis.grid(alpha=0.25)
    axis.legend(frameon=False, fontsize=8)
    return _svg(figure)


def label_probabilities(groups: Sequence[Group], kind: str) -> str | None:
    """Share of a class of label tokens in each probability bin, on the same sample before and after training."""
    before: dict[str, Any] = {}
    after = {}
    for group in groups:
        sample = [record for record in group.runs[0].diagnostics if record.get("data") == "sample"]
        sample = [record for record in sample if kind in record["probabilities"]]
        if sample and sample[0]["step"] == 0:
            before = before or {"base model": sample[0]}
        if sample and sample[-1]["step"] > 0:
            after[group.label] = sample[-1]
    if not after:
        return None
    figure, axis = pyplot().subplots(figsize=(6.2, 3.4), layout="constrained")
    shown = {**before, **after}
    palette = ["#8a8a8a"] * len(before) + colours(list(after))
    width = 0.8 / len(shown)
    for place, ((label, record), colour) in enumerate(zip(shown.items(), palette, strict=True)):
        found = record["probabilities"][kind]
        shares = np.array(found["histogram"]) / found["tokens"]
        offset = (place - (len(shown) - 1) / 2) * width
        name = f"{label} (mean {found['mean_prob']:.2f})"
        axis.bar(np.arange(len(shares)) + offset, 100 * shares, width, color=colour, label=name)
    edges = next(iter(shown.values()))["bins"]
    axis.set_xticks(range(len(edges) - 1), [f"{low:g}\u2013{high:g}" for low, high in pairwise(edges)], fontsize=7)
    axis.tick_params(axis="x", rotation=40)
    axis.set(title=f"Label probabilities: {kind}", ylabel="per cent of the tokens")
    axis.grid(axis="y", alpha=0.25)
    axis.legend(frameon=False, fontsize=8, loc="upper left")
    return _svg(figure)


def accuracy(groups: Sequence[Group], benchmark: str) -> str | None:
    """Accuracy of every run with its 95 % interval, settings told apart by colour."""
    members = [
        (group, run, run.accuracies[benchmark]) for group in groups for run in group.runs if benchmark in run.accuracies
    ]
    if not members:
        return None
    palette = dict(zip([g.label for g in groups], colours([g.label for g in groups]), strict=True))
    figure, axis = pyplot().subplots(figsize=(6.2, 1.2 + 0.32 * len(members)), layout="constrained")
    for place, (group, _run, found) in enumerate(members):
        value, low, high = (100 * found[key] for key in ("value", "low", "high"))
        axis.errorbar(
            value, place, xerr=[[value - low], [high - value]], fmt="o", capsize=3, color=palette[group.label]
        )
    axis.set_yticks(range(len(members)), [_row_label(group, run) for group, run, _ in members])
    axis.invert_yaxis()
    axis.set(title=f"Accuracy on {benchmark}, 95 % interval", xlabel="per cent", xlim=(0, None))
    axis.grid(axis="x", alpha=0.25)
    return _svg(figure)


def sensitivity(runs: Sequence[Run], benchmark: str | None) -> str | None:
    """Accuracy (or the last NLL, without a benchmark) over learning rate and batch size, one grid an objective."""
    runs = [run for run in runs if run.is_trained]
    rates = sorted({float(run.options["lr"]) for run in runs})
    batches = sorted({int(run.options["batch_size"]) for run in runs})
    objectives = list(dict.fromkeys(run.objective for run in runs))
    if len(rates) < 2 or len(batches) < 2:
        return None
    plt = pyplot()
    figure, axes = plt.subplots(
        1, len(objectives), figsize=(1.4 + 3.2 * len(objectives), 3.2), layout="constrained", squeeze=False
    )
    grids = [_grid([run for run in runs if run.objective == name], rates, batches, benchmark) for name in objectives]
    finite = np.concatenate([grid[np.isfinite(grid)] for grid in grids])
    if not len(finite):
        return None
    for axis, name, grid in zip(axes[0], objectives, grids, strict=True):
        image = axis.imshow(grid, vmin=finite.min(), vmax=finite.max(), cmap="viridis", aspect="auto", origin="lower")
        for (row, column), found in np.ndenumerate(grid):
            if np.isfinite(found):
                shown = f"{found:.1f}" if benchmark else f"{found:.3f}"
                axis.text(column, row, shown, ha="center", va="center", color="white", fontsize=9, weight="bold")
        axis.set_xticks(range(len(batches)), map(str, batches))
        axis.set_yticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        axis.set(title=name, xlabel="batch size", ylabel="learning rate")
    figure.colorbar(image, ax=axes[0].tolist(), label=f"accuracy on {benchmark}, per cent" if benchmark else "last NLL")
    return _svg(figure)


def _grid(runs: Sequence[Run], rates: list[float], batches: list[int], benchmark: str | None) -> np.ndarray:
    """[rates, batches], the mean over seeds; NaN where there is no run."""
    cells: dict[tuple[int, int], list[float]] = {}
    for run in runs:
        place = rates.index(float(run.options["lr"])), batches.index(int(run.options["batch_size"]))
        if benchmark and benchmark in run.accuracies:
            cells.setdefault(place, []).append(100 * run.accuracies[benchmark]["value"])
        elif not benchmark and (points := _points(run, "nll")):
            cells.setdefault(place, []).append(points[-1][1])
    grid = np.full((len(rates), len(batches)), np.nan)
    for place, values in cells.items():
        grid[place] = np.mean(values)
    return grid


def _points(run: Run, key: str) -> list[tuple[int, float]]:
    if key == "effective_share":
        return [
            (record["step"], record["effective_targets"] / record["targets"])
            for record in run.metrics
            if record.get("effective_targets") is not None and record.get("targets")
        ]
    return [(record["step"], record[key]) for record in run.metrics if record.get(key) is not None]


def _smoothed(values: np.ndarray) -> np.ndarray:
    """A centred running mean over a thirtieth of a long run; a short one as it is."""
    width = len(values) // 30
    if width < 3:
        return values
    kernel = np.ones(width)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def _row_label(group: Group, run: Run) -> str:
    return f"{group.label}, seed {run.options.get('seed')}" if len(group.runs) > 1 else group.label


def _svg(figure: Any) -> str:
    plt = pyplot()
    plt.matplotlib.rcParams["svg.hashsalt"] = "dftcore"  # the same figure is the same text
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    plt.close(figure)
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
