"""Sharded checkpoints in safetensors: every rank writes its rows, any number of ranks reads them back.

    checkpoints/step-00000100/rank-0-of-2.safetensors    rows of each trained parameter and of its AdamW moments
    checkpoints/step-00000100/state.json                 step, updates, ranks, the files' CRC-32, the run's fingerprint

The directory takes its name after every file is written and on disk, so a directory of that name is complete; one
that a killed run leaves is hidden and removed by the next. Parameters are sharded by rows; each file's header says
which rows it holds, and of replicas only the first writes. All ranks must see the same file system.
"""

from __future__ import annotations

import json
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dftcore.distributed import World, agree, background_group, local_rows, local_tensor
from dftcore.errors import UserError
from dftcore.files import sync, write_json
from dftcore.optim import MOMENTS, updates_done
from dftcore.tensorfiles import write_tensors

_PATIENCE = 60.0  # seconds until a network file system shows what another node has written


class Saver:
    """Writes the checkpoints of a run while its steps go on: they wait for a copy in host memory, not for the disk.

    All ranks make it and save at the same steps. The writing threads agree over a process group of their own, since
    collectives of two threads on one group would mix. A failure on any rank is raised on all, by the next `save` or
    `wait`; `failed` tells of it before. As a context it waits for the save under way, but for a Ctrl-C.
    """

    def __init__(self, root: Path, world: World, run: Any, keep: int, background: bool = True) -> None:
        self.root, self.world, self.run, self.keep, self.background = root, world, run, keep, background
        self.group = background_group()
        self.copies: dict[str, Tensor] = {}  # kept from save to save: pinned memory is slow to allocate
        self.thread: Thread | None = None
        self.error: Exception | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.thread and kind is not KeyboardInterrupt:
            self.thread.join()

    @property
    def failed(self) -> bool:
        return self.error is not None

    def save(
        self,
        step: int,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        wait: bool = False,
        context: dict[str, Any] | None = None,
    ) -> None:
        """Write the state after `step` steps once the save before has ended; with `wait`, return when it is done.

        context: what else the next step depends on, as JSON.
        """
        self.wait()
        wait = wait or not self.background
        tensors, rows = {}, {}
        for name, tensor in _state(module, optimizer) if self.world.is_first_replica else ():
            local, rows[name] = local_tensor(tensor).detach(), local_rows(tensor)
            copy = name in self.copies or not wait  # what an earlier save has allocated is there anyway
            tensors[name] = self._copy(name, local) if copy else local.cpu().contiguous()
        copied = torch.cuda.current_stream().record_event() if self.world.device.type == "cuda" else None
        state = {"step": step, "updates": updates_done(optimizer), "ranks": self.world.shards, "run": self.run}
        state["context"] = dict(context or {})

        def write() -> None:
            try:
                if copied:
                    torch.cuda.set_device(self.world.device)  # a new thread's is the first GPU, for all ranks
                    copied.synchronize()
                self._write(directory(self.root, step), tensors, rows, state)
            except Exception as error:  # raised where the run waits for it
                self.error = error

        self.thread = Thread(target=write, name=f"save step {step}", daemon=True)
        self.thread.start()
        if wait:
            self.wait()

    def wait(self) -> None:
        """Return when the save under way has ended. Raises what it met: OSError, or UserError for another rank's."""
        if self.thread:
            self.thread.join()
            self.thread = None
        if self.error:
            raise self.error

    def _copy(self, name: str, local: Tensor) -> Tensor:
        """`local` in host memory, once the work queued on its device is done."""
        if name not in self.copies:
            pinned = local.device.type == "cuda"
            self.copies[name] = torch.empty(local.shape, dtype=local.dtype, device="cpu", pin_memory=pinned)
        return self.copies[name].copy_(local, non_blocking=True)

    def _write(self, final: Path, tensors: dict[str, Tensor], rows: dict[str, Any], state: dict[str, Any]) -> None:
        partial = _hidden(final)
        checksums = torch.zeros(self.world.shards, dtype=torch.int64)

        def write_part() -> None:
            if not self.world.is_first_replica:
                return
            partial.mkdir(parents=True, exist_ok=True)
            part = partial / _file(self.world.shard_rank, self.world.shards)
            write_tensors(part, tensors, {"rows": json.dumps(rows)})
            checksums[self.world.shard_rank] = _checksum(part)

        def publish() -> None:
            if not self.world.is_first:
                return
            self._see_all_parts(partial, final)
            write_json(partial / "state.json", {**state, "crc32": checksums.tolist()})
            sync(partial)
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            sync(self.root)
            for old in complete(self.root)[: -self.keep]:
                shutil.rmtree(old.rename(_hidden(old)), ignore_errors=True)

        try:
            self._together(write_part, final)
            dist.all_reduce(checksums, group=self.group)  # each from the one rank that has it
            self._together(publish, final)
        except Exception:
            if self.world.is_first:
                shutil.rmtree(partial, ignore_errors=True)
            raise

    def _see_all_parts(self, partial: Path, final: Path) -> None:
        """Without which nothing is published. Raises UserError where nodes write to disks of their own."""
        end = time.monotonic() + _PATIENCE
        for name in (_file(rank, self.world.shards) for rank in range(self.world.shards)):
            while not (partial / name).is_file():
                if time.monotonic() > end:
                    raise UserError(
                        f"--output: the first rank does not see {name} of {final}; give a directory that all nodes"
                        " share"
                    )
                time.sleep(0.1)

    def _together(self, work: Callable[[], None], final: Path) -> None:
        """Do `work` on every rank; when it fails on one, raise on all: no part is of use without the others."""
        failure: Exception | None = None
        try:
            work()
        except Exception as error:
            failure = error
        if agree(failure is not None, self.group):
            raise failure or UserError(f"checkpoint {final} was not written: another rank failed, its message says why")


