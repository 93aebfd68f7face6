"""How much of the device a training step uses: model FLOPs, the device's dense bf16 peak, memory.

FLOPs a token = 6 x parameters of matrix products (4 x where they are frozen; the lm_head counts, the embedding look-up
does not) + 12 L (heads x head_dim) T, with T the length of the token's own document and causal attention counted full.
Recomputation (activation checkpointing) does not count: this is model FLOPs utilisation, MFU.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

# Dense bf16 TFLOP/s of one device, from the vendors' data sheets; the first name found in the device's name counts.
_PEAKS = (
    ("GB200", 2500.0),
    ("B200", 2250.0),
    ("GH200", 989.0),
    ("H200 NVL", 835.0),
    ("H200", 989.0),
    ("H100 PCIe", 756.0),
    ("H100 NVL", 835.0),
    ("H100", 989.0),
    ("H800", 989.0),
    ("H20", 148.0),
    ("A100", 312.0),
    ("A800", 312.0),
    ("L40S", 362.0),
    ("RTX 4090", 165.0),
    ("RTX 3090", 71.0),
)


def peak_flops(device_name: str) -> float | None:
    """Dense bf16 FLOP/s of a device by its name; None when it is not known."""
    return next((1e12 * peak for name, peak in _PEAKS if name in device_name), None)


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@dataclass(frozen=True)
class ModelFlops:
    """FLOPs of training: `per_token`, and `per_pair` for each (query, key) of a document's full square."""

    per_token: float
    per_pair: float

    def step(self, lengths: Iterable[int]) -> float:
        """Of a step over documents of these lengths."""
        return sum(self.per_token * length + self.per_pair * length * length for length in map(int, lengths))


def model_flops(model: Any) -> ModelFlops | None:
    """Of a Hugging Face model, sharded or not; None for a mixture of experts, whose tokens use some weights only."""
    config = model.config
    if any(getattr(config, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts")):
        return None
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return ModelFlops(
        per_token=float(sum((6 if weight.requires_grad else 4) * weight.numel() for weight in weights)),
        per_pair=12.0 * config.num_hidden_layers * heads * head_dim,
    )


def memory_bytes(device: torch.device) -> int:
    """The most that this process has held: allocated on the GPU, resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
