"""The page itself: tables and figures of the runs in one HTML file that needs no network and no other file."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dftcore.data.classes import CLASSES
from dftcore.errors import UserError
from dftcore.evaluation.comparison import differences, read_evaluation, verdict
from dftcore.files import check_writable, write_text
from dftcore.options import option
from dftcore.report import figures
from dftcore.report.groups import Group, differing, groups, value
from dftcore.runs import Run, read_run
from dftcore.tables import score

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 1320px; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.4rem; }
p.note { color: #555; max-width: 60rem; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .8rem; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { border-bottom: 2px solid #999; }
div.figures { display: flex; flex-wrap: wrap; gap: 1rem; }
div.figures svg { max-width: 100%; height: auto; }
"""


@dataclass(frozen=True)
class ReportOptions:
    runs: tuple[Path, ...] = option(help="directories of train.py, or of a sweep for all its runs", positional=True)
    output: Path = option(Path("report.html"), "HTML file to write")


@dataclass(frozen=True)
class ReportConfig:
    report: ReportOptions


def write_report(options: ReportOptions) -> None:
    """One self-contained page about these runs. Raises UserError for a directory that holds none."""
    if options.output.is_dir():
        raise UserError(f"--output: {options.output} is a directory; give the name of a file, such as report.html")
    check_writable(options.output.parent, "--output")
    paths = list(dict.fromkeys(run for path in options.runs for run in _directories(path)))
    runs = [read_run(path, "RUN") for path in paths]
    write_text(options.output, page(runs))
    print(f"a report of {len(runs)} run(s) is in {options.output}")


def _directories(path: Path) -> list[Path]:
    """The run in `path`, or the runs right below it."""
    if (path / "config.yaml").is_file():
        return [path]
    below = sorted(child.parent for child in path.glob("*/config.yaml"))
    if not below:
        raise UserError(f"RUN: {path} is not a run directory of train.py, and there is none in it")
    return below


def page(runs: Sequence[Run]) -> str:
    """The HTML text."""
    settings = groups(runs)
    benchmarks = list(dict.fromkeys(name for run in runs for name in run.accuracies))
    trained = [run for run in runs if run.is_trained]
    parts = [f"<h1>{len(trained)} training run{'s' if len(trained) != 1 else ''}</h1>"]
    if trained:
        parts += [_common(trained), "<h2>Runs</h2>", _table(_run_rows(trained))]
    if benchmarks:
        parts += ["<h2>Accuracy of the final models</h2>", _table(_accuracy_rows(runs, benchmarks))]
        parts += [_comparisons(runs), _figures(figures.accuracy(settings, name) for name in benchmarks)]
    if trained:
        parts += _training(trained, settings, benchmarks)
    title = html.escape(", ".join(run.name for run in runs)[:120])
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _training(runs: Sequence[Run], settings: Sequence[Group], benchmarks: Sequence[str]) -> list[str]:
    parts = [
        "<h2>Training</h2>",
        '<p class="note">A weighted loss below the cross-entropy by a factor of ten or twenty is normal for DFT, and so'
        " is an NLL that rises to 2.5 or 3.5 nats: tokens that it gives up on count in the NLL and not in the loss. A"
        " small effective sample size says that few tokens carry the gradient.</p>",
        _figures(figures.curve(settings, *curve) for curve in figures.CURVES),
    ]
    histograms = [figures.label_probabilities(settings, kind) for kind in ("all", *CLASSES)]
    if any(histograms):
        parts += [
            "<h2>Label probabilities before and after</h2>",
            '<p class="note">On the same sample of the training data. Tokens near 0 are those that DFT leaves alone:'
            " where the format or the end of the answer lies there, it is not learned.</p>",
            _figures(histograms),
        ]
    measures: list[str | None] = [*benchmarks] or [None]
    grids = [figures.sensitivity(runs, name) for name in measures]
    if any(grids):
        parts += ["<h2>Sensitivity to learning rate and batch size</h2>", _figures(grids)]
    return parts


def _common(runs: Sequence[Run]) -> str:
    names = [name for name in ("model", "data", "batch_size", "lr", "dtype") if name not in differing(runs)]
    shown = ", ".join(f"{name.replace('_', ' ')} {value(runs[0], name)}" for name in names)
    return f'<p class="note">In common: {html.escape(shown)}.</p>' if shown else ""


def _run_rows(runs: Sequence[Run]) -> list[list[str]]:
    names = differing(runs)
    rows = [["run", *names, "steps", "NLL, first", "NLL, last", "mean p", "clipped", "skipped", "tokens/s"]]
    for run in runs:
        first, last = (run.metrics[0], run.metrics[-1]) if run.metrics else ({}, {})
        norms = [record.get("grad_norm") for record in run.metrics]
        clipped = sum(bool(record.get("clipped")) for record in run.metrics)
        seconds = sum(record["seconds"] for record in run.metrics)
        rows.append(
            [
                run.name,
                *(value(run, name) for name in names),
                str(last.get("step", 0)),
                _number(first.get("nll")),
                _number(last.get("nll")),
                _number(last.get("mean_prob")),
                f"{clipped / len(norms):.0%}" if norms else "-",
                str(sum(norm is None for norm in norms)),
                f"{sum(record['tokens'] for record in run.metrics) / seconds:,.0f}" if seconds else "-",
            ]
        )
    return rows


def _accuracy_rows(runs: Sequence[Run], benchmarks: Sequence[str]) -> list[list[str]]:
    rows = [["run", *benchmarks]]
    for run in runs:
        rows.append([run.name, *(score(run.accuracies.get(name)) for name in benchmarks)])
    return rows


def _comparisons(runs: Sequence[Run]) -> str:
    """Every evaluated run against the first, in words, by paired bootstrap over the questions that both answered."""
    wrote = ("samples.jsonl", "results.json")
    evaluated = {run.name: run.evaluation for run in runs if all((run.evaluation / name).is_file() for name in wrote)}
    first, *others = evaluated or [""]
    if not others:
        return ""
    read = {name: read_evaluation(place) for name, place in evaluated.items()}
    rows = differences(read, ((name, first) for name in others))
    lines = (html.escape(verdict(row)) for row in rows if row["benchmark"] == row["overall"])
    return "<ul>" + "".join(f"<li>{line}.</li>" for line in lines) + "</ul>"


def _number(found: float | None) -> str:
    return "-" if found is None else f"{found:.3f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "\n".join(line(row, "td") for row in rows[1:])
    return f'<div class="wide"><table>\n{line(rows[0], "th")}\n{body}\n</table></div>'


def _figures(drawn: Iterable[str | None]) -> str:
    return '<div class="figures">\n' + "\n".join(f"<div>{svg}</div>" for svg in drawn if svg) + "\n</div>"