def directory(root: Path, step: int) -> Path:
    return root / f"step-{step:08d}"


def step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def complete(root: Path) -> list[Path]:
    """The complete checkpoints under `root`, oldest first."""
    return sorted(path for path in root.glob("step-" + "[0-9]" * 8) if (path / "state.json").is_file())


def describe(path: Path) -> dict[str, Any]:
    """What state.json says. Raises UserError when it is damaged."""
    try:
        state = json.loads((path / "state.json").read_text())
        numbers = {name: int(state[name]) for name in ("step", "updates", "ranks")}
        checksums = [int(value) for value in state.get("crc32", [])]
        return {**numbers, "crc32": checksums, "run": dict(state["run"]), "context": dict(state.get("context", {}))}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{_damaged(path, 'state.json')}") from None


def load(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Fill parameters and moments from a checkpoint of any number of ranks; every rank calls it.

    Raises UserError naming a damaged file, be it by one byte: the ranks share the reading of all of them.
    """
    _refuse_damaged(path)
    updates = describe(path)["updates"]
    for state in optimizer.state.values():
        state["step"].fill_(updates)
    pieces = _Pieces(path)
    with torch.no_grad():
        for name, tensor in _state(module, optimizer):
            pieces.fill(name, local_tensor(tensor), *local_rows(tensor), list(tensor.shape))


def _refuse_damaged(path: Path) -> None:
    checksums = describe(path)["crc32"]
    names = [_file(rank, len(checksums)) for rank in range(len(checksums))]
    mine = range(dist.get_rank(), len(names), dist.get_world_size())
    damaged = [names[rank] for rank in mine if _checksum(path / names[rank]) != checksums[rank]]
    if agree(bool(damaged)):
        raise UserError(_damaged(path, damaged[0] if damaged else "a file that another rank names"))


def _checksum(path: Path) -> int:
    """CRC-32 of a file; -1 for one that cannot be read."""
    value = 0
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                value = zlib.crc32(block, value)
    except OSError:
        return -1
    return value


def parameters(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Each trained parameter whole, one after the other, with the name it has in the module that was saved."""
    pieces = _Pieces(path)
    for name in pieces.names():
        if name.startswith("param/"):
            yield name.removeprefix("param/"), pieces.whole(name)


class _Pieces:
    """The rows of every tensor, over the files that hold them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = []
        ranks = describe(path)["ranks"]
        for rank in range(ranks):
            file = path / _file(rank, ranks)
            try:
                opened = safe_open(file, framework="pt")
                self.files.append((file, opened, json.loads(opened.metadata()["rows"])))
            except (SafetensorError, OSError, ValueError, TypeError, KeyError):
                raise UserError(_damaged(path, file.name)) from None

    def names(self) -> list[str]:
        return list(dict.fromkeys(name for _, _, rows in self.files for name in rows))

    def whole(self, name: str) -> Tensor:
        shapes = [opened.get_slice(name).get_shape() for _, opened, rows in self.files if name in rows]
        shape = [max(rows[name][1] for _, _, rows in self.files if name in rows), *shapes[0][1:]]
        tensor = torch.empty(shape)
        self.fill(name, tensor, 0, shape[0], shape)
        return tensor

    def fill(self, name: str, local: Tensor, start: int, stop: int, shape: list[int]) -> None:
        """Copy rows [start, stop) of tensor `name` into `local`."""
        filled = 0
        for file, opened, rows in self.files:
            first, last = rows.get(name, (0, 0))
            low, high = max(start, first), min(stop, last)
            if low >= high:
                continue
            try:
                part = opened.get_slice(name)[low - first : high - first]
            except SafetensorError:
                raise UserError(_damaged(self.path, file.name)) from None
            if list(part.shape[1:]) != shape[1:]:
                raise UserError(
                    f"{file}: tensor {name} has rows of {list(part.shape[1:])}, the model's are {shape[1:]}"
                )
            local[low - start : high - start].copy_(part)
            filled += high - low
        if filled != stop - start:
            raise UserError(_damaged(self.path, f"{name}: {filled} of {stop - start} rows"))


def _state(module: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor | DTensor]]:
    named = dict(module.named_parameters())
    strangers = [name for name, value in named.items() if value.requires_grad and value not in optimizer.state]
    if strangers:  # a gathered parameter is another object than the rows that the optimizer knows
        raise RuntimeError(f"{len(strangers)} trained parameters have no optimizer state, {strangers[0]} the first")
    for name, parameter in named.items():
        if parameter in optimizer.state:  # frozen parameters are those of the model that training started from
            yield f"param/{name}", parameter
            for moment in MOMENTS:
                yield f"{moment}/{name}", optimizer.state[parameter][moment]


def _file(shard_rank: int, shards: int) -> str:
    return f"rank-{shard_rank}-of-{shards}.safetensors"


def _hidden(path: Path) -> Path:
    """The name of a checkpoint that is not complete yet, or no longer."""
    return path.with_name(f".{path.name}.partial")


def _damaged(path: Path, what: str) -> str:
    return f"checkpoint {path} is damaged ({what}); remove that directory to go on from the one before it"
