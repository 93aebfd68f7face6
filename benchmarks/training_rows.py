"""One trainer at work on the shared job, a process of its own: the worker of training.py.

It trains as its users would have it, from data to update, and stops behind every optimizer step (a hook that PyTorch
calls for all of them) until it reads a line: so steps of several trainers take turns on one machine. Each step is one
JSON line on stdout: seconds, processor seconds, peak bytes, the losses told so far, versions.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import peak_bytes, reset_peak_bytes
from torch.optim.optimizer import register_optimizer_step_post_hook

RECIPE = {"lr": 1e-4, "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.01, "clip": 1.0}


def ours(job: dict[str, Any], *, objective: str = "dft", words: tuple[str, ...] = ()) -> None:
    from dftcore.options import parse_options
    from dftcore.training import TrainOptions, train

    options = {
        **RECIPE,
        "model": job["model"],
        "data": job["data"],
        "output": f"{job['scratch']}/ours",
        "objective": objective,
        "dtype": job["dtype"],
        "max_length": job["length"],
        "batch_size": job["batch"],
        "micro_batch_size": job["micro_batch"],
        "max_steps": job["steps"],
        "epochs": job["epochs"],
        "warmup_ratio": 0,
        "schedule": "constant",
        "chat_template": "problem-solution",
    }
    flags = [word for key, value in options.items() for word in ("--" + key.replace("_", "-"), str(value))]
    recompute = ["--activation-checkpointing"] if job["recompute"] else []
    flags.append("--no-preflight")
    if "--save-every" not in words:
        flags += ["--save-every", "0"]
    train(parse_options(TrainOptions, ["--no-resume", *flags, *recompute, *words], "benchmark", ""))


def transformers_trainer(job: dict[str, Any], *, liger: bool = False) -> None:
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

    class InOrder(Trainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32, attn_implementation="sdpa")
    InOrder(
        model=model,
        args=TrainingArguments(**_arguments(job), use_liger_kernel=liger),
        train_dataset=[{"input_ids": ids, "labels": labels} for ids, labels in _rows(job)],
        data_collator=lambda rows: {key: torch.tensor([row[key] for row in rows]) for key in rows[0]},
        callbacks=[_losses()],
    ).train()


def trl(job: dict[str, Any], *, liger: bool = False) -> None:
    import datasets
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    class InOrder(SFTTrainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32, attn_implementation="sdpa")
    rows = datasets.Dataset.from_list([{"input_ids": ids, "labels": labels} for ids, labels in _rows(job)])
    config = SFTConfig(
        **_arguments(job), loss_type="dft", max_length=job["length"], packing=False, use_liger_kernel=liger
    )
    InOrder(model=model, args=config, train_dataset=rows, callbacks=[_losses()]).train()


def _arguments(job: dict[str, Any]) -> dict[str, Any]:
    """The job's batch and recipe in the words of TrainingArguments."""
    return {
        "output_dir": f"{job['scratch']}/peer",
        "per_device_train_batch_size": job["micro_batch"],
        "gradient_accumulation_steps": job["batch"] // job["micro_batch"],
        "max_steps": job["steps"],
        "learning_rate": RECIPE["lr"],
        "adam_beta1": RECIPE["beta1"],
        "adam_beta2": RECIPE["beta2"],
        "weight_decay": RECIPE["weight_decay"],
        "max_grad_norm": RECIPE["clip"],
        "lr_scheduler_type": "constant",
        "bf16": job["dtype"] == "bfloat16",
        "use_cpu": not torch.cuda.is_available(),  # which bf16 there asks for
        "gradient_checkpointing": job["recompute"],
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }


def _rows(job: dict[str, Any]) -> list[tuple[list[int], list[int]]]:
    rows = np.load(job["rows"])
    return list(zip(rows["input_ids"].tolist(), rows["labels"].tolist(), strict=True))


_LOSSES: list[float] = []


def _losses() -> Any:
    """Collects what a peer logs; the loss of a step is logged after it, so it is told with the next."""
    from transformers import TrainerCallback

    class Collect(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                _LOSSES.append(float(logs["loss"]))

    return Collect()


ROWS: dict[str, Any] = {
    "ours, dft": ours,
    "ours, sft": lambda job: ours(job, objective="sft"),
    "ours, dft, compiled": lambda job: ours(job, words=("--compile",)),
    "ours, dft, saved at each step": lambda job: ours(job, words=("--save-every", "1")),
    "ours, dft, saved at each step, waiting": lambda job: ours(job, words=("--save-every", "1", "--no-async-save")),
    "transformers Trainer, sft": transformers_trainer,
    "transformers Trainer + Liger, sft": lambda job: transformers_trainer(job, liger=True),
    "TRL, dft": trl,
    "TRL + Liger, dft": lambda job: trl(job, liger=True),
}


def _pace(job: dict[str, Any], answers: Any) -> None:
    """Report each optimizer step on `answers` and wait for a line on stdin before the next; leave at its end."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    began = busy = 0.0
    packages = ("torch", "transformers", "accelerate", "trl", "liger-kernel")
    versions = {name: version(name) for name in packages if find_spec(name.replace("-", "_"))}

    def stepped(*_: Any) -> None:
        nonlocal began, busy
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began if began else None
        answer = {
            "seconds": seconds,
            "processor": time.process_time() - busy,
            "peak": peak_bytes(device),
            "losses": _losses_so_far(job),
            "versions": versions,
        }
        print(json.dumps(answer), file=answers, flush=True)
        if not sys.stdin.readline():
            os._exit(0)  # measured enough; what a trainer would save at its end is not wanted
        reset_peak_bytes(device)
        began, busy = time.perf_counter(), time.process_time()

    register_optimizer_step_post_hook(stepped)


def _losses_so_far(job: dict[str, Any]) -> list[float]:
    log = Path(job["scratch"], "ours", "metrics.jsonl")
    return [json.loads(line)["loss"] for line in log.read_text().splitlines()] if log.exists() else _LOSSES


def main() -> None:
    job = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what trainers print goes elsewhere
    _pace(job, answers)
    try:
        ROWS[job["row"]](job)
    except Exception as error:
        reason = (str(error).strip() or "no message").splitlines()[0][:160]
        print(json.dumps({"absent": f"{type(error).__name__}: {reason}"}), file=answers, flush=True)
        raise


if __name__ == "__main__":
    main()
