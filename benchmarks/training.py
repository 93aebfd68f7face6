"""Whole training steps against other trainers: tokens/s, share of the device's peak, peak memory, and the same losses.

    python benchmarks/training.py                                  tiny shape, any device, trainers taking turns
    python benchmarks/training.py --full                           shapes of Qwen2.5 1.5B and 7B, on a GPU
    python benchmarks/training.py --model DIR                      fine-tuning a real model, trainers taking turns
    python benchmarks/training.py --peers-python VENV/bin/python   peers (TRL, Liger) from an environment of their own

All trainers get the same weights and the same rows of the full length in the same order, AdamW in fp32 and the
same rate, so those that train the same objective must report the same losses. A row is one process; a step runs from
one optimizer step to the next, data included. Rows that are done are kept in --work: the same command again goes on.
The tiny model is taught for some steps on other rows first, since fine-tuning starts from a trained model, and is
measured untaught too. Large ones have random weights, which know nothing: the routed loss finds less to skip there than
in a real run.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import environment, save, table
from training_rows import ROWS

from dftcore import launch
from dftcore.data.problems import generate
from dftcore.models import build, load_config
from dftcore.throughput import device_name, model_flops, peak_flops

TINY: dict[str, Any] = {
    "config": {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "num_attention_heads": 4,
               "num_key_value_heads": 2, "vocab_size": 8192, "tie_word_embeddings": True},
    "length": 256, "batch": 4, "micro_batch": 2, "dtype": "float32", "recompute": False,
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {**TINY, "taught": 150},
    "tiny untaught": TINY,
    "real": {"length": 256, "batch": 2, "micro_batch": 1, "dtype": "float32", "recompute": False},
    "Qwen2.5-1.5B": {
        "config": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
                   "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True},
        "length": 4096, "batch": 8, "micro_batch": 2, "dtype": "bfloat16", "recompute": False,
    },
    "Qwen2.5-7B": {
        "config": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
                   "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False},
        "length": 4096, "batch": 4, "micro_batch": 1, "dtype": "bfloat16", "recompute": True,
    },
}  # fmt: skip
PEERS = ("TRL", "Liger")
BASE = "transformers Trainer, sft"
COLUMNS = {
    "row": "trainer",
    "tokens_per_second": "tokens/s",
    "mfu": "MFU %",
    "step_ms": "step ms",
    "spread": "10-90 %",
    "ratio": "x Trainer",
    "processor_ms": "processor ms",
    "processor_ratio": "x Trainer, processor",
    "peak_gib": "peak GiB",
    "first_loss": "first loss",
    "last_loss": "last loss",
    "absent": "absent",
}


class Trainer:
    """One row at work in a process of its own, a step at a time."""

    def __init__(self, row: str, job: dict[str, Any], python: str) -> None:
        self.row, self.steps, self.answer = row, [], {}
        scratch = Path(job["scratch"]) / row.replace(",", "").replace(" ", "-")
        scratch.mkdir(parents=True, exist_ok=True)
        words = json.dumps({**job, "row": row, "scratch": str(scratch)})
        with (scratch / "log").open("w") as log:
            self.process = subprocess.Popen(
                [python, str(Path(__file__).with_name("training_rows.py")), words],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self._read()  # loaded, and one step done

    def _read(self) -> None:
        line = self.process.stdout.readline()
        self.answer = json.loads(line) if line else {"absent": f"ended with status {self.process.wait()}"}

    def step(self) -> None:
        if "absent" not in self.answer:
            self.process.stdin.write("step\n")
            self.process.stdin.flush()
            self._read()
            self.steps.append(self.answer)

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()

    def result(self, job: dict[str, Any], peak_flops: float | None, warmup: int) -> dict[str, Any]:
        if "absent" in self.answer:
            return {"row": self.row, "absent": self.answer["absent"]}
        times = [step["seconds"] for step in self.steps[warmup:]]
        low, median, high = np.quantile(times, [0.1, 0.5, 0.9]).tolist()
        tokens = job["batch"] * job["length"]
        losses = self.answer["losses"]
        return {
            "row": self.row,
            "step_ms": 1e3 * median,
            "spread": f"{1e3 * low:.4g}-{1e3 * high:.4g}",
            "tokens_per_second": tokens / median,
            "mfu": 100 * job["flops"] / median / peak_flops if peak_flops else None,
            "peak_gib": self.answer["peak"] / 2**30,
            "first_loss": losses[0],
            "last_loss": losses[job["told"] - 1] if len(losses) >= job["told"] else None,
            "processor_ms": 1e3 * statistics.median(step["processor"] for step in self.steps[warmup:]),
            "seconds": times,
            "versions": self.answer["versions"],
        }


def prepare(name: str, work: Path, steps: int, model: Path | None = None) -> dict[str, Any]:
    """The job: a model (of the shape), texts that fill whole rows, and the same rows as token ids in our order."""
    from dftcore.data.batching import examples_of_step
    from dftcore.data.chat import load_tokenizer
    from dftcore.data.documents import tokenise
    from dftcore.data.sources import find_source

    shape, directory = SHAPES[name], work / name
    directory.mkdir(parents=True, exist_ok=True)
    if model is None:
        model = directory / "model"
        _make_model(model, shape["config"])
    data = _write_rows(directory / "rows.jsonl", 64, shape["length"], seed=1)
    if shape.get("taught"):
        model = _teach(model, _write_rows(directory / "taught.jsonl", 512, shape["length"], seed=2), shape)
    tokenizer = load_tokenizer(str(model), "problem-solution")
    documents = tokenise(find_source(str(data), "train"), tokenizer, {}, shape["length"])
    count = len(documents)
    if set(documents.lengths.tolist()) != {shape["length"]}:
        raise SystemExit(f"rows of {sorted(set(documents.lengths.tolist()))} tokens, not {shape['length']}")
    epochs = steps * shape["batch"] // count + 1
    order = [int(i) for step in range(steps) for i in examples_of_step(count, shape["batch"], epochs, 0, step)]
    ids = np.stack([documents.tokens[documents.span(i)] for i in order])
    targets = np.stack([documents.targets[documents.span(i)] for i in order])
    labels = np.concatenate([np.full((len(order), 1), -100, targets.dtype), targets[:, :-1]], axis=1)
    np.savez(directory / "rows.npz", input_ids=ids, labels=labels)
    flops = model_flops(build(load_config(model))).step([shape["length"]] * shape["batch"])
    keep = {key: value for key, value in shape.items() if key not in ("config", "taught")}
    paths = {"model": str(model), "data": str(data), "rows": str(directory / "rows.npz")}
    return {**keep, **paths, "scratch": str(directory / "scratch"), "steps": steps, "epochs": epochs, "flops": flops}


def _write_rows(path: Path, count: int, length: int, seed: int) -> Path:
    """Rows of word problems, each longer than `length` tokens."""
    texts = [f"{row['problem']}\n{row['solution']}" for row in generate("train", 4000, seed=seed)]
    per_row = max(2, length // 20)
    rows = [" ".join(texts[(i * 37 + k) % len(texts)] for k in range(per_row)) for i in range(count)]
    path.write_text("".join(json.dumps({"problem": "Go on.", "solution": row}) + "\n" for row in rows))
    return path


def _teach(model: Path, data: Path, shape: dict[str, Any]) -> Path:
    """The model after some steps on other rows, so that there is a trained model to fine-tune; made once."""
    output = model.parent / "taught"
    if not (output / "final").is_dir():
        options = {
            "model": model, "data": data, "output": output, "objective": "sft", "chat_template": "problem-solution",
            "max_length": shape["length"], "batch_size": 8, "max_steps": shape["taught"], "epochs": 100, "lr": 2e-3,
            "dtype": shape["dtype"], "save_every": 0, "preflight": False,
        }  # fmt: skip
        launch.check("train.py", launch.torchrun("train.py", 1, options))
    return output / "final"


def _make_model(directory: Path, shape: dict[str, Any]) -> None:
    """Random weights in the shape of Qwen2, and a byte tokenizer; made once."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    if (directory / "config.json").exists():
        return
    alphabet = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    fast.save_pretrained(directory)
    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(**shape, max_position_embeddings=8192, dtype="float32")).save_pretrained(directory)


