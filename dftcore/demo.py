"""The demonstration: a real model, trained with SFT and with DFT from the same start, scored on held-out problems.

Everything runs through the programs a user runs, train.py and evaluate.py under torchrun. Each stage leaves its result
under the output directory; a second run reuses what is there and an interrupted one goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dftcore import launch
from dftcore.data.batching import total_steps
from dftcore.data.problems import Split, write_problems
from dftcore.errors import UserError
from dftcore.files import check_writable, read_json, read_log, write_json, write_text
from dftcore.options import option
from dftcore.tables import interval, markdown_table

METHODS = ("sft", "dft")
LEVELS = (1, 2)  # of the generated problems: within reach of a model of 135 million parameters


@dataclass(frozen=True)
class DemoOptions:
    output: Path = option(Path("runs/demo"), "directory for data, runs, results.json and pictures")
    model: str | None = option(None, "model directory; none: SmolLM2-135M-Instruct, fetched and cached")
    examples: int = option(256, "training problems", minimum=1)
    questions: int = option(64, "held-out problems", minimum=1)
    batch_size: int = option(16, "examples per optimizer step", minimum=2)
    lr: float = option(1e-4, "peak learning rate, the same for both methods", above=0)
    max_new_tokens: int = option(96, "longest completion", minimum=1)
    ranks: int | None = option(None, "processes; none: one a GPU, else two, else one on a single core", minimum=1)
    dtype: Literal["auto", "float32", "bfloat16"] = option("auto", "compute type; auto: the faster one here")
    seed: int = option(0, "of data, training and sampling", minimum=0, maximum=2**63 - 1)


@dataclass(frozen=True)
class DemoConfig:
    demo: DemoOptions


class Demo:
    """The stages in order; `run` is the whole."""

    def __init__(self, options: DemoOptions) -> None:
        self.options, self.output = options, options.output
        self.began = time.perf_counter()
        self.stage = 0

    def run(self) -> dict[str, Any]:
        check_writable(self.output, "--output")
        self.output.mkdir(parents=True, exist_ok=True)
        self.dtype, self.ranks = self._settle()
        self.say("model and data")
        self.model = Path(self.options.model) if self.options.model else _smollm2()
        self._write_problems()
        steps = total_steps(self.options.examples, self.options.batch_size, epochs=1.0, max_steps=None)
        middle = max(1, steps // 2)
        self.say(f"score the base model ({self.ranks} processes, {self.dtype})")
        base = self.evaluate(self.model, "base", samples=2)
        scores: dict[str, list[dict[str, Any]]] = {}
        results = {"base": base}
        for method in METHODS:
            self.say(f"train with {method.upper()}, {steps} steps of {self.options.batch_size}")
            self.train(method, middle)
            self.say(f"score {method.upper()} half-way and at the end")
            half = self.output / method / f"step-{middle}"
            if not half.is_dir():
                run = {"run": self.output / method, "step": middle, "output": half}
                launch.check("export", launch.verb("export", run))
            halfway = self.evaluate(half, f"{method}-step-{middle}", samples=1)
            results[method] = self.evaluate(self.output / method / "final", method, samples=2)
            scores[method] = [
                {"step": step, **_accuracy(found)}
                for step, found in ((0, base), (middle, halfway), (steps, results[method]))
            ]
        self.say("report")
        return self.report(results, scores)

    def say(self, text: str) -> None:
        self.stage += 1
        elapsed = time.perf_counter() - self.began
        print(f"\n[{self.stage}/{3 + 2 * len(METHODS)}, {elapsed:.0f} s] {text}", flush=True)

    def train(self, method: str, save_every: int) -> None:
        if (self.output / method / "final").is_dir():
            return print(f"{self.output / method} is trained already")
        return self.launch(
            "train.py",
            model=self.model,
            data=self.output / "train.jsonl",
            objective=method,
            output=self.output / method,
            batch_size=self.options.batch_size,
            micro_batch_size=8,
            max_length=256,
            lr=self.options.lr,
            dtype=self.dtype,
            save_every=save_every,
            keep_checkpoints=1000,  # the half-way one is exported afterwards, however often the run was interrupted
            seed=self.options.seed,
            # Without a variable-length attention kernel short rows beat one long masked row; the model is small.
            packing=False,
            reshard=False,
        )

    def evaluate(self, model: Path, name: str, samples: int) -> dict[str, Any]:
        output = self.output / "scores" / name
        if not (output / "results.json").is_file():
            self.launch(
                "evaluate.py",
                model=model,
                benchmarks=self.output / "test.jsonl",
                output=output,
                samples=samples,
                prompt="problem",
                max_new_tokens=self.options.max_new_tokens,
                sampling_batch_size=32,
                dtype=self.dtype,
                seed=self.options.seed,
                label_statistics=True,
            )
        return read_json(output / "results.json")

    def launch(self, script: str, **options: Any) -> None:
        launch.check(script, launch.torchrun(script, self.ranks, options))

    def _write_problems(self) -> None:
        wanted: dict[Split, int] = {"train": self.options.examples, "test": self.options.questions}
        for split, count in wanted.items():
            path = self.output / f"{split}.jsonl"
            if not path.is_file():
                write_problems(path, split, count, LEVELS, self.options.seed)

    def _settle(self) -> tuple[str, int]:
        """The compute type and ranks, settled once for a directory; other options than its own are refused."""
        path = self.output / "options.json"
        now = {name: str(getattr(self.options, name)) for name in DemoOptions.__dataclass_fields__ if name != "output"}
        if not path.is_file():
            dtype = _faster_dtype() if self.options.dtype == "auto" else self.options.dtype
            write_json(path, {"options": now, "dtype": dtype, "ranks": launch.local_ranks(self.options.ranks)})
        before = read_json(path)
        for name, value in now.items():
            if before["options"].get(name) != value:
                raise UserError(
                    f"--{name.replace('_', '-')}: {self.output} holds a demo with {before['options'].get(name)}, not"
                    f" {value}; give another --output or remove that directory"
                )
        return before["dtype"], before["ranks"]

    def report(self, results: dict[str, dict[str, Any]], scores: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
        """results.json, report.md, loss.png and probability.png; the table goes to the terminal too."""
        from dftcore import plots

        metrics = {method: read_log(self.output / method / "metrics.jsonl") for method in METHODS}
        seconds = {method: sum(record["seconds"] for record in metrics[method]) for method in METHODS}
        found = {
            name: {
                "accuracy": _accuracy(result),
                "nll": result["label_statistics"]["nll"],
                "mean_prob": result["label_statistics"]["mean_prob"],
                "training_seconds": seconds.get(name, 0.0),
                "truncation_rate": result["benchmarks"]["test"]["truncation_rate"],
            }
            for name, result in results.items()
        }
        write_json(
            self.output / "results.json",
            {"models": found, "accuracy_over_steps": scores, "ranks": self.ranks, "dtype": self.dtype},
        )
        plots.learning_curves(self.output / "loss.png", metrics, scores)
        statistics = {name: result["label_statistics"] for name, result in results.items()}
        plots.probability_histogram(self.output / "probability.png", statistics)
        table = _table(found)
        write_text(self.output / "report.md", table + "\n")
        print(table)
        print(f"\npictures and figures are in {self.output}; this run took {time.perf_counter() - self.began:.0f} s")
        return found


def _accuracy(result: dict[str, Any]) -> dict[str, float]:
    found = result["benchmarks"]["test"]
    return {key: found[key] for key in ("value", "low", "high", "questions", "samples")}


def _table(found: dict[str, dict[str, Any]]) -> str:
    rows = [("model", "accuracy", "95 % interval", "NLL", "mean p of labels", "not ended", "training")]
    for name, row in found.items():
        accuracy = row["accuracy"]
        rows.append(
            (
                name.upper(),
                f"{accuracy['value']:.1%}",
                interval(accuracy),
                f"{row['nll']:.3f}",
                f"{row['mean_prob']:.3f}",
                f"{row['truncation_rate']:.0%}",
                f"{row['training_seconds']:.0f} s" if row["training_seconds"] else "-",
            )
        )
    return markdown_table(rows)


def _smollm2() -> Path:
    from dftcore.pretrained import smollm2

    return smollm2()


def _faster_dtype() -> str:
    """bfloat16 where the machine multiplies it faster than float32, which many CPUs do not."""
    import torch

    if torch.cuda.is_available():
        return "bfloat16"

    def seconds(dtype: torch.dtype) -> float:
        left, right = torch.ones(512, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)
        multiply: Callable[[], Any] = lambda: left @ right.T  # noqa: E731
        multiply()
        began = time.perf_counter()
        for _ in range(5):
            multiply()
        return time.perf_counter() - began

    return "bfloat16" if seconds(torch.bfloat16) < seconds(torch.float32) else "float32"
