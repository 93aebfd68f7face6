"""Everything that knows of more than one process: the group, the mesh, sharding, and which rows a rank holds.

One path serves one process and many: a single process is a group of one, so FSDP2's mixed precision and gradient
averaging are the same everywhere.
"""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard

from dftcore.errors import UserError


@dataclass(frozen=True)
class World:
    rank: int
    size: int
    device: torch.device
    store: dist.Store

    def next_number(self, counter: str) -> int:
        """0, 1, 2, ... each given to one rank only."""
        return self.store.add(counter, 1) - 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0


@contextmanager
def process_group(timeout: timedelta = timedelta(minutes=30)) -> Iterator[World]:
    """The default group over all ranks, gloo on CPU and NCCL on GPUs, torn down after what lived on it is collected.

    Sharded state must be gone before the group is destroyed, so keep it inside a function called in the block.
    """
    rank, local_rank = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    size = int(os.environ.get("WORLD_SIZE", "1"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if cuda else torch.device("cpu")
    if cuda and local_rank >= torch.cuda.device_count():
        raise UserError(f"--nproc-per-node: local rank {local_rank} has no GPU; there are {torch.cuda.device_count()}")
    if cuda:
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    store: dist.Store
    if "MASTER_ADDR" in os.environ:
        # torchrun's agent hosts the store; under another launcher the first rank does.
        hosts = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        tcp = dist.TCPStore(
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), size, is_master=hosts, timeout=timeout
        )
        # A restarted launch reuses the agent's store; keys of the attempt before must not be met again.
        store = dist.PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", tcp)
    else:
        store = dist.HashStore()
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    try:
        yield World(rank, size, device, store)
    finally:
        gc.collect()
        dist.destroy_process_group()


def shard(
    module: nn.Module, layers: list[nn.Module], world: World, compute_dtype: torch.dtype, reshard: bool = True
) -> None:
    """FSDP2 over all ranks: each decoder layer a group, the rest (embeddings, norm, head) the root group of `module`.

    The loss is the forward of `module`, so its head is gathered whole around the loss and reduce-scattered once.
    Parameters stay fp32; compute is in `compute_dtype`, gradients are reduced in fp32. With `reshard`, a layer's
    gathered parameters are freed between forward and backward and gathered again: less memory, more traffic.
    """
    mesh = init_device_mesh(world.device.type, (world.size,), mesh_dim_names=("shard",))
    policy = MixedPrecisionPolicy(param_dtype=compute_dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy, reshard_after_forward=reshard)
    fully_shard(module, mesh=mesh, mp_policy=policy)


def local_tensor(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole_tensor(tensor: Tensor) -> Tensor:
    """Gathered from all ranks, which all call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local_rows(tensor: Tensor) -> tuple[int, int]:
    """[start, stop) of the rows of dimension 0 that this rank holds of a tensor sharded as FSDP2 does (torch.chunk)."""
    rows = tensor.shape[0]
    if not isinstance(tensor, DTensor):
        return 0, rows
    (placement,) = tensor.placements
    if not isinstance(placement, Shard) or placement.dim != 0:
        raise TypeError(f"a tensor placed {placement} is not sharded by rows")
    size, rank = tensor.device_mesh.size(), tensor.device_mesh.get_local_rank()
    chunk = math.ceil(rows / size)
    return min(rank * chunk, rows), min((rank + 1) * chunk, rows)


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all ranks, in place."""
    dist.all_reduce(tensor)
    return tensor


def barrier() -> None:
    dist.barrier()


def agree(value: bool) -> bool:
    """Whether any rank says so."""
    flag = torch.tensor(int(value))
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag)
