"""The family side by side on one problem set: what each objective makes of the same start model.

    python benchmarks/study.py                                     generated word problems, SmolLM2-135M-Instruct
    python benchmarks/study.py --full                              at full size, meant for a GPU
    python benchmarks/study.py --train FILE --test FILE            other data, rows of problem and solution
    python benchmarks/study.py --warm-steps 0                      from the model as it is

1. start: a few steps of SFT on the first part of the training data, so that a model too small to solve anything solves
   something; the pre-flight reads the rest with it.
2. sft, dft, iw_sft and threshold learn the solutions of the rest; rft and dpo the start's own verified responses to the
   same problems. All with several seeds, which move the order of training.
3. sft and dft on a grid of learning rate and batch size.

Accuracy is over all seeds: for each question the share of right samples, its interval by Wilson over questions. The
difference from SFT is bootstrapped over questions, which are paired, and over seeds, which are not. What another start
or other training data would give is not in it. The label probabilities are those of the held-out solutions. What is
done is kept in --output: the same command goes on. Writes results/<name>.{json,md,png}; report.html is beside the runs.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from harness import RESULTS, environment, save
from study_page import plot, render

from dftcore import launch
from dftcore.data.problems import write_problems
from dftcore.data.sources import find_source
from dftcore.errors import UserError
from dftcore.evaluation.comparison import verdict
from dftcore.files import read_json, read_log, write_json, write_json_lines, write_text
from dftcore.grading import extract_answer
from dftcore.pretrained import smollm2
from dftcore.runs import read_config
from dftcore.statistics import average_accuracy

LEARNED = ("sft", "dft", "iw_sft", "threshold q=0.2")  # from given solutions; rft and dpo from the start's own
LEVELS = (1, 2)
SMALL = {"warm": 128, "examples": 128, "questions": 64, "batch": 16, "samples": 1, "responses": 4, "tokens": 96}
FULL = {"warm": 512, "examples": 8192, "questions": 512, "batch": 64, "samples": 8, "responses": 8, "tokens": 256}
GRID = {"lr": [5e-5, 2e-4], "batch_size": [8, 16]}


class Study:
    """The stages in order, each left alone when it is done."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.output = options, options.output
        self.size = FULL if options.full else SMALL
        self.model = options.model or smollm2()
        self.cuda = torch.cuda.is_available()
        self.ranks = launch.local_ranks(options.ranks)

    def run(self) -> dict[str, Any]:
        self._settle()
        self._data()
        self.start = self._warm() if self.options.warm_steps else self.model
        foretold = self._preflight()
        seeds = list(range(self.options.seeds))
        train = {**self._training(self.start), "data": self.output / "train.jsonl"}
        self._sweep("learned", train, {"objective": list(LEARNED), "seed": seeds})
        self._evaluate_start()
        if self.options.offline:
            self._pipeline(seeds)
            pairs = {**train, "data": self.output / "offline/samples/pairs.jsonl", "lr": 5e-6, "epochs": 2}
            self._sweep("pairs", pairs, {"objective": ["dpo beta=0.1"], "seed": seeds})
        if self.options.grid:
            self._sweep("grid", train, {"objective": ["sft", "dft"], **GRID}, samples=1)
        runs = ("offline/base", "learned", "offline/runs", "pairs", "grid")
        words = [str(self.output / name) for name in runs if (self.output / name).is_dir()]
        launch.check("report", launch.call(["-m", "dftcore", "report", *words, "--output", str(self.report)], 1))
        return {"foretold": foretold, **self._outcome()}

    @property
    def report(self) -> Path:
        return self.output / "report.html"

    def _settle(self) -> None:
        """Refuse an --output of other settings: what is there would be told under these."""
        path, names = self.output / "settings.json", ("train", "test", "warm_steps", "dtype")
        now = {"model": str(self.model), "size": self.size, **{name: getattr(self.options, name) for name in names}}
        before = read_json(path) if path.is_file() else now
        for name, value in now.items():
            if before[name] != value:
                raise SystemExit(f"--output: {self.output} holds a study with {name} {before[name]}, not {value}")
        write_json(path, now)

    def _data(self) -> None:
        """warm.jsonl, train.jsonl and test.jsonl, drawn from the given files or generated."""
        warm, wanted = self.size["warm"], self.size["warm"] + self.size["examples"]
        if (self.output / "test.jsonl").is_file():
            return
        if self.options.train:
            rows = _drawn(self.options.train, wanted, "--train")
            if len(rows) <= warm:
                raise SystemExit(f"--train: {len(rows)} rows; {warm} warm the start up, so more are needed")
            write_json_lines(
                self.output / "test.jsonl.part", _drawn(self.options.test, self.size["questions"], "--test")
            )
        else:
            write_problems(self.output / "rows.jsonl", "train", wanted, LEVELS, 0)
            rows = read_log(self.output / "rows.jsonl")
            write_problems(self.output / "test.jsonl.part", "test", self.size["questions"], LEVELS, 0)
        write_json_lines(self.output / "warm.jsonl", rows[:warm])
        write_json_lines(self.output / "train.jsonl", rows[warm:])
        (self.output / "test.jsonl.part").rename(self.output / "test.jsonl")

    def _training(self, model: Path) -> dict[str, Any]:
        return {
            "model": model,
            "batch_size": self.size["batch"],
            "micro_batch_size": 8,
            "max_length": 256 if not self.options.full else 1024,
            "lr": 1e-4,
            "dtype": self.options.dtype,
            "packing": self.cuda,  # without a variable-length attention kernel short rows beat one long masked row
            "reshard": False,
            "save_every": 0,
            "preflight": False,  # once for all
        }

    def _evaluation(self, samples: int | None = None) -> dict[str, Any]:
        return {
            "benchmarks": str(self.output / "test.jsonl"),
            "samples": samples or self.size["samples"],
            "prompt": "problem",
            "max_new_tokens": self.size["tokens"],
            "sampling_batch_size": 32 if not self.cuda else 256,
            "dtype": self.options.dtype,
            "label_statistics": True,
        }

    def _warm(self) -> Path:
        output = self.output / "start"
        options = {
            **self._training(self.model),
            "objective": "sft",
            "data": self.output / "warm.jsonl",
            "output": output,
        }
        if not (output / "final").is_dir():
            steps = {"max_steps": self.options.warm_steps, "epochs": 100}
            launch.check("train.py", launch.torchrun("train.py", self.ranks, options | steps))
        return output / "final"

    def _preflight(self) -> dict[str, Any]:
        path = self.output / "preflight.json"
        if not path.is_file():
            options = {"model": self.start, "data": self.output / "train.jsonl", "dtype": self.options.dtype}
            launch.check("preflight", launch.verb("preflight", {**options, "output": path}, self.ranks))
        return read_json(path)

    def _evaluate_start(self) -> None:
        """Where the pipeline looks for it."""
        output = self.output / "offline/base"
        if not (output / "results.json").is_file():
            options = {**self._evaluation(), "model": self.start, "output": output}
            launch.check("evaluate.py", launch.torchrun("evaluate.py", self.ranks, options))

    def _sweep(self, name: str, train: dict[str, Any], grid: dict[str, Any], samples: int | None = None) -> None:
        plan = {"train": train, "grid": grid, "evaluate": self._evaluation(samples)}
        options = {"plan": self._plan(name, plan), "output": self.output / name, "ranks": self.ranks}
        launch.check("sweep", launch.verb("sweep", options))

    def _pipeline(self, seeds: list[int]) -> None:
        """The start's own responses, verified, and rft on them."""
        sampling = {**self._evaluation(self.size["responses"]), "data": str(self.output / "train.jsonl")}
        for name in ("benchmarks", "label_statistics"):
            del sampling[name]
        plan = {
            "sample": {**sampling, "model": self.start},
            "train": self._training(self.start),
            "grid": {"objective": ["rft"], "seed": seeds},
            "evaluate": self._evaluation(),
        }
        options = {"plan": self._plan("offline", plan), "output": self.output / "offline", "ranks": self.ranks}
        launch.check("pipeline", launch.verb("pipeline", options))

    def _plan(self, name: str, plan: dict[str, Any]) -> Path:
        path = self.output / f"{name}.yaml"
        write_text(path, yaml.safe_dump(json.loads(json.dumps(plan, default=str)), sort_keys=False))
        return path

    def _outcome(self) -> dict[str, Any]:
        """A row a method, over its seeds."""
        seeds = range(self.options.seeds)
        places = {"start": [self.output / "offline/base"]}
        groups = dict.fromkeys(LEARNED, "learned")
        if self.options.offline:
            groups |= {"rft": "offline/runs", "dpo beta=0.1": "pairs"}
        for method, group in groups.items():
            name = method.replace(" ", "-")
            places[method] = [self.output / group / f"objective={name}_seed={seed}" for seed in seeds]
        shares = {method: np.array([_shares(path) for path in paths]) for method, paths in places.items()}
        apart = {method: difference(method, shares) for method in places if method != "sft"}
        rows = []
        for method, paths in places.items():
            results = [read_json(_evaluation_of(path) / "results.json") for path in paths]
            found = [result["benchmarks"]["test"] for result in results]
            labels = [result["label_statistics"] for result in results]
            records = [record for path in paths for record in read_log(path / "metrics.jsonl")]
            rows.append(
                {
                    "method": method,
                    **vars(average_accuracy(_verdicts(paths))),
                    "by_seed": [one["value"] for one in found],
                    "minus_sft": apart.get(method),
                    "nll": _mean(one["nll"] for one in labels),
                    "mean_prob": _mean(one["mean_prob"] for one in labels),
                    "below": _mean(sum(one["histogram"][:3]) / one["tokens"] for one in labels),
                    "not_ended": _mean(one["truncation_rate"] for one in found),
                    "seconds": sum(record["seconds"] for record in records) / len(paths),
                }
            )
        used = {name: len(read_log(self.output / f"{name}.jsonl")) for name in ("warm", "train", "test")}
        verdicts = [verdict(row) for row in apart.values()]
        return {"rows": rows, "verdicts": verdicts, "used": used, "grid": self._grid() if self.options.grid else []}

    def _grid(self) -> list[dict[str, Any]]:
        found = []
        for path in sorted((self.output / "grid").glob("*/eval")):
            config = read_config(path.parent / "config.yaml", "--output")
            result = read_json(path / "results.json")
            point = {name: config[name] for name in ("objective", *GRID)}
            found.append({**point, **result["benchmarks"]["test"], "nll": result["label_statistics"]["nll"]})
        return found


