"""More than one process: the group, which rows of a tensor a rank holds, and what ranks tell each other.

One path serves one process and many: a single process is a group of one, so sums over ranks, checkpoints and FSDP2's
mixed precision are the same everywhere.
"""

from __future__ import annotations

import gc
import hashlib
import math
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard

from dftcore.cli import Interrupted
from dftcore.errors import UserError

_GREETING = timedelta(seconds=1)  # until a rank looks whether the first one has started anew


@dataclass(frozen=True)
class World:
    """The ranks of a run: `replicas` copies of the model, each sharded over `shards` ranks with consecutive numbers."""

    rank: int
    size: int
    device: torch.device
    store: dist.Store
    replicas: int = 1

    @property
    def shards(self) -> int:
        return self.size // self.replicas

    @property
    def shard_rank(self) -> int:
        """Which of the shards this rank holds."""
        return self.rank % self.shards

    @property
    def is_first_replica(self) -> bool:
        """Whether this rank belongs to the copy of the model that is saved; the others hold the same rows."""
        return self.rank < self.shards

    def next_number(self, counter: str) -> int:
        """0, 1, 2, ... each given to one rank only."""
        return self.store.add(counter, 1) - 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0


def local_device() -> torch.device:
    """This rank's own GPU, or the CPU where there is none. Raises UserError for more ranks on a node than GPUs."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local_rank, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local_rank >= count:
        raise UserError(f"--nproc-per-node: local rank {local_rank} has no GPU; there are {count}")
    return torch.device("cuda", local_rank)


@contextmanager
def process_group(timeout: timedelta = timedelta(minutes=30), replicas: int = 1) -> Iterator[World]:
    """The default group over all ranks, gloo on CPU and NCCL on GPUs, torn down after what lived on it is collected.

    Sharded state must be gone before the group is destroyed, so keep it inside a function called in the block. The
    cores of a host are divided among its ranks.
    """
    _share_cores()
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    cuda = torch.cuda.is_available()
    device = local_device()
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
        store = dist.PrefixStore(attempt(tcp, rank, size, timeout), tcp)
    else:
        store = dist.HashStore()
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    try:
        yield World(rank, size, device, store, replicas)
    except BaseException as error:
        # NCCL's end waits for all ranks, and those that have met no error are waiting in a collective.
        if not cuda or isinstance(error, Interrupted):
            _leave()
        raise
    _leave()


def _share_cores() -> None:
    """torchrun gives each of several ranks one thread, unless OMP_NUM_THREADS was set: too few for work on the CPU."""
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if ranks == 1:
        return
    try:  # torchrun, the parent, sets the variable itself: what it was started with tells whether the user did
        given = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    except OSError:
        return
    if not any(variable.startswith(b"OMP_NUM_THREADS=") for variable in given):
        threads = max(1, len(os.sched_getaffinity(0)) // ranks)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # for what this rank launches
        torch.set_num_threads(threads)


def _leave() -> None:
    gc.collect()
    dist.destroy_process_group()


def attempt(store: dist.Store, rank: int, size: int, timeout: timedelta) -> str:
    """A name that the ranks of this start share with no start before it; every rank calls it.

    Restarted ranks meet in the store that torchrun's agent keeps, with all keys of the start before, and agents do not
    count restarts alike. So the first rank makes a name, the others answer to it under names of their own, and only the
    name under which a rank is greeted by its own is taken: whoever died before does not greet.
    """
    own = secrets.token_hex(8)
    if rank == 0:
        store.set("attempt", own)
        for other in range(1, size):
            store.set(f"{own} {other} {store.get(f'{own} {other}').decode()}", "")
        return own
    end = time.monotonic() + timeout.total_seconds()
    while True:
        name = store.get("attempt").decode()
        store.set(f"{name} {rank}", own)
        try:
            store.wait([f"{name} {rank} {own}"], _GREETING)
            return name
        except dist.DistError:
            if time.monotonic() > end:
                raise


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
    *replicated, placement = tensor.placements  # with replicas the mesh is [replicate, shard]
    if not all(isinstance(copy, Replicate) for copy in replicated) or placement != Shard(0):
        raise TypeError(f"a tensor placed {tensor.placements} is not sharded by rows")
    mesh_dim = len(replicated)
    size, rank = tensor.device_mesh.size(mesh_dim), tensor.device_mesh.get_local_rank(mesh_dim)
    chunk = math.ceil(rows / size)
    return min(rank * chunk, rows), min((rank + 1) * chunk, rows)


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all ranks, in place."""
    dist.all_reduce(tensor)
    return tensor


def concatenate_over_ranks(tensor: Tensor) -> Tensor:
    """The ranks' 1-d tensors, of any lengths, end to end; every rank gets them all."""
    lengths = [torch.zeros(1, dtype=torch.int64, device=tensor.device) for _ in range(dist.get_world_size())]
    dist.all_gather(lengths, torch.tensor([tensor.numel()], device=tensor.device))
    longest = max(int(length) for length in lengths)
    padded = tensor.new_zeros(longest)
    padded[: tensor.numel()] = tensor
    pieces = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(pieces, padded)
    return torch.cat([piece[: int(length)] for piece, length in zip(pieces, lengths, strict=True)])


def barrier() -> None:
    dist.barrier()


def agree(value: bool, group: dist.ProcessGroup | None = None) -> bool:
    """Whether any rank says so."""
    flag = torch.tensor(int(value))
    dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=group)
    return bool(flag)


def differing(texts: Sequence[str]) -> list[int]:
    """Places of the texts that are not the same on all ranks; each rank gives as many."""
    digests = torch.tensor([int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little") for text in texts])
    ends = torch.stack([digests, -digests])
    dist.all_reduce(ends, op=dist.ReduceOp.MAX)
    return (ends[0] != -ends[1]).nonzero().flatten().tolist()


def background_group() -> dist.ProcessGroup:
    """All ranks once more, for a thread beside the training's; on the CPU. Waits longer, since it waits for disks."""
    return dist.new_group(backend="gloo", timeout=timedelta(hours=2))
