"""Which examples make up a step, how they are dealt to ranks and passes, and the tensors of one pass.

The order is a pure function of (seed, step): neither the number of ranks nor a restart changes which examples a step
holds. A pass is one forward and backward on one rank; every rank runs the same number of passes, empty ones included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dftcore.data.documents import IGNORE, Documents

Row = list[int]  # the documents that share a row


@dataclass(frozen=True)
class Batch:
    """One pass. input_ids, position_ids, targets, classes (of the targets): int64 [rows, T].

    attention_mask is None for packed rows, whose documents are told apart by restarting position_ids (a mask of ones
    would let them see each other), else int64 [rows, T], 1 on tokens. Packed rows carry the same knowledge for
    variable-length attention too: boundaries, int32 [documents + 1], of the rows laid end to end, padding being a
    document of its own, and the longest document's tokens.
    """

    input_ids: Tensor
    position_ids: Tensor
    targets: Tensor
    classes: Tensor
    attention_mask: Tensor | None
    boundaries: Tensor | None
    longest: int
    tokens: int  # of documents, padding left out
    reference: Tensor | None = None  # fp32 [rows, T], the reference's log-probability of each target

    def to(self, device: torch.device) -> Batch:
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        moved: dict[str, Any] = {name: value.to(device, non_blocking=True) for name, value in tensors.items()}
        return replace(self, **moved)


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
    indices: Sequence[int],
    lengths: np.ndarray,
    ranks: int,
    micro_batch_size: int,
    max_length: int,
    packing: bool,
    in_order: bool = False,
) -> list[list[list[Row]]]:
    """passes[rank][i]: up to `micro_batch_size` rows of documents; the number of passes is the same on all ranks.

    Packed rows hold several documents, up to max_length tokens; otherwise each document is a row. Rows are spread
    evenly, those of similar length together, or `in_order`, where a pass's own mean counts.
    """
    longest_first = sorted(indices, key=lambda index: (-int(lengths[index]), index))
    unpacked = [[index] for index in (indices if in_order else longest_first)]
    rows = _pack(longest_first, lengths, ranks, max_length) if packing else unpacked
    count = math.ceil(len(rows) / (micro_batch_size * ranks)) * ranks  # as few as hold all rows
    bounds = [round(len(rows) * part / count) for part in range(count + 1)]
    passes = [rows[start:stop] for start, stop in pairwise(bounds)]
    return [passes[rank::ranks] for rank in range(ranks)]


def deal_examples(
    documents: Documents,
    examples: Sequence[int],
    ranks: int,
    micro_batch_size: int,
    max_length: int,
    packing: bool,
    in_order: bool = False,
) -> list[list[list[Row]]]:
    """`deal` of examples of one or several documents each, which stay side by side in one pass.

    Packed rows hold up to max_length tokens for each document of an example.
    """
    group = documents.group
    lengths = documents.lengths.reshape(-1, group).sum(-1)
    dealt = deal(examples, lengths, ranks, micro_batch_size, max_length * group, packing, in_order)

    def rows_of(rows: list[Row]) -> list[Row]:
        whole = [members(documents, row) for row in rows]
        return whole if packing else [[index] for row in whole for index in row]

    return [[rows_of(rows) for rows in passes] for passes in dealt]


def members(documents: Documents, examples: Sequence[int]) -> list[int]:
    """The documents of these examples, in order."""
    return [documents.group * index + member for index in examples for member in range(documents.group)]


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
    spans = [[documents.span(index) for index in row] for row in rows] or [[]]
    lengths = [[span.stop - span.start for span in row] for row in spans]
    width = max(1, *(sum(row) for row in lengths))
    shape = (len(spans), width)
    input_ids, targets = torch.full(shape, pad_token_id), torch.full(shape, IGNORE)
    reference = None if documents.reference is None else torch.zeros(shape)
    positions, classes, mask = (torch.zeros(shape, dtype=torch.int64) for _ in range(3))
    for row, members in enumerate(spans):
        start = 0
        for source in members:
            at = slice(start, start + source.stop - source.start)
            input_ids[row, at] = torch.from_numpy(documents.tokens[source])
            targets[row, at] = torch.from_numpy(documents.targets[source])
            classes[row, at] = torch.from_numpy(documents.classes[source])
            if reference is not None and documents.reference is not None:
                reference[row, at] = torch.from_numpy(documents.reference[source])
            positions[row, at] = torch.arange(at.stop - start)
            mask[row, at] = 1
            start = at.stop
        positions[row, start:] = torch.arange(width - start)
    tokens_in = int(mask.sum())
    if not packing:
        mask[0, 0] = 1  # set but for a pass without rows, where some attention kernels make NaN of nothing at all
        return Batch(input_ids, positions, targets, classes, mask, None, width, tokens_in, reference)
    filled = [length for row in lengths for length in (*row, width - sum(row)) if length]
    boundaries = torch.tensor([0, *accumulate(filled)], dtype=torch.int32)
    return Batch(input_ids, positions, targets, classes, None, boundaries, max(filled), tokens_in, reference)
