"""Routing, third step, for one group of blocks: which row each slot of the workspace holds.

    slot_rows[slots[b] + k] = the k-th row, in order, that block b keeps

One program a block, which walks the rows in order: the lists are sorted, and the same every time.
"""

import triton
import triton.language as tl

from dftcore.kernels.tiles import kept


@triton.jit
def fill_kernel(
    p_log_mass,  # [blocks, N] fp16, by compact position
    p_rows,  # [N] int32
    p_count,  # [1] int32
    p_target,  # [N] int64
    p_offset,  # [N] fp32: log2(|g| / 2^octave) - lse
    p_cut,  # [1] fp32
    p_slots,  # [blocks] int64
    p_group,  # [2] int32: the group's first block, and the next group's
    p_slot_rows,  # [slots] int32
    N,
    BLOCK: tl.constexpr,
    BN: tl.constexpr,
):
    count = tl.load(p_count)
    cut = tl.load(p_cut)
    for i_b in range(tl.load(p_group) + tl.program_id(0), tl.load(p_group + 1), tl.num_programs(0)):
        p_mass = p_log_mass + tl.cast(i_b, tl.int64) * N
        p_list = p_slot_rows + tl.load(p_slots + i_b)
        found = 0
        for start in range(0, count, BN):
            o_n = start + tl.arange(0, BN)
            m_n = o_n < count
            b_row = tl.load(p_rows + o_n, mask=m_n, other=0)
            b_own = tl.load(p_target + b_row, mask=m_n, other=0) // BLOCK
            b_mass = tl.load(p_mass + o_n, mask=m_n, other=0.0).to(tl.float32)
            b_offset = tl.load(p_offset + b_row, mask=m_n, other=0.0)
            m_keep = m_n & kept(b_mass + b_offset, cut, b_own, i_b)
            b_keep = m_keep.to(tl.int32)
            tl.store(p_list + found + tl.cumsum(b_keep, 0) - 1, b_row, mask=m_keep)
            found += tl.sum(b_keep, 0)
