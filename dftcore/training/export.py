"""Models written as Hugging Face directories: the end of a run, or a checkpoint of one.

Tensors are gathered one after the other and written in files of limited size, so no process holds the whole model: the
peak on the first rank is one file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dftcore import checkpoint, lora, models
from dftcore.data import chat
from dftcore.distributed import whole_tensor
from dftcore.errors import UserError
from dftcore.files import replacing, write_json
from dftcore.lora import LoraOptions
from dftcore.options import option
from dftcore.runs import read_config
from dftcore.tensorfiles import write_tensors

FILE_BYTES = 2_000_000_000


def gathered(module: models.LanguageModelLoss, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Each trained parameter whole, as `dtype`, with its name; all ranks go through it together."""
    for name, parameter in module.language_model.named_parameters():
        if parameter.requires_grad:
            yield name, whole_tensor(parameter.detach().to(dtype))


def write_trained(
    weights: Iterator[tuple[str, Tensor]], options: LoraOptions, name: str, source: Path, tokenizer: Any, path: Path
) -> None:
    """`write_model` of what was trained from the model `name`, which is in the directory `source`.

    Adapters are merged into that model's weights, and are also written to `path`/adapter in peft's format.
    """
    if options.lora_rank is None:
        write_model(weights, source, tokenizer, path)
        return
    adapters, shell = dict(weights), models.build(models.load_config(source))
    stored = models.stored_weights(source, [parameter for parameter, _ in shell.named_parameters()])
    with replacing(path) as temporary:
        write_model(lora.merged(stored, adapters, options), source, tokenizer, temporary)
        lora.save_adapter(temporary / "adapter", lora.add_adapters(shell, options, torch.float32), adapters, name)


def write_model(weights: Iterator[tuple[str, Tensor]], source: Path, tokenizer: Any, path: Path) -> None:
    """Write a directory that `from_pretrained` loads, all of it or nothing.

    Configuration, dtype and generation settings are those of `source`, the model that training started from; the token
    that ends a turn of the chat template is added to those that end generation. A tied head is not among the weights.
    """
    from transformers import GenerationConfig

    config = models.load_config(source)
    config.dtype = models.stored_dtype(config)
    if (source / "generation_config.json").is_file():
        generation = GenerationConfig.from_pretrained(source)
    else:
        generation = GenerationConfig.from_model_config(config)
    generation.eos_token_id = models.stop_ids(tokenizer, source)
    with replacing(path) as temporary:
        temporary.mkdir()
        _write_weights(weights, config.dtype, temporary)
        config.save_pretrained(temporary)
        generation.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)


def _write_weights(weights: Iterator[tuple[str, Tensor]], dtype: torch.dtype, directory: Path) -> None:
    """model.safetensors, or numbered files and their index where one would be larger than FILE_BYTES."""
    held: dict[str, Tensor] = {}
    files: list[list[str]] = []
    size = total = 0

    def write() -> None:
        files.append(list(held))
        write_tensors(directory / f"{len(files)}.safetensors", held, {"format": "pt"})
        held.clear()

    for name, weight in weights:
        tensor = weight.to("cpu", dtype).contiguous()
        if held and size + tensor.nbytes > FILE_BYTES:
            write()
            size = 0
        held[name] = tensor
        size, total = size + tensor.nbytes, total + tensor.nbytes
    write()
    names = [f"model-{number:05d}-of-{len(files):05d}.safetensors" for number in range(1, len(files) + 1)]
    if len(files) == 1:
        names = ["model.safetensors"]
    else:
        places = {name: file for file, held_names in zip(names, files, strict=True) for name in held_names}
        write_json(
            directory / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": places}
        )
    for number, name in enumerate(names, 1):
        (directory / f"{number}.safetensors").rename(directory / name)


def _lora_options(saved: dict[str, Any]) -> LoraOptions:
    """Those of a run's config.yaml."""
    if saved.get("lora_rank") is None:
        return LoraOptions()
    return LoraOptions(saved["lora_rank"], saved["lora_alpha"], tuple(saved["lora_targets"]))


@dataclass(frozen=True)
class ExportOptions:
    run: Path = option(help="run directory of train.py")
    output: Path = option(help="directory to write, in Hugging Face format")
    step: int | None = option(None, "checkpoint's step; none: the newest", minimum=1)


@dataclass(frozen=True)
class ExportConfig:
    export: ExportOptions


def export_checkpoint(options: ExportOptions) -> None:
    """Turn a checkpoint of a run into a model directory."""
    found = {checkpoint.describe(path)["step"]: path for path in checkpoint.complete(options.run / "checkpoints")}
    if not found:
        raise UserError(f"--run: {options.run} holds no checkpoint")
    step = options.step or max(found)
    if step not in found:
        raise UserError(f"--step: {options.run} has no checkpoint of step {step}; there are {sorted(found)}")
    if options.output.exists():
        raise UserError(f"--output: {options.output} exists already; nothing is overwritten, choose another directory")
    before = read_config(options.run / "config.yaml", "--run")
    try:
        name, template = before["model"], before["chat_template"]
    except KeyError as error:
        raise UserError(f"--run: {options.run}/config.yaml is damaged: it has no {error}") from None
    directory = models.find_model(name)
    tokenizer = chat.load_tokenizer(str(directory), template)
    weights = ((name.removeprefix("language_model."), tensor) for name, tensor in checkpoint.parameters(found[step]))
    write_trained(weights, _lora_options(before), name, directory, tokenizer, options.output)
    print(f"step {step} of {options.run} is now in {options.output}")
