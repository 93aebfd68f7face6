"""The module that a run trains, from its options."""

from __future__ import annotations

from typing import Any

import torch

from dftcore import lora, models
from dftcore.objectives import Objective
from dftcore.training.options import TrainOptions


def build_module(options: TrainOptions, config: Any, objective: Objective) -> models.LanguageModelLoss:
    """The model and its loss on the meta device, in the types that training keeps them in."""
    master = getattr(torch, options.model.master_dtype)
    if options.lora.lora_rank is None:
        model = models.build(config, master)
    else:  # what is frozen needs no more precision than it is computed in
        model = lora.add_adapters(models.build(config, getattr(torch, options.model.dtype)), options.lora, master)
    return models.LanguageModelLoss(model, objective, options.objective.loss_backend, options.objective.error_budget)
