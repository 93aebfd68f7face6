"""Pictures of a run. matplotlib is imported here only, drawing without a display."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from dftcore.errors import UserError
from dftcore.files import replacing

COLOURS = {"base": "#8a8a8a", "sft": "#c8553d", "dft": "#2a6f97"}
_SPARE = (2, 4, 8, 10, 12, 16, 18)  # of tab20, whose pairs are a strong and a light colour: those unlike COLOURS


def learning_curves(
    path: Path, metrics: Mapping[str, Sequence[dict[str, Any]]], accuracy: Mapping[str, Sequence[dict[str, Any]]]
) -> None:
    """Loss of each run over its steps, and accuracy with 95 % intervals where it was measured.

    metrics: run -> records of metrics.jsonl. accuracy: run -> records of step, value, low, high.
    """
    plt = pyplot()
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for name, records in metrics.items():
        steps = [record["step"] for record in records]
        left.plot(steps, [record["loss"] for record in records], color=COLOURS.get(name), label=name.upper())
        middle.plot(steps, [record["nll"] for record in records], color=COLOURS.get(name), label=name.upper())
    left.set(title="Loss (DFT weighs each token by p)", xlabel="step", ylabel="loss", yscale="log")
    middle.set(title="NLL of the training labels", xlabel="step", ylabel="nats per token")
    for name, records in accuracy.items():
        values = [record["value"] for record in records]
        below = [record["value"] - record["low"] for record in records]
        above = [record["high"] - record["value"] for record in records]
        steps = [record["step"] for record in records]
        right.errorbar(
            steps, values, yerr=[below, above], marker="o", capsize=4, color=COLOURS.get(name), label=name.upper()
        )
    right.set(title="Held-out accuracy, 95 % interval", xlabel="step", ylim=(0, None))
    right.yaxis.set_major_formatter(plt.matplotlib.ticker.PercentFormatter(1.0))
    for axis in (left, middle, right):
        axis.legend(frameon=False)
        axis.grid(alpha=0.25)
        axis.xaxis.set_major_locator(plt.matplotlib.ticker.MaxNLocator(integer=True))
    save(figure, path)


def probability_histogram(path: Path, statistics: Mapping[str, dict[str, Any]]) -> None:
    """Share of label tokens in each probability bin, for every model. statistics: model -> label_statistics."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(10, 4), layout="constrained")
    width = 0.8 / len(statistics)
    bins: list[float] = next(iter(statistics.values()))["bins"]
    for index, (name, found) in enumerate(statistics.items()):
        shares = [count / found["tokens"] for count in found["histogram"]]
        places = [place + (index - (len(statistics) - 1) / 2) * width for place in range(len(shares))]
        label = f"{name.upper()} (mean {found['mean_prob']:.2f})"
        axis.bar(places, shares, width, color=COLOURS.get(name), label=label)
    axis.set_xticks(range(len(bins) - 1), [f"{low:g}\u2013{high:g}" for low, high in pairwise(bins)])
    axis.tick_params(axis="x", rotation=35)
    axis.set(title="Probability of the label tokens of held-out solutions", xlabel="probability p", ylabel="share")
    axis.set(yscale="log", ylim=(3e-4, 1.0))  # the rare improbable tokens are what tells the methods apart
    axis.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axis.legend(frameon=False, loc="upper left")
    axis.grid(axis="y", alpha=0.25)
    save(figure, path)


def available() -> bool:
    """Whether matplotlib is installed; reports go without pictures where it is not."""
    return find_spec("matplotlib") is not None


def colours(labels: Sequence[str]) -> list[Any]:
    """A colour for each label: the method's own, else one that no other label has."""
    strong, light = ([pyplot().get_cmap("tab20").colors[i + k] for i in _SPARE] for k in (0, 1))
    spare = itertools.cycle(strong + light)
    return [COLOURS.get(label) or next(spare) for label in labels]


def pyplot() -> Any:
    """matplotlib.pyplot without a display. Raises UserError where it is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise UserError("pictures need matplotlib; install with pip install -e .[plot]") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import matplotlib.ticker

    plt.matplotlib = matplotlib
    return plt


def save(figure: Any, path: Path) -> None:
    """Write the figure as PNG, whole or not at all, and close it."""
    import matplotlib.pyplot as plt

    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    plt.close(figure)
