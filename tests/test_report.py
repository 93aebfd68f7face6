"""The page about runs: what it tells, that it holds all it shows, what it refuses."""

import json
import math
import re
from html.parser import HTMLParser

import pytest
import yaml

STEPS = 6


@pytest.fixture
def make_run(tmp_path):
    """A run directory as train.py and evaluate.py leave it."""

    def make(name, *, nll=1.0, accuracy=None, skipped=(), histograms=(), **options):
        path = tmp_path / name
        path.mkdir(parents=True)
        whole = {"model": "m", "data": "d", "objective": "sft", "objective_args": [], "lr": 1e-5, "batch_size": 8}
        (path / "config.yaml").write_text(yaml.safe_dump({**whole, "seed": 0, **options}))
        records = [
            {
                "step": step,
                "loss": 0.1 * nll,
                "nll": nll / step,
                "mean_prob": math.exp(-nll / step),
                "grad_norm": None if step in skipped else 2.0 / step,
                "clipped": step == 1,
                "tokens": 100,
                "targets": 50,
                "effective_targets": 25.0,
                "seconds": 0.5,
                "tokens_per_second": 200.0,
            }
            for step in range(1, STEPS + 1)
        ]
        (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        if histograms:
            (path / "diagnostics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in histograms))
        if accuracy is not None:
            (path / "eval").mkdir()
            found = {"value": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1, "questions": 9, "samples": 18}
            (path / "eval/results.json").write_text(json.dumps({"benchmarks": {"gsm8k": found}}))
        return path

    return make


class Page(HTMLParser):
    """Tables as rows of cells, and whatever a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.fetched, self.figures, self.open = [], [], 0, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.figures += tag == "svg"
        self.rows += [[]] if tag == "tr" else []
        if tag in ("td", "th"):
            self.rows[-1].append("")
        fetched = [value for name, value in attributes if name in ("src", "href", "xlink:href", "data")]
        self.fetched += [value for value in fetched if not value.startswith("#")]

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_a_report_tells_runs_apart_and_needs_nothing_else(program, make_run, tmp_path):
    runs = [
        make_run("a", nll=1.2, accuracy=0.5, skipped=(3,)),
        make_run("b", nll=0.6, objective="power", objective_args=["alpha=0.5"], accuracy=0.25),
        make_run("<i>c", objective="dft"),
    ]
    (tmp_path / "r.html").write_text("an older report")
    done = program("report", *map(str, runs), output=tmp_path / "r.html")
    assert done.status == 0, done.err
    text = (tmp_path / "r.html").read_text()
    page = Page(text)
    assert page.fetched == []
    assert "<script" not in text
    assert not re.search(r"url\((?!#)", text)
    head, *rows = page.rows[: len(runs) + 1]
    assert head == ["run", "objective", "steps", "NLL, first", "NLL, last", "mean p", "clipped", "skipped", "tokens/s"]
    assert rows[0] == ["a", "sft", "6", "1.200", "0.200", "0.819", "17%", "1", "200"]
    assert rows[1][:2] == ["b", "power alpha=0.5"]
    assert rows[2][:2] == ["<i>c", "dft"]
    assert ["a", "50.0% (40.0% to 60.0%)"] in page.rows
    assert ["<i>c", "-"] in page.rows
    assert page.figures == 1 + 6  # accuracy; nll, loss, mean_prob, effective share, norm, throughput


def test_label_probabilities_are_drawn_by_class_where_they_were_recorded(program, make_run, tmp_path):
    def sample(step, **histograms):
        found = {
            kind: {"tokens": sum(counts), "mean_prob": 0.5, "histogram": counts} for kind, counts in histograms.items()
        }
        return {"step": step, "data": "sample", "bins": [0.0, 0.5, 1.0], "probabilities": found}

    records = [sample(0, all=[3, 1], end=[1, 0]), sample(6, all=[1, 3], end=[0, 1])]
    run = make_run("a", histograms=records)
    assert program("report", str(run), output=tmp_path / "r.html").status == 0
    text = (tmp_path / "r.html").read_text()
    assert "Label probabilities before and after" in text
    assert Page(text).figures == 6 + 2  # the curves; all tokens, and end tokens


def test_a_grid_of_runs_gets_its_sensitivity_and_seeds_share_a_colour(program, make_run, tmp_path):
    for lr in (1e-5, 5e-5):
        for batch in (8, 16):
            for seed in (0, 1):
                make_run(f"sweep/{lr}-{batch}-{seed}", lr=lr, batch_size=batch, seed=seed, accuracy=lr * 1e4)
    done = program("report", str(tmp_path / "sweep"), output=tmp_path / "r.html")
    assert done.status == 0, done.err
    assert "8 run(s)" in done.out
    text = (tmp_path / "r.html").read_text()
    assert "Sensitivity to learning rate and batch size" in text

    from dftcore.report.groups import groups
    from dftcore.runs import read_run

    found = groups([read_run(path, "RUN") for path in sorted((tmp_path / "sweep").iterdir())])
    assert [len(group.runs) for group in found] == [2, 2, 2, 2]
    assert found[0].label == "sft batch_size=16 lr=1e-05"


def test_what_is_no_run_is_refused_and_nothing_is_written(program, make_run, tmp_path):
    output = tmp_path / "r.html"
    assert "RUNS is required" in program("report", output=output).refusal
    assert "is not a run directory" in program("report", str(tmp_path / "absent"), output=output).refusal
    run = make_run("a", accuracy=0.5)
    assert "is a directory" in program("report", str(run), output=tmp_path).refusal
    (run / "eval/results.json").write_text("{")
    assert "results.json is damaged" in program("report", str(run), output=output).refusal
    (run / "eval/results.json").write_text('{"benchmarks": {"test": 3}}')
    assert "results.json is damaged: no accuracies in it" in program("report", str(run), output=output).refusal
    (run / "config.yaml").write_text("[1")
    assert "config.yaml is damaged" in program("report", str(run), output=output).refusal
    assert not output.exists()
