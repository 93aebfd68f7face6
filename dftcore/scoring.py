"""What a model thinks of documents, without learning from them: validation, pre-flight, label statistics.

The passes are the same whatever the number of ranks, which share them; only the order of summation differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dftcore.data import batching
from dftcore.data.documents import Documents, encode_conversations
from dftcore.diagnostics import BINS, SIZE, Observed
from dftcore.distributed import World, sum_over_ranks
from dftcore.models import LanguageModelLoss
from dftcore.objectives import Objective
from dftcore.parallel import reshard

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
    total = torch.zeros(SIZE, dtype=torch.float64, device=world.device)

    def add(rows: list[batching.Row], batch: batching.Batch) -> None:
        nonlocal total
        total += module(batch, 1.0, outputs, objective)[1]

    hidden = description is None or not world.is_first
    with tqdm(total=len(indices), desc=description, unit="document", dynamic_ncols=True, disable=hidden) as progress:
        _score(module, documents, indices, pad_token_id, world, progress, add)
    return Observed(sum_over_ranks(total).tolist())


def token_logprobs(
    module: LanguageModelLoss,
    documents: Documents,
    indices: Sequence[int],
    pad_token_id: int,
    world: World,
    progress: tqdm[Any] | None = None,
) -> np.ndarray:
    """float32: the log-probability of each target of these documents, end to end, 0 where there is none.

    All ranks call it and get the result, which does not depend on their number.
    """
    ends = np.cumsum(documents.lengths[indices])
    place = {
        index: slice(int(end - documents.lengths[index]), int(end)) for index, end in zip(indices, ends, strict=True)
    }
    found = torch.zeros(int(ends[-1]), device=world.device)

    def keep(rows: list[batching.Row], batch: batching.Batch) -> None:
        logprob = module(batch, 1.0, (), Objective("sft"))[2]["logprob"]
        for row, members in enumerate(rows):
            start = 0
            for index in members:
                length = int(documents.lengths[index])
                found[place[index]] = logprob[row, start : start + length]
                start += length

    _score(module, documents, indices, pad_token_id, world, progress, keep)
    return sum_over_ranks(found).cpu().numpy()


def _score(
    module: LanguageModelLoss,
    documents: Documents,
    indices: Sequence[int],
    pad_token_id: int,
    world: World,
    progress: tqdm[Any] | None,
    visit: Callable[[list[batching.Row], batching.Batch], None],
) -> None:
    """Call `visit` with the rows and the tensors of each of this rank's passes."""
    capacity = max(ROW, max(int(documents.lengths[index]) for index in indices))
    (passes,) = batching.deal(indices, documents.lengths, 1, 1, capacity, packing=True)
    passes += [[]] * (-len(passes) % world.size)  # every rank makes the same number of passes
    was_training = module.training
    module.eval()
    with torch.no_grad():
        for number in range(world.rank, len(passes), world.size):
            rows = passes[number]
            visit(rows, batching.collate(documents, rows, True, pad_token_id).to(world.device))
            if progress is not None:
                together = passes[number - world.rank : number - world.rank + world.size]
                progress.update(sum(len(row) for group in together for row in group))
    module.train(was_training)
    reshard(module)


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
