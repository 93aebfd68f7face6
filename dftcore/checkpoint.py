"""Sharded checkpoints in safetensors: every rank writes its rows, any number of ranks reads them back.

    checkpoints/step-00000100/rank-0-of-2.safetensors    rows of each parameter and of its AdamW moments
    checkpoints/step-00000100/state.json                 step, updates, ranks, the run's fingerprint

The directory takes its name after every file is written, so a directory of that name is complete. Parameters are
sharded by rows; each file's header says which. All ranks must see the same file system.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dftcore.distributed import World, barrier, local_rows, local_tensor
from dftcore.errors import UserError
from dftcore.files import write_json
from dftcore.optim import MOMENTS, updates_done


def save(
    root: Path, step: int, module: nn.Module, optimizer: torch.optim.Optimizer, world: World, run: Any, keep: int
) -> None:
    """Write the state after `step` steps; keep the newest `keep` checkpoints. All ranks call it."""
    final = root / f"step-{step:08d}"
    partial = root / f".{final.name}.partial"
    if world.is_first:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    barrier()
    if world.is_first_replica:
        _write_rows(partial / f"rank-{world.shard_rank}-of-{world.shards}.safetensors", module, optimizer)
    barrier()
    if world.is_first:
        state = {"step": step, "updates": updates_done(optimizer), "ranks": world.shards, "run": run}
        write_json(partial / "state.json", state)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        for old in complete(root)[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
    barrier()


def _write_rows(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    tensors, rows = {}, {}
    for name, tensor in _state(module, optimizer):
        tensors[name] = local_tensor(tensor).detach().cpu().contiguous()
        rows[name] = local_rows(tensor)
    save_file(tensors, path, metadata={"rows": json.dumps(rows)})
    with path.open("rb") as written:
        os.fsync(written.fileno())


def complete(root: Path) -> list[Path]:
    """The complete checkpoints under `root`, oldest first."""
    return sorted(path for path in root.glob("step-*") if (path / "state.json").is_file())


def describe(path: Path) -> dict[str, Any]:
    """What state.json says. Raises UserError when it is damaged."""
    try:
        state = json.loads((path / "state.json").read_text())
        numbers = {name: int(state[name]) for name in ("step", "updates", "ranks")}
        return {**numbers, "run": dict(state["run"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{_damaged(path, 'state.json')}") from None


def load(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Fill parameters and moments from a checkpoint of any number of ranks. Raises UserError naming a damaged file."""
    updates = describe(path)["updates"]
    for state in optimizer.state.values():
        state["step"].fill_(updates)
    pieces = _Pieces(path)
    with torch.no_grad():
        for name, tensor in _state(module, optimizer):
            pieces.fill(name, local_tensor(tensor), *local_rows(tensor), list(tensor.shape))


def parameters(path: Path) -> dict[str, Tensor]:
    """Every parameter whole, by the name it has in the module that was saved, in one process."""
    pieces = _Pieces(path)
    return {name.removeprefix("param/"): pieces.whole(name) for name in pieces.names() if name.startswith("param/")}


class _Pieces:
    """The rows of every tensor, over the files that hold them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = []
        ranks = describe(path)["ranks"]
        for rank in range(ranks):
            file = path / f"rank-{rank}-of-{ranks}.safetensors"
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
    for name, parameter in module.named_parameters():
        yield f"param/{name}", parameter
        for moment in MOMENTS:
            yield f"{moment}/{name}", optimizer.state[parameter][moment]


def _damaged(path: Path, what: str) -> str:
    return f"checkpoint {path} is damaged ({what}); remove that directory to go on from the one before it"