def difference(method: str, shares: dict[str, np.ndarray], resamples: int = 10_000) -> dict[str, Any]:
    """Of a method's accuracy from SFT's, with its percentile-bootstrap interval: questions and seeds are drawn anew.

    shares: method -> [seeds, questions], the share of right samples.
    """
    generator = np.random.default_rng(0)
    count = shares["sft"].shape[1]
    questions = generator.multinomial(count, [1 / count] * count, resamples) / count
    means = []
    for values in (shares[method], shares["sft"]):
        seeds = generator.multinomial(len(values), [1 / len(values)] * len(values), resamples) / len(values)
        means.append(((seeds @ values) * questions).sum(1))
    low, high = np.quantile(means[0] - means[1], (0.025, 0.975)).tolist()
    value = float(shares[method].mean() - shares["sft"].mean())
    named = {"first": method, "second": "sft", "benchmark": "test", "questions": count}
    return {**named, "value": value, "low": low, "high": high}


def _verdicts(paths: list[Path]) -> list[list[bool]]:
    """Of each question, in order, the correctness of all seeds' samples."""
    found: dict[str, list[bool]] = {}
    for path in paths:
        for record in read_log(_evaluation_of(path) / "samples.jsonl"):
            found.setdefault(record["id"], []).append(record["correct"])
    return [found[question] for question in sorted(found)]


