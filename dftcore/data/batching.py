"""Which examples make up a step, how they are dealt to ranks and passes, and the tensors of one pass.

The order is a pure function of (seed, step): neither the number of ranks nor a restart changes which examples a step
holds. A pass is one forward and backward on one rank; every rank runs the same number of passes, empty ones included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from dftcore.data.documents import IGNORE, Documents


@dataclass(frozen=True)
class Batch:
    """One pass. input_ids, position_ids, targets: int64 [rows, T].

    attention_mask is None for a packed row, whose documents are told apart by restarting position_ids (a mask of ones
    would let them see each other), else int64 [rows, T], 1 on tokens.
    """

    input_ids: Tensor
    position_ids: Tensor
    targets: Tensor
    attention_mask: Tensor | None

    def to(self, device: torch.device) -> Batch:
        mask = None if self.attention_mask is None else self.attention_mask.to(device, non_blocking=True)
        return Batch(
            self.input_ids.to(device, non_blocking=True),
            self.position_ids.to(device, non_blocking=True),
            self.targets.to(device, non_blocking=True),
            mask,
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
) -> list[list[list[int]]]:
    """passes[rank][i]: the documents of each pass, balanced by tokens; the number of passes is the same on all ranks.

    Packed passes hold up to micro_batch_size * max_length tokens, padded ones up to micro_batch_size documents.
    """
    longest_first = sorted(indices, key=lambda index: (-int(lengths[index]), index))
    if packing:
        groups = _pack(longest_first, lengths, ranks, micro_batch_size * max_length)
    else:
        starts = range(0, len(longest_first), micro_batch_size)
        groups = [list(longest_first[start : start + micro_batch_size]) for start in starts]
    groups += [[] for _ in range(-len(groups) % ranks)]
    return [groups[rank::ranks] for rank in range(ranks)]


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


def collate(documents: Documents, indices: Sequence[int], packing: bool, pad_token_id: int) -> Batch:
    """The tensors of one pass; without documents, one padding token that is nobody's target."""
    if not indices:
        one = torch.full((1, 1), pad_token_id)
        return Batch(
            one, torch.zeros_like(one), torch.full_like(one, IGNORE), None if packing else torch.ones_like(one)
        )
    pieces = [documents.document(index) for index in indices]
    if packing:
        tokens, targets = (torch.from_numpy(np.concatenate(part)).long()[None] for part in zip(*pieces, strict=True))
        positions = torch.cat([torch.arange(len(piece)) for piece, _ in pieces])[None]
        return Batch(tokens, positions, targets, None)
    width = max(len(piece) for piece, _ in pieces)
    shape = (len(pieces), width)
    input_ids, targets = torch.full(shape, pad_token_id), torch.full(shape, IGNORE)
    mask = torch.zeros(shape, dtype=torch.int64)
    for row, (piece, labels) in enumerate(pieces):
        input_ids[row, : len(piece)] = torch.from_numpy(piece)
        targets[row, : len(piece)] = torch.from_numpy(labels)
        mask[row, : len(piece)] = 1
    return Batch(input_ids, torch.arange(width).expand(shape), targets, mask)