def compare(name: str, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """All rows on one shape: taking turns step by step on a CPU, one after the other on a GPU that holds one model."""
    work = options.work.resolve()
    job = prepare(name, work, 1 + options.warmup + options.steps + 1, options.model)
    job["told"] = options.warmup + options.steps  # a step's loss is told after the next
    peak = peak_flops(device_name(device))
    done = [row for row in ROWS if (kept(work, name, row)).exists()]
    todo = [row for row in ROWS if row not in done and (not options.only or row in options.only)]
    alone = [[row] for row in todo if device.type == "cuda" or "saved" in row]  # a save goes on between turns
    together = [row for row in todo if [row] not in alone]
    for rows in [together, *alone] if together else alone:
        if time.monotonic() - options.began > options.seconds:
            print("out of time; the same command goes on", flush=True)
            break
        trainers = [Trainer(row, job, python_for(row, options)) for row in rows]
        order = random.Random(0)
        for _ in range(options.warmup + options.steps):
            for trainer in order.sample(trainers, len(trainers)):  # so that none comes after the same one each time
                trainer.step()
        for trainer in trainers:
            trainer.end()
            result = trainer.result(job, peak, options.warmup)
            kept(work, name, trainer.row).write_text(json.dumps(result))
            print(f"  {trainer.row}: {result.get('absent') or format(result['step_ms'], '.4g') + ' ms'}", flush=True)
    rows = [json.loads(kept(work, name, row).read_text()) for row in ROWS if kept(work, name, row).exists()]
    base = next((row for row in rows if row["row"] == BASE and "seconds" in row), None)
    for row in rows:
        if base and "seconds" in row:
            pairs = zip(row["seconds"], base["seconds"], strict=True)
            row["ratio"] = statistics.median(mine / theirs for mine, theirs in pairs)
            row["processor_ratio"] = row["processor_ms"] / base["processor_ms"]
    return {
        "shape": name,
        **{key: job[key] for key in ("length", "batch", "micro_batch", "dtype", "recompute")},
        "rows": rows,
    }


def kept(work: Path, name: str, row: str) -> Path:
    return work / name / f"{row.replace(',', '').replace(' ', '-')}.json"


def python_for(row: str, options: argparse.Namespace) -> str:
    peer = any(word in row for word in PEERS)
    return str(options.peers_python) if peer and options.peers_python else sys.executable


def scaling(options: argparse.Namespace) -> list[dict[str, Any]]:
    """train.py under torchrun on 1, 2 and 4 gloo ranks of this CPU: the same losses, and the tokens/s of each."""
    from dftcore.files import read_log

    work = options.work.resolve()
    job, rows = prepare("tiny", work, steps=options.steps), []
    for ranks in (1, 2, 4):
        output = work / f"ranks-{ranks}"
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks),
            str(Path(__file__).parents[1] / "train.py"), "--no-resume", "--model", job["model"], "--data", job["data"],
            "--chat-template", "problem-solution", "--output", str(output), "--dtype", "float32", "--batch-size", "8",
            "--micro-batch-size", "2", "--max-length", str(job["length"]), "--max-steps", str(options.steps),
            "--epochs", str(job["epochs"]), "--save-every", "0",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        records = read_log(output / "metrics.jsonl")
        rate = statistics.median(record["tokens_per_second"] for record in records[1:])
        rows.append({"ranks": ranks, "tokens_per_second": rate, "losses": [record["loss"] for record in records]})
        apart = [abs(a / b - 1) for a, b in zip(rows[-1]["losses"], rows[0]["losses"], strict=True)]
        rows[-1]["loss_difference"] = max(apart)
        print(f"  {ranks} ranks: {rate:.4g} tokens/s, losses within {max(apart):.1e} of one rank's", flush=True)
    return rows