def _shares(path: Path) -> list[float]:
    return [sum(row) / len(row) for row in _verdicts([path])]


def _evaluation_of(path: Path) -> Path:
    return path / "eval" if (path / "eval").is_dir() else path


def _drawn(data: str, count: int, option: str) -> list[dict[str, Any]]:
    """Rows of problem, solution and its answer, chosen and ordered at random."""
    rows = find_source(data, option=option).rows()
    order = np.random.default_rng(0).permutation(len(rows))[:count].tolist()
    for number in order:
        if not {"problem", "solution"} <= rows[number].keys():
            raise SystemExit(f"{option}: row {number + 1} of {data} has no problem and solution")
    return [
        {
            "id": str(rows[number].get("id", number)),
            "problem": rows[number]["problem"],
            "solution": rows[number]["solution"],
            "answer": rows[number].get("answer") or extract_answer(rows[number]["solution"]),
        }
        for number in order
    ]


def _mean(values: Any) -> float:
    found = list(values)
    return sum(found) / len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/study"))
    parser.add_argument("--model", type=Path, help="directory; default: SmolLM2-135M-Instruct, fetched and cached")
    parser.add_argument("--train", help="JSONL with problem and solution; default: generated")
    parser.add_argument("--test", help="JSONL with problem and solution, given with --train")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--warm-steps", type=int, default=8, help="0: start from the model as it is")
    parser.add_argument(
        "--grid", action=argparse.BooleanOptionalAction, default=True, help="learning rate x batch size"
    )
    parser.add_argument(
        "--offline", action=argparse.BooleanOptionalAction, default=True, help="rft and dpo, on the start's responses"
    )
    parser.add_argument("--full", action="store_true", help="full size; meant for a GPU")
    parser.add_argument("--ranks", type=int)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--name", default="study", help="of the result files")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory of the result files")
    options = parser.parse_args()
    if bool(options.train) != bool(options.test):
        raise SystemExit("--train and --test go together")
    began = time.perf_counter()
    study = Study(options)
    try:
        outcome = study.run()
    except UserError as error:
        raise SystemExit(str(error)) from None
    device = torch.device("cuda" if study.cuda else "cpu")
    result = {
        "environment": environment(device, ("torch", "transformers")),
        "model": study.model.name,
        "data": options.train or f"generated word problems of levels {' and '.join(map(str, LEVELS))}",
        "size": study.size,
        "ranks": study.ranks,
        **{name: getattr(options, name) for name in ("dtype", "seeds", "warm_steps")},
        **outcome,
    }
    text = render(result)
    print("\n" + text)
    data, _ = save(options.name, result, text, options.results)
    plot(result, data.with_suffix(".png"))
    print(f"\nresults in {data.parent}, pictures of every run in {study.report}; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
