"""A checkpoint of a run turned into a Hugging Face model directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from dftcore import checkpoint, models
from dftcore.data import chat
from dftcore.errors import UserError
from dftcore.options import option


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
    try:
        before = yaml.safe_load((options.run / "config.yaml").read_text(encoding="utf-8"))
        name, template = before["model"], before["chat_template"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        raise UserError(f"--run: {options.run}/config.yaml is missing or damaged") from None
    directory = models.find_model(name)
    tokenizer = chat.load_tokenizer(str(directory), template)
    dtype, prefix = models.stored_dtype(models.load_config(directory)), "language_model."
    whole = checkpoint.parameters(found[step])
    state = {name.removeprefix(prefix): tensor.to(dtype) for name, tensor in whole.items()}
    models.export(state, directory, tokenizer, options.output)
    print(f"step {step} of {options.run} is now in {options.output}")
