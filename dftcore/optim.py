"""AdamW and the learning-rate schedule; the rate is a pure function of the step, so a step is all there is to save."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from dftcore.distributed import local_tensor
from dftcore.options import option

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class OptimizerOptions:
    """The recipe of arXiv 2508.05629."""

    lr: float = option(5e-5, "peak learning rate; the paper gives Llama-3.1-8B 2e-5", above=0)
    schedule: Literal["cosine", "linear", "constant"] = option("cosine", "decay to 0 after warm-up, or none")
    warmup_ratio: float = option(0.1, "share of the steps over which the rate rises", minimum=0, maximum=1)
    beta1: float = option(0.9, "AdamW's first-moment decay", minimum=0, maximum=0.9999)
    beta2: float = option(0.95, "AdamW's second-moment decay", minimum=0, maximum=0.9999)
    weight_decay: float = option(0.01, "decoupled weight decay", minimum=0)
    clip: float = option(1.0, "largest norm of the whole gradient", above=0)


def adamw(module: nn.Module, options: OptimizerOptions) -> torch.optim.AdamW:
    """AdamW over what is trained; its moments exist before the first update, so that it can be saved at any time."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters,
        lr=options.lr,
        betas=(options.beta1, options.beta2),
        weight_decay=options.weight_decay,
        fused=True,
    )
    for parameter in parameters:
        optimizer.state[parameter] = {
            "step": torch.tensor(0.0, device=local_tensor(parameter).device),
            **{moment: torch.zeros_like(parameter) for moment in MOMENTS},
        }
    return optimizer


def updates_done(optimizer: torch.optim.Optimizer) -> int:
    """How many updates AdamW has applied; steps whose gradient was not finite are not among them."""
    return int(next(iter(optimizer.state.values()))["step"])


def learning_rate(options: OptimizerOptions, step: int, total: int) -> float:
    """The rate of step 0, 1, ... of `total`: rising linearly over the warm-up, then falling to 0 past the last step."""
    warmup = math.ceil(options.warmup_ratio * total)
    if step < warmup:
        return options.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    decay = {"constant": 1.0, "linear": 1.0 - progress, "cosine": 0.5 * (1.0 + math.cos(math.pi * progress))}
    return options.lr * decay[options.schedule]
