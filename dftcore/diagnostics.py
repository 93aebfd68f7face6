"""What a model thinks of reference answers: the probability it gives each label, without any sampling.

The mean label probability of the base model tells beforehand whether DFT suits the data (arXiv 2510.00526).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dftcore.data.batching import collate
from dftcore.data.documents import encode_conversations
from dftcore.distributed import World, sum_over_ranks
from dftcore.models import LanguageModelLoss
from dftcore.objectives import Objective

BINS = (0.0, 1e-4, 1e-3, 1e-2, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Edges of the label-probability histogram; logarithmic at the low end, where DFT's weight vanishes."""


@torch.inference_mode()
def label_statistics(
    model: Any, tokenizer: Any, conversations: Sequence[list[dict[str, str]]], world: World
) -> dict[str, Any]:
    """Mean NLL (nats), mean label probability and its histogram over BINS, over all answer tokens of `conversations`.

    `model` is a whole causal language model on this rank; ranks share the conversations and all get the result.
    """
    documents = encode_conversations(tokenizer, conversations)
    module = LanguageModelLoss(model, Objective("sft"))
    counts = np.zeros(len(BINS) - 1)
    totals = np.zeros(3)
    mine = sorted(range(world.rank, len(documents), world.size), key=lambda index: -int(documents.lengths[index]))
    groups = [[[index] for index in mine[start : start + 8]] for start in range(0, len(mine), 8)]
    for group in tqdm(groups, desc="label probabilities", unit="batch", dynamic_ncols=True, disable=not world.is_first):
        batch = collate(documents, group, packing=False, pad_token_id=tokenizer.pad_token_id).to(world.device)
        logprob = module.logprobs(batch)[batch.targets >= 0].double().cpu().numpy()
        counts += np.histogram(np.exp(logprob).clip(0.0, 1.0), BINS)[0]
        totals += (len(logprob), -logprob.sum(), np.exp(logprob).sum())
    summed = sum_over_ranks(torch.from_numpy(np.concatenate([totals, counts])).to(world.device)).cpu().numpy()
    tokens, nll, probability = summed[:3]
    return {
        "tokens": int(tokens),
        "nll": nll / tokens,
        "mean_prob": probability / tokens,
        "bins": list(BINS),
        "histogram": [int(count) for count in summed[3:]],
    }