def render(result: dict[str, Any]) -> str:
    around = result["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in around["versions"].items())
    parts = ["# Training steps", f"{around['device']}; {versions}; commit {around['commit']}; {around['date']}."]
    for case in result["cases"]:
        sizes = (
            f"rows of {case['length']} tokens, {case['batch']} a step, {case['micro_batch']} a pass, {case['dtype']}"
        )
        parts.append(f"## {case['shape']}: {sizes}" + (", activations recomputed" if case["recompute"] else ""))
        parts.append(table(case["rows"], COLUMNS))
        used = {f"{name} {number}" for row in case["rows"] for name, number in row.get("versions", {}).items()}
        parts.append(f"Packages that took part: {', '.join(sorted(used))}.")
        parts.append("x Trainer: the median over steps of the time of a step over that of the Trainer's beside it.")
    if result["scaling"]:
        chosen = {"ranks": "gloo ranks", "tokens_per_second": "tokens/s", "loss_difference": "losses differ by"}
        parts += ["## Ranks on one CPU, the tiny shape", table(result["scaling"], chosen)]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the shapes of Qwen2.5 1.5B and 7B; needs a GPU")
    parser.add_argument("--model", type=Path, help="directory of a real model to fine-tune instead")
    parser.add_argument("--steps", type=int, default=10, help="measured steps")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], choices=ROWS, metavar="ROW", help="rows, by name")
    parser.add_argument("--peers-python", type=Path, help="interpreter that has TRL and Liger; default: this one")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-training"), help="models, logs and finished rows")
    parser.add_argument("--seconds", type=float, default=540, help="no row is begun after so long; call again")
    options = parser.parse_args()
    options.began = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if options.full and device.type != "cuda":
        raise SystemExit("--full needs a CUDA device")
    names = ["Qwen2.5-1.5B", "Qwen2.5-7B"] if options.full else ["real"] if options.model else ["tiny", "tiny untaught"]
    result = {
        "environment": environment(device),
        "cases": [compare(name, options, device) for name in names],
        "scaling": scaling(options) if names[0] == "tiny" and device.type == "cpu" else [],
    }
    text = render(result)
    print("\n" + text)
    save({"tiny": "training", "real": "training_real"}.get(names[0], "training_full"), result, text)
    wanted = [row for row in ROWS if not options.only or row in options.only]
    files = [kept(options.work, name, row) for name in names for row in wanted]
    if all(file.exists() for file in files):  # nothing left to go on with: the next call measures again
        for file in files:
            file.unlink()


if __name__ == "__main__":
    main()
