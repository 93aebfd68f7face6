"""What a model thinks of documents, without learning from them: validation, pre-flight, label statistics.

The passes are the same whatever the number of ranks, which share them; only the order of summation differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule
from tqdm import tqdm

from dftcore.data import batching
from dftcore.data.documents import Documents, encode_conversations
from dftcore.diagnostics import BINS, SIZE, Observed
from dftcore.distributed import World, sum_over_ranks
from dftcore.models import LanguageModelLoss
from dftcore.objectives import Objective

ROW = 2048  # tokens of a packed row, unless a document is longer


def score(
    module: LanguageModelLoss,
    documents: Documents,
    indices: Sequence[int],
    pad_token_id: int,
    world: World,
    description: str | None = None,
    outputs: Sequence[str] = ("top1", "entropy"),
) -> Observed:
    """The sums of `diagnostics.observe` over these documents. All ranks call it and get the result.

    `module` may be sharded; it is left as it was. With a description there is a progress bar. The loss of an objective
    that needs more than the tokens' own statistics is the NLL here.
    """
    objective = Objective("sft") if module.objective.definition.context else None
    capacity = max(ROW, max(int(documents.lengths[index]) for index in indices))
    (passes,) = batching.deal(indices, documents.lengths, 1, 1, capacity, packing=True)
    passes += [[]] * (-len(passes) % world.size)  # every rank makes the same number of passes
    total = torch.zeros(SIZE, dtype=torch.float64, device=world.device)
    was_training = module.training
    module.eval()
    mine = passes[world.rank :: world.size]
    with (
        torch.no_grad(),
        tqdm(
            mine, desc=description, unit="row", dynamic_ncols=True, disable=description is None or not world.is_first
        ) as progress,
    ):
        for rows in progress:
            batch = batching.collate(documents, rows, True, pad_token_id).to(world.device)
            total += module(batch, 1.0, outputs, objective)[1]
    module.train(was_training)
    if isinstance(module, FSDPModule):
        module.reshard()  # a pass without a backward leaves the root gathered
    return Observed(sum_over_ranks(total).tolist())


def label_statistics(
    model: Any, tokenizer: Any, conversations: Sequence[list[dict[str, str]]], world: World
) -> dict[str, Any]:
    """Mean NLL (nats), mean label probability and its histogram over BINS, over all answer tokens of `conversations`.

    `model` is a whole causal language model on this rank; ranks share the conversations and all get the result.
    """
    documents = encode_conversations(tokenizer, conversations)
    module = LanguageModelLoss(model, Objective("sft"))
    everyone = range(len(documents))
    found = score(module, documents, everyone, tokenizer.pad_token_id, world, "label probabilities", outputs=())
    everything = found.probabilities()["all"]
    return {
        "tokens": everything["tokens"],
        "nll": found["nll"] / everything["tokens"],
        "mean_prob": everything["mean_prob"],
        "bins": list(BINS),
        "histogram": everything["histogram"],
    }
