"""The order of the routed backward, worked out on the device: groups of blocks that fit the workspace, and their tiles.

The blocks' lists are laid end to end; a group is a run of blocks whose lists start within one window of the workspace.
How many groups there are is only known on the device, so the host launches as many as there could be and the surplus
ones find nothing to do. No value is read back.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dftcore.kernels.budget import BLOCK


@dataclass(frozen=True)
class Plan:
    """lists [blocks, N] (list_stride N) or [N] shared by all blocks (list_stride 0), counts [blocks] int32.

    slots [blocks] int64: first workspace row of a block. tile_start [blocks] and tile_block [tiles] int32 map a block
    to its tiles and back. groups [G, 4] int32: first and end tile, first and end block. slot_count: workspace rows.
    """

    lists: Tensor
    list_stride: int
    counts: Tensor
    slots: Tensor
    tile_start: Tensor
    tile_block: Tensor
    groups: Tensor
    slot_count: int


def make_plan(lists: Tensor, counts: Tensor, tile_rows: int, workspace_share: float) -> Plan:
    """lists and counts as in Plan; tile_rows BM of the kernels; workspace_share of all pairs are held at once."""
    rows, blocks = lists.shape[-1], counts.shape[0]
    slot_count = max(2 * rows, int(workspace_share * blocks * rows))
    window = slot_count - rows  # a list that starts inside the window ends inside the workspace
    groups = -(-blocks * rows // window)
    starts = counts.cumsum(0) - counts
    first_block = torch.searchsorted(starts // window, torch.arange(groups + 1, device=counts.device))
    window_start = starts[first_block.clamp_max(blocks - 1)]
    slots = starts - window_start[starts // window]
    tile_end = (-(-counts // tile_rows)).cumsum(0)
    tile_start = torch.nn.functional.pad(tile_end, (1, 0))
    tile_count = blocks * -(-rows // tile_rows)
    tile_block = torch.searchsorted(tile_end, torch.arange(tile_count, device=counts.device), right=True)
    first_tile = tile_start[first_block]
    bounds = torch.stack((first_tile[:-1], first_tile[1:], first_block[:-1], first_block[1:]), -1)
    return Plan(
        lists,
        rows if lists.ndim == 2 else 0,
        counts,
        slots,
        tile_start[:-1].int(),
        tile_block.int(),
        bounds.int(),
        slot_count,
    )


def shares_plan(rows: Tensor, count: Tensor, panels: int) -> Plan:
    """The plan under which the shares [panels, N, BLOCK] are one group of `panels` blocks with every row each."""
    slots = torch.arange(panels, device=rows.device) * rows.shape[0]
    nothing = slots.new_empty(0, dtype=torch.int32)
    bounds = torch.zeros(1, 4, dtype=torch.int32, device=rows.device)
    bounds[0, 3] = panels
    return Plan(rows, 0, count.expand(panels).contiguous(), slots, nothing, nothing, bounds, panels * rows.shape[0])


def panel_count(blocks: int) -> int:
    return -(-blocks // BLOCK)
