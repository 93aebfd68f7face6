"""Pictures of evaluations: one run's report, runs compared, accuracy over the steps of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dftcore import plots

_RATES = {
    "answer found": "extraction_rate",
    "stated": "stated_rate",
    "boxed": "boxed_rate",
    "cut off": "truncation_rate",
    "repetitive": "repetition_rate",
}


def evaluation(path: Path, results: Mapping[str, Any]) -> None:
    """avg@n with its interval, pass@k and maj@k over k, and how the samples ended; a colour for each benchmark."""
    plt = plots.pyplot()
    benchmarks, options = results["benchmarks"], results["options"]
    height = 2.6 + 0.34 * max(4, len(benchmarks))
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, height), layout="constrained")
    figure.suptitle(
        f"{options['model']}    {options['samples']} samples a question, temperature {options['temperature']:g}",
        fontsize=10,
    )
    palette = dict(zip(benchmarks, plt.get_cmap("tab10").colors * len(benchmarks), strict=False))
    rows = [(name, found, palette[name]) for name, found in benchmarks.items()]
    if "average" in results:
        rows.append(("average", results["average"], "black"))
    for place, (_, found, colour) in enumerate(rows):
        _interval(left, place, found, colour)
        left.annotate(
            f"{found['value']:.1%}", (found["value"], place), xytext=(0, 7), textcoords="offset points", ha="center",
            fontsize=9,
        )  # fmt: skip
    left.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    for label, (_, _, colour) in zip(left.get_yticklabels(), rows, strict=True):
        label.set_color(colour)  # the legend of all three
    left.set(
        title=f"avg@{options['samples']}, 95 % interval over questions", ylim=(len(rows) - 0.4, -0.8), xlim=(0, None)
    )
    for name, found in benchmarks.items():
        for key, line in (("pass_at_k", "o-"), ("majority_at_k", "s--")):
            sizes = sorted(map(int, found[key]))
            values = [found[key][str(k)] for k in sizes]
            middle.plot(sizes, values, line, color=palette[name], markersize=4)
    middle.set(title="pass@k (line) and maj@k (dashes)", xlabel="k samples", ylim=(0, None))
    middle.set_xscale("log", base=2)
    middle.set_xticks(sizes, [str(k) for k in sizes])
    middle.minorticks_off()
    width = 0.8 / len(benchmarks)
    for index, (name, found) in enumerate(benchmarks.items()):
        places = [place + (index - (len(benchmarks) - 1) / 2) * width for place in range(len(_RATES))]
        bars = right.bar(places, [found[key] for key in _RATES.values()], width, color=palette[name])
        if len(benchmarks) == 1:
            right.bar_label(bars, fmt=lambda share: f"{share:.0%}", fontsize=9, padding=2)
    right.set_xticks(range(len(_RATES)), list(_RATES))
    right.set(title="samples", ylim=(0, 1.08))
    for axis in (left.xaxis, middle.yaxis, right.yaxis):
        axis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    for axis, along in ((left, "x"), (middle, "both"), (right, "y")):
        axis.grid(axis=along, alpha=0.25)
        axis.set_axisbelow(True)
    plots.save(figure, path)


def comparison(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The difference of each pair of runs on each benchmark, in points, with its interval; grey where it holds 0.

    rows: mappings with `label`, `value`, `low`, `high`.
    """
    plt = plots.pyplot()
    figure, axis = plt.subplots(figsize=(9, 1.4 + 0.36 * len(rows)), layout="constrained")
    for place, row in enumerate(rows):
        clear = row["low"] > 0.0 or row["high"] < 0.0
        _interval(axis, place, row, "#2a6f97" if clear else "#8a8a8a")
    axis.axvline(0.0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(rows)), [row["label"] for row in rows])
    axis.set(ylim=(len(rows) - 0.4, -0.6), title="difference in accuracy, 95 % interval of the paired bootstrap")
    axis.xaxis.set_major_formatter(lambda share, _: f"{100 * share:+g}" if share else "0")
    axis.set_xlabel("points")
    axis.grid(axis="x", alpha=0.25)
    plots.save(figure, path)


def over_steps(path: Path, points: Sequence[Mapping[str, Any]]) -> None:
    """Accuracy of each benchmark over the steps of a training run, with 95 % intervals.

    points: mappings with `step` and `benchmarks`, as in results.json.
    """
    plt = plots.pyplot()
    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name in dict.fromkeys(name for point in points for name in point["benchmarks"]):
        found = [(point["step"], point["benchmarks"][name]) for point in points if name in point["benchmarks"]]
        steps = [step for step, _ in found]
        (line,) = axis.plot(steps, [result["value"] for _, result in found], "o-", label=name, markersize=4)
        low, high = ([result[side] for _, result in found] for side in ("low", "high"))
        axis.fill_between(steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axis.set(title="accuracy over training, 95 % interval over questions", xlabel="step", ylim=(0, None))
    axis.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axis.xaxis.set_major_locator(plt.matplotlib.ticker.MaxNLocator(integer=True))
    axis.grid(alpha=0.25)
    axis.legend(frameon=False)
    plots.save(figure, path)


def _interval(axis: Any, place: float, found: Mapping[str, Any], colour: Any) -> None:
    """A point with its interval on a row of a horizontal plot."""
    sides = [[max(0.0, found["value"] - found["low"])], [max(0.0, found["high"] - found["value"])]]
    axis.errorbar([found["value"]], [place], xerr=sides, fmt="o", capsize=4, color=colour)
