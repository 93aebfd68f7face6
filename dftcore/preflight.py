"""Does DFT suit these data? The probability that a model, not yet trained, gives the labels, and what follows from it.

    python -m dftcore preflight --model MODEL --data DATA

The mean label probability of the base model told beforehand which objective won (arXiv 2510.00526; 2508.05629 for
mathematics): DFT at about 0.8, nobody at about 0.5, plain SFT below 0.1. Between those the bands here are interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from dftcore import models
from dftcore.data import chat, sources
from dftcore.data.classes import CLASSES
from dftcore.data.documents import Documents, Selection, tokenise
from dftcore.diagnostics import BINS, Observed
from dftcore.distributed import World, process_group
from dftcore.errors import UserError
from dftcore.files import write_json
from dftcore.objectives import Objective
from dftcore.options import option
from dftcore.parallel import ScaleOptions, shard
from dftcore.scoring import score
from dftcore.tables import markdown_table

_RARE = 0.01  # mean probability of a class below which DFT hardly learns it
_BANDS = (  # from this mean probability on: the verdict and its words
    (0.65, "dft", "use DFT: with a prior as strong as this it beat SFT clearly in published studies"),
    (0.35, "either", "no clear winner: at about 0.5 published studies found a tie; run both, sft and dft"),
    (0.10, "sft", "start from SFT: the prior is weak, between the tie (0.5) and SFT's clear win (0.1); compare blend"),
    (0.00, "sft", "use SFT: below 0.1 DFT lost clearly in published studies, it learns almost nothing of new facts"),
)


@dataclass(frozen=True)
class PreflightOptions:
    model: str = option(help="Hub id or local directory in Hugging Face safetensors format")
    data: str = option(help="Hub id, directory, or .jsonl/.json/.parquet file of problem/solution or messages rows")
    split: str = option("train", "split of a Hub id or directory")
    columns: tuple[str, ...] = option((), "other column names, such as problem=question")
    chat_template: str | None = option(None, "template file, or user-assistant | problem-solution")
    dtype: Literal["float32", "bfloat16"] = option("bfloat16", "compute type")
    examples: int = option(256, "rows read, a seeded sample of the data", minimum=1)
    max_length: int = option(2048, "tokens of an example; longer ones are cut at the right", minimum=2)
    seed: int = option(0, "of the sample", minimum=0, maximum=2**63 - 1)
    output: Path | None = option(None, "JSON file to write")


@dataclass(frozen=True)
class PreflightConfig:
    preflight: PreflightOptions


def preflight(options: PreflightOptions) -> dict[str, Any]:
    """Read the model on a sample of the data; print, and write to --output; under torchrun the ranks share the work."""
    columns = sources.parse_columns(options.columns)
    source = sources.find_source(options.data, options.split)
    directory = models.find_model(options.model)
    config = models.load_config(directory)
    tokenizer = chat.load_tokenizer(str(directory), options.chat_template)
    models.check_vocabulary(tokenizer, config, directory)
    if options.output is not None and options.output.is_dir():
        raise UserError(f"--output: {options.output} is a directory; give the name of a JSON file")
    documents = tokenise(source, tokenizer, columns, options.max_length, Selection(options.examples, seed=options.seed))
    with process_group() as world:
        result = _read(options, config, directory, documents, tokenizer.pad_token_id, world)
        if world.is_first:
            print(report(result))
            if options.output is not None:
                write_json(options.output, result)
    return result


def _read(
    options: PreflightOptions, config: Any, directory: Path, documents: Documents, pad_token_id: int, world: World
) -> dict[str, Any]:
    module = models.LanguageModelLoss(models.build(config), Objective("sft"))
    shard(module, world, getattr(torch, options.dtype), ScaleOptions())
    models.load_weights(module, directory, world.device)
    everyone = range(len(documents))
    observed = score(module, documents, everyone, pad_token_id, world, "label probabilities", ("top1", "entropy"))
    return assess(observed, len(documents))


def sample_of(documents: Documents, count: int, seed: int) -> Sequence[int]:
    """At most `count` documents, a seeded sample that has nothing to do with the order of training."""
    chosen = np.random.Generator(np.random.Philox(key=[seed, 3])).permutation(len(documents))[:count]
    return sorted(int(index) for index in chosen)


def assess(observed: Observed, examples: int) -> dict[str, Any]:
    """What preflight.json holds: the reading, the verdict (dft, either or sft), its words, and cautions."""
    means, probabilities = observed.means(), observed.probabilities()
    mean = means["mean_prob"]
    if mean is None:
        raise UserError("--model: the label probabilities are not finite; the weights are damaged, or overflow --dtype")
    verdict, words = next((verdict, words) for least, verdict, words in _BANDS if mean >= least)
    cautions = []
    if verdict == "dft":
        cautions.append(
            "if this model is already instruction-tuned and a stronger model wrote the data, SFT can still win"
            " (69.4 against 63.5 for Qwen3-4B)"
        )
    rare = [name for name in CLASSES if probabilities.get(name, {}).get("mean_prob", 1.0) < _RARE]
    if rare and verdict != "sft":
        cautions.append(
            f"{' and '.join(rare)} tokens have a mean probability below {_RARE}: DFT hardly learns them, and the model"
            " may not end or not box its answers; use --objective clamp or blend"
        )
    return {
        "examples": examples,
        "nll": means["nll"],
        "mean_prob": mean,
        "top1": means["top1"],
        "entropy": means["entropy"],
        "verdict": verdict,
        "recommendation": words,
        "cautions": cautions,
        "bins": list(BINS),
        "probabilities": probabilities,
    }


def report(result: dict[str, Any]) -> str:
    """The reading for a terminal: a table by class of token, a histogram, and the recommendation."""
    classes = result["probabilities"]
    rows = [("label tokens", "number", "mean p", "below 0.01")]
    for name, value in classes.items():
        below = sum(value["histogram"][: BINS.index(1e-2)]) / value["tokens"]
        rows.append((name, str(value["tokens"]), f"{value['mean_prob']:.3f}", f"{below:.1%}"))
    everything = classes["all"]
    lines = [markdown_table(rows), ""]
    for (low, high), count in zip(pairwise(BINS), everything["histogram"], strict=True):
        share = count / everything["tokens"]
        lines.append(f"p {low:>6g} to {high:<6g} {share:6.1%} {'#' * round(50 * share)}".rstrip())
    return "\n".join([*lines, "", advice(result)])


def advice(result: dict[str, Any]) -> str:
    """The reading in words: a line, and one for each caution."""
    mean, examples = result["mean_prob"], result["examples"]
    first = f"mean label probability {mean:.3f} on {examples} examples: {result['recommendation']}"
    return "\n".join([first, *(f"  but {caution}" for caution in result["cautions"])])
