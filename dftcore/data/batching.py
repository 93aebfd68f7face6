"""Which examples make up a step, how they are dealt to ranks and passes, and the tensors of one pass.

The order is a pure function of (seed, step): neither the number of ranks nor a restart changes which examples a step
holds. A pass is one forward and backward on one rank; every rank runs the same number of passes, empty ones included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from dftcore.data.documents import IGNORE, Documents

Row = list[int]  # the documents that share a row


@dataclass(frozen=True)
class Batch:
    """One pass. input_ids, position_ids, targets: int64 [rows, T].

    attention_mask is None for packed rows, whose documents are told apart by restarting position_ids (a mask of ones
    would let them see each other), else int64 [rows, T], 1 on tokens.
    """

    input_ids: Tensor
    position_ids: Tensor
    targets: Tensor
    attention_mask: Tensor | None
    tokens: int  # of documents, padding left out

    def to(self, device: torch.device) -> Batch:
        mask = None if self.attention_mask is None else self.attention_mask.to(device, non_blocking=True)
        return Batch(
            self.input_ids.to(device, non_blocking=True),
            self.position_ids.to(device, non_blocking=True),
            self.targets.to(device, non_blocking=True),
            mask,
            self.tokens,
        )


def total_steps(examples: int, batch_size: int, epochs: float, max_steps: int | None) -> int:
    """Optimizer steps of a run; the last may hold fewer examples than the others."""
    steps = max(1, math.ceil(math.floor(examples * epochs) / batch_size))
    return min(steps, max_steps) if max_steps is not None else steps


def examples_of_step(examples: int, batch_size: int, epochs: float, seed: int, step: int) -> list[int]:
    """The documents of step 0, 1, ...: consecutive slices of one shuffled epoch after another."""
    end = max(1, math.floor(examples * epochs))
    positions = range(step * batch_size, min((step + 1) * batch_size, end))
    return [int(_epoch_order(examples, seed, position // examples)[position % examples]) for position in positions]


@lru_cache(maxsize=2)
def _epoch_order(examples: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, epoch << 8])).permutation(examples)


def deal(
    indices: Sequence[int], lengths: np.ndarray, ranks: int, micro_batch_size: int, max_length: int, packing: bool
) -> list[list[list[Row]]]:
    """passes[rank][i]: up to `micro_batch_size` rows of documents; the number of passes is the same on all ranks.

    Packed rows hold several documents, up to max_length tokens; otherwise each document is a row. Rows are spread
    evenly, those of similar length together.
    """
    longest_first = sorted(indices, key=lambda index: (-int(lengths[index]), index))
    rows = _pack(longest_first, lengths, ranks, max_length) if packing else [[index] for index in longest_first]
    count = math.ceil(len(rows) / (micro_batch_size * ranks)) * ranks  # as few as hold all rows
    bounds = [round(len(rows) * part / count) for part in range(count + 1)]
    passes = [rows[start:stop] for start, stop in pairwise(bounds)]
    return [passes[rank::ranks] for rank in range(ranks)]


def _pack(longest_first: Sequence[int], lengths: np.ndarray, ranks: int, capacity: int) -> list[list[int]]:
    """Bins of at most `capacity` tokens, as even as longest-first into the emptiest makes them."""
    total = int(sum(lengths[index] for index in longest_first))
    count = max(1, math.ceil(total / capacity))
    while True:
        count += -count % ranks
        bins: list[list[int]] = [[] for _ in range(count)]
        loads = np.zeros(count, np.int64)
        for index in longest_first:
            emptiest = int(loads.argmin())
            bins[emptiest].append(index)
            loads[emptiest] += lengths[index]
        if loads.max() <= capacity:
            return bins
        count += 1


def collate(documents: Documents, rows: Sequence[Row], packing: bool, pad_token_id: int) -> Batch:
    """The tensors of one pass; without rows, one padding token that is nobody's target.

    Every document starts at position 0; so does the padding behind the last one, which keeps it apart when packed.
    """
    pieces = [[documents.document(index) for index in row] for row in rows] or [[]]
    width = max(1, *(sum(len(tokens) for tokens, _ in row) for row in pieces))
    shape = (len(pieces), width)
    input_ids, targets = torch.full(shape, pad_token_id), torch.full(shape, IGNORE)
    positions, mask = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    for row, members in enumerate(pieces):
        start = 0
        for tokens, labels in members:
            span = slice(start, start + len(tokens))
            input_ids[row, span] = torch.from_numpy(tokens)
            targets[row, span] = torch.from_numpy(labels)
            positions[row, span] = torch.arange(len(tokens))
            mask[row, span] = 1
            start += len(tokens)
        positions[row, start:] = torch.arange(width - start)
    tokens_in = int(mask.sum())
    return Batch(input_ids, positions, targets, None if packing else mask, tokens_in)
