"""From files to a sharded model and back: seconds, and host memory of all ranks together.

    python benchmarks/loading.py        a random model of 494 million parameters on 1, 2 and 4 gloo ranks of this CPU

In: each rank reads its rows (ours), or each rank calls from_pretrained and then shards. Out: tensors gathered and
written in files of 250 MB (ours), or a whole copy gathered on the first rank and then written. Weights are stored
in bf16, held in fp32. Memory is the kernel's high-water mark of each process during the call, less what was resident
before it; pages of the weight files count while they are mapped.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import environment, peak_extra_bytes, save, table

SHAPE = {
    "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
}  # fmt: skip
RANKS = (1, 2, 4)
FILE_BYTES = 250_000_000  # a model this small would be one file otherwise
COLUMNS = {
    "what": "what",
    "ranks": "ranks",
    "seconds": "seconds",
    "total_gib": "GiB, all ranks",
    "first_gib": "GiB, rank 0",
}


def make(directory: Path) -> None:
    from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

    if not (directory / "config.json").exists():
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, dtype="bfloat16")).bfloat16()
        model.generation_config = GenerationConfig()
        model.save_pretrained(directory)


def work(directory: Path, way: str, scratch: Path) -> None:
    """One rank: load, write, and say what each cost."""
    from transformers import AutoModelForCausalLM

    from dftcore import models
    from dftcore.distributed import process_group
    from dftcore.objectives import Objective
    from dftcore.parallel import shard
    from dftcore.training import export
    from dftcore.training.export import _write_weights, gathered

    export.FILE_BYTES = FILE_BYTES

    def load_ours() -> models.LanguageModelLoss:
        module = models.LanguageModelLoss(models.build(models.load_config(directory)), Objective("dft"))
        shard(module, world, torch.float32)
        models.load_weights(module, directory, world.device)
        return module

    def load_whole() -> models.LanguageModelLoss:
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        module = models.LanguageModelLoss(model, Objective("dft"))
        shard(module, world, torch.float32)
        return module

    def write_ours(module: models.LanguageModelLoss) -> None:
        weights = gathered(module, torch.bfloat16)
        _write_weights(weights, torch.bfloat16, scratch) if world.is_first else list(map(len, weights))

    def write_whole(module: models.LanguageModelLoss) -> None:
        whole = {name: tensor.clone() for name, tensor in gathered(module, torch.bfloat16) if world.is_first}
        if world.is_first:
            _write_weights(iter(whole.items()), torch.bfloat16, scratch)

    with process_group() as world:
        found: list[dict[str, Any]] = []

        def measured(what: str, call: Callable[[], Any]) -> Any:
            kept = []
            began = time.perf_counter()
            extra = peak_extra_bytes(lambda: kept.append(call()) or (), world.device)
            found.append({"what": what, "seconds": time.perf_counter() - began, "bytes": extra})
            return kept[0]

        if way == "ours":
            module = measured("in: rows of each rank", load_ours)
        else:
            module = measured("in: from_pretrained on each", load_whole)
        gc.collect()
        scratch.mkdir(parents=True, exist_ok=True)
        if way == "ours":
            measured("out: file by file", partial(write_ours, module))
        else:
            measured("out: whole copy first", partial(write_whole, module))
        (scratch / f"{way}-{world.rank}.json").write_text(json.dumps(found))
        del module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-loading"))
    parser.add_argument("--way", choices=("ours", "whole"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    model = options.work.resolve() / "model"
    if options.way:
        return work(model, options.way, options.work.resolve() / f"{options.way}-{os.environ['WORLD_SIZE']}")
    make(model)
    rows = []
    for ranks in RANKS:
        for way in ("ours", "whole"):
            scratch = options.work.resolve() / f"{way}-{ranks}"
            launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
            words = [__file__, "--work", str(options.work), "--way", way]
            subprocess.run(
                [*launcher, *words], check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
            told = [json.loads((scratch / f"{way}-{rank}.json").read_text()) for rank in range(ranks)]
            for parts in zip(*told, strict=True):
                rows.append({
                    "what": parts[0]["what"], "ranks": ranks, "seconds": max(part["seconds"] for part in parts),
                    "total_gib": sum(part["bytes"] for part in parts) / 2**30, "first_gib": parts[0]["bytes"] / 2**30,
                })  # fmt: skip
                print(" ", rows[-1], flush=True)
    around = environment(torch.device("cpu"))
    circumstances = (
        f"{around['device']}; torch {around['versions']['torch']}; commit {around['commit']}; {around['date']}."
    )
    title = f"# Loading and writing 494 million parameters\n\n{circumstances}"
    text = f"{title}\n\n{table(sorted(rows, key=lambda row: row['what']), COLUMNS)}"
    print("\n" + text)
    save("loading", {"environment": around, "shape": SHAPE, "rows": rows}, text)
    return None


if __name__ == "__main__":
    main()
