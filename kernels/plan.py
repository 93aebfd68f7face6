"""The backward's memory and order: what it holds beside dH and dW, and groups of blocks that fit the workspace.

The blocks' lists are laid end to end; a group is a run of blocks whose lists start within one window of the workspace.
How many groups there are is only known on the device, so the host launches as many as there could be and the surplus
ones find nothing to do. No value is read back.

The workspace, which holds the logit gradients of one group, gets what the other buffers leave of MEMORY_SHARE of the
logits in fp32: the larger it is, the fewer groups there are.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dftcore.kernels.budget import BLOCK

MEMORY_SHARE = 0.047  # of the fp32 logits: all that is held beyond dH and dW
LARGEST_GROUP = 0.10  # of all pairs: a workspace larger than what is usually kept serves nothing
MOST_GROUPS = 48  # each costs its launches, needed or not; D near N and V / D small pass MEMORY_SHARE for it
FEWEST_SLOTS = 1 << 17  # 32 MiB of bf16, so that small inputs are few groups: their launches would outlast the work


@dataclass(frozen=True)
class Memory:
    """Bytes held together at the backward's peak, beyond dH and dW; `slots` is how many rows of G fit the rest."""

    log_mass: int
    hidden: int  # the running sum of dH, less what dH itself holds
    block_rows: int  # [blocks, D]: sums of the weights, and the shares' part of dW
    workspace: int
    shares: int
    vectors: int
    slots: int

    @property
    def peak(self) -> int:
        """The shares are not alive together with the workspace."""
        return self.log_mass + self.hidden + self.block_rows + self.vectors + max(self.workspace, self.shares)


def words_per_row(dim: int) -> int:
    """Of the fixed-point dH: three columns to a word; a multiple of 16, so that loads stay whole."""
    return -(-dim // 48) * 16


def memory(rows: int, dim: int, vocab: int, itemsize: int, exact: bool) -> Memory:
    """For N rows, hidden size D and V words, of inputs of `itemsize` bytes."""
    blocks = -(-vocab // BLOCK)
    log_mass = 0 if exact else 2 * blocks * rows
    shares = 0 if exact else itemsize * panel_count(blocks) * BLOCK * rows
    hidden = (rows * dim * itemsize if itemsize < 4 else 0) if exact else 8 * rows * words_per_row(dim)
    block_rows = 0 if exact else 2 * blocks * dim * itemsize
    vectors = 64 * rows + 32 * blocks + 8 * dim + 12 * blocks * -(-rows // 64) + 16 * vocab
    left = int(MEMORY_SHARE * 4 * rows * vocab) - log_mass - hidden - block_rows - vectors
    per_slot = BLOCK * itemsize + 4
    fewest = rows + -(-blocks * rows // MOST_GROUPS)
    wanted = max(FEWEST_SLOTS, fewest, min(left // per_slot, int(LARGEST_GROUP * blocks * rows)))
    slots = min(wanted, rows + blocks * rows + 1)  # which is every pair in one group
    return Memory(log_mass, hidden, block_rows, slots * per_slot, shares, vectors, slots)


@dataclass(frozen=True)
class Plan:
    """lists int32: the rows of block b at list_starts[b] onward; counts [blocks] int32 of them.

    slots [blocks] int64: first workspace row of a block. tile_start [blocks] and tile_block [tiles] int32 map a block
    to its tiles and back. groups [G, 4] int32: first and end tile, first and end block.
    """

    lists: Tensor
    list_starts: Tensor
    counts: Tensor
    slots: Tensor
    tile_start: Tensor
    tile_block: Tensor
    groups: Tensor


def make_plan(lists: Tensor | None, counts: Tensor, rows: int, tile_rows: int, slots: int) -> Plan:
    """counts [blocks] of at most `rows` each; tile_rows BM of the kernels; `slots` workspace rows, more than `rows`.

    lists [N] are every block's rows; None gives each slot of the workspace a list entry of its own, to be filled.
    """
    blocks, device = counts.shape[0], counts.device
    window = slots - rows  # a list that starts inside the window ends inside the workspace
    groups = -(-blocks * rows // window)
    starts = counts.cumsum(0) - counts
    first_block = torch.searchsorted(starts // window, torch.arange(groups + 1, device=device))
    window_start = starts[first_block.clamp_max(blocks - 1)]
    first_slot = starts - window_start[starts // window]
    tile_end = (-(-counts // tile_rows)).cumsum(0)
    tile_start = torch.nn.functional.pad(tile_end, (1, 0))
    tile_count = blocks * -(-rows // tile_rows)
    tile_block = torch.searchsorted(
        tile_end.int(), torch.arange(tile_count, dtype=torch.int32, device=device), right=True, out_int32=True
    )
    first_tile = tile_start[first_block]
    bounds = torch.stack((first_tile[:-1], first_tile[1:], first_block[:-1], first_block[1:]), -1)
    return Plan(
        torch.empty(slots, dtype=torch.int32, device=device) if lists is None else lists,
        first_slot if lists is None else torch.zeros_like(first_slot),
        counts,
        first_slot,
        tile_start[:-1].int(),
        tile_block,
        bounds.int(),
    )


def shares_plan(rows: Tensor, count: Tensor, panels: int) -> Plan:
    """The plan under which the shares [panels, N, BLOCK] are one group of `panels` blocks with every row each."""
    slots = torch.arange(panels, device=rows.device) * rows.shape[0]
    nothing = slots.new_empty(0, dtype=torch.int32)
    bounds = torch.zeros(1, 4, dtype=torch.int32, device=rows.device)
    bounds[0, 3] = panels
    counts = count.expand(panels).contiguous()
    return Plan(rows, torch.zeros_like(slots), counts, slots, nothing, nothing, bounds)


def panel_count(blocks: int) -> int:
    return -(-blocks // BLOCK)
