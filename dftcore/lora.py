"""LoRA (arXiv 2106.09685) through peft: y = x W^T + (alpha / rank) x A^T B^T, W frozen, A [rank, in], B [out, rank].

model = add_adapters(build(config, compute_dtype), options, master_dtype)      # on the meta device
initialize(model, seed)                                                         # B = 0: training starts from the model

Adapters are trained and saved alone. The head is never adapted, so the loss computes no gradient of it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dftcore.distributed import local_rows, local_tensor
from dftcore.errors import UserError, nearest, one_line
from dftcore.options import option

_ADAPTER = "default"  # the name peft gives the only adapter


@dataclass(frozen=True)
class LoraOptions:
    lora_rank: int | None = option(
        None, "train low-rank adapters of this rank (LoRA) beside frozen weights; none: train all weights", minimum=1
    )
    lora_alpha: int = option(16, "what the adapters add is scaled by alpha / rank", minimum=1)
    lora_targets: tuple[str, ...] = option(
        ("all-linear",), "layers that get adapters, such as q_proj,v_proj; all-linear: every one but the head"
    )

    @property
    def scale(self) -> float:
        return self.lora_alpha / (self.lora_rank or math.inf)


def check_lora(options: LoraOptions) -> None:
    """Refuse --lora-rank without peft, and the other options without a rank. Raises UserError."""
    if options.lora_rank is None and options != LoraOptions():
        raise UserError("--lora-alpha, --lora-targets: they change nothing without --lora-rank; give it too")
    if options.lora_rank is not None and find_spec("peft") is None:
        raise UserError("--lora-rank: needs the package peft; install with pip install -e .[lora]")


def add_adapters(model: Any, options: LoraOptions, dtype: torch.dtype) -> Any:
    """`model`, on the meta device, with its targets replaced by peft's layers; all but the adapters is frozen."""
    from peft import LoraConfig, inject_adapter_in_model

    targets: Any = "all-linear" if options.lora_targets == ("all-linear",) else list(options.lora_targets)
    linear = {name.split(".")[-1] for name, part in model.base_model.named_modules() if isinstance(part, nn.Linear)}
    for target in () if targets == "all-linear" else targets:
        if target.split(".")[-1] not in linear:
            raise UserError(
                f"--lora-targets: no linear layer inside the decoder is named {target!r}{nearest(target, linear)}"
            )
    config = LoraConfig(
        r=options.lora_rank or 0,
        lora_alpha=options.lora_alpha,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    try:
        with torch.device("meta"):
            inject_adapter_in_model(config, model)
    except ValueError as error:
        raise UserError(f"--lora-targets: {one_line(error)}") from None
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_adapter(name))
        if is_adapter(name):
            parameter.data = parameter.data.to(dtype)
    return model


def is_adapter(name: str) -> bool:
    return ".lora_A." in name or ".lora_B." in name


def base_name(name: str) -> str:
    """The Hugging Face name of a frozen parameter."""
    return name.replace(".base_layer.", ".")


def initialize(model: Any, seed: int) -> None:
    """A uniform in +-1 / sqrt(in), as peft draws it, but the same whatever the ranks; B zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not is_adapter(name):
                continue
            local, (start, stop) = local_tensor(parameter), local_rows(parameter)
            if ".lora_B." in name:
                local.zero_()
                continue
            digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
            bound = 1.0 / math.sqrt(parameter.shape[1])
            local.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)[start:stop])


def merged(
    weights: Iterable[tuple[str, Tensor]], adapters: Mapping[str, Tensor], options: LoraOptions
) -> Iterator[tuple[str, Tensor]]:
    """Whole weights with their Hugging Face names, (alpha / rank) B A added in fp32, in their own types."""
    for name, weight in weights:
        layer = name.removesuffix(".weight")
        down = adapters.get(f"{layer}.lora_A.{_ADAPTER}.weight")
        if down is not None:
            up = adapters[f"{layer}.lora_B.{_ADAPTER}.weight"]
            weight = (weight.float() + options.scale * (up.float() @ down.float())).to(weight.dtype)
        yield name, weight


def save_adapter(directory: Path, model: Any, adapters: Mapping[str, Tensor], source: str) -> None:
    """Write the adapters in peft's format: `PeftModel.from_pretrained(base, directory)` loads them.

    `model` is one that `add_adapters` returned, for its configuration; `source` names the base model.
    """
    directory.mkdir()
    config = model.peft_config[_ADAPTER]
    config.base_model_name_or_path, config.inference_mode = source, True
    config.target_modules = sorted(config.target_modules)  # a set, whose order changes from run to run
    config.save_pretrained(directory)
    named = {f"base_model.model.{name.replace(f'.{_ADAPTER}.', '.')}": tensor for name, tensor in adapters.items()}
    save_file(named, directory / "adapter_model.safetensors", metadata={"format": "pt"})
