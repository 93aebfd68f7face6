"""Tile sizes of every kernel, from a table by architecture and type; no autotuning at run time.

Some kernels add to their outputs in place, and a first call should not depend on the machine's mood. `tuned.json` here,
where there is one, goes before the defaults here, which use nothing that not every device has. The benchmark
of the loss writes it on a device of that architecture: it times CANDIDATES, all of which compile ahead of time.

Half-precision inputs run on tensor cores, fp32 inputs on ordinary FMAs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

TABLE = Path(__file__).with_name("tuned.json")


@dataclass(frozen=True)
class Tiles:
    """constexprs: the kernel's tile sizes and switches; warps and stages: how it is compiled; programs: how many of a
    persistent kernel run on each multiprocessor."""

    constexprs: dict[str, int] = field(hash=False)
    warps: int
    stages: int
    programs: int = 1

    @property
    def launch(self) -> dict[str, int]:
        return {**self.constexprs, "num_warps": self.warps, "num_stages": self.stages, "enable_fp_fusion": True}


def _forward(bm: int, bv: int, bk: int, warps: int, stages: int, **switches: int) -> Tiles:
    sizes = {"BM": bm, "BV": bv, "BK": bk, "GROUP": 16, "RUN": 4096 // bv, "TMA": 0, "FLATTEN": 0}
    return Tiles({**sizes, **switches}, warps, stages)


def _logits(bm: int, bk: int, warps: int, stages: int, programs: int = 1) -> Tiles:
    return Tiles({"BM": bm, "BV": 128, "BK": bk}, warps, stages, programs)


def _weights(bd: int, br: int, warps: int, stages: int, programs: int = 1) -> Tiles:
    return Tiles({"BV": 128, "BD": bd, "BR": br}, warps, stages, programs)


def _scatter(bd: int, slices: int, warps: int, stages: int, programs: int = 1, bk: int = 128) -> Tiles:
    """Its BM is that of the logit gradients, whose tiles it shares."""
    return Tiles({"BV": 128, "BK": bk, "BD": bd, "SLICES": slices}, warps, stages, programs)


def _hidden(bm: int, bk: int, bd: int, warps: int, stages: int) -> Tiles:
    return Tiles({"BM": bm, "BV": 128, "BK": bk, "BD": bd}, warps, stages)


HALF: dict[str, Tiles] = {
    "forward": _forward(128, 128, 64, 8, 3),
    "forward_moments": _forward(128, 128, 64, 8, 3),  # not tuned: larger tiles leave no registers for the moments
    "logit_gradient": _logits(128, 64, 8, 3),
    "weight_gradient": _weights(128, 64, 8, 5),  # rows are looked up in lists: five stages keep three tiles in flight
    "hidden_scatter": _scatter(32, 8, 8, 2),
    "hidden_gradient": _hidden(128, 64, 128, 8, 3),
    "hidden_finish": _hidden(128, 64, 64, 8, 3),
}
SINGLE: dict[str, Tiles] = {
    "forward": _forward(32, 128, 32, 8, 2),
    "forward_moments": _forward(32, 128, 32, 8, 3),
    "logit_gradient": _logits(64, 32, 8, 2),
    "weight_gradient": _weights(64, 16, 8, 3),
    "hidden_scatter": _scatter(32, 8, 8, 2, bk=32),
    "hidden_gradient": _hidden(64, 32, 64, 8, 2),
    "hidden_finish": _hidden(64, 32, 64, 8, 2),
}
VECTOR: dict[str, Tiles] = {
    "target_logit": Tiles({"BN": 8, "BD": 256}, 4, 2),
    "epilogue": Tiles({"BN": 32}, 4, 1),
    "power_loss": Tiles({"BN": 1024}, 4, 1),
    "histogram": Tiles({"BN": 1024, "PER_PROGRAM": 16}, 4, 1),
    "shares": Tiles({"BN": 32}, 4, 1),
    "fill": Tiles({"BN": 1024}, 4, 1, programs=4),
    "block_sums": Tiles({"BD": 64}, 4, 1),
}
# In place of these defaults: more stages where there is shared memory for them, and what does not spill on sm_10x.
_SHORTER = dict.fromkeys(("forward", "forward_moments"), _forward(64, 128, 64, 8, 3))
_DEEPER = {"hidden_scatter": _scatter(32, 8, 8, 3)}
DIFFERENT: dict[str, dict[str, Tiles]] = {
    "sm_80": _DEEPER,
    "sm_90": {**_DEEPER, "forward": _forward(128, 256, 64, 8, 4)},  # 128 x 128 reads level 2 faster than it can
    **{arch: {**_DEEPER, **_SHORTER} for arch in ("sm_100", "sm_103")},
}

# What the tuner tries for half precision beside the defaults. TMA and FLATTEN need compute capability 9. None spills
# without bias and soft-cap, with which `launch.Head` takes the defaults.
CANDIDATES: dict[str, list[Tiles]] = {
    "forward": [
        _forward(128, 128, 64, 8, 4, TMA=1),
        _forward(128, 128, 128, 8, 3, TMA=1),
        _forward(256, 128, 64, 8, 4, TMA=1),
        _forward(128, 128, 64, 8, 4),
        _forward(64, 128, 64, 8, 4),
    ],
    "logit_gradient": [
        _logits(64, 64, 4, 3), _logits(64, 64, 4, 4, 2), _logits(64, 128, 4, 3), _logits(128, 64, 8, 4),
        _logits(128, 128, 8, 3),
    ],
    "weight_gradient": [
        _weights(128, 64, 8, 3), _weights(128, 64, 8, 5, 2), _weights(256, 32, 8, 5), _weights(64, 64, 4, 5, 3),
    ],
    "hidden_scatter": [
        _scatter(32, 16, 8, 3), _scatter(32, 4, 8, 3), _scatter(32, 8, 8, 2), _scatter(32, 8, 8, 4),
        _scatter(16, 16, 4, 3, 3),
    ],
    "hidden_gradient": [_hidden(128, 64, 128, 8, 4), _hidden(64, 64, 128, 4, 4), _hidden(128, 64, 64, 4, 3)],
    "hidden_finish": [_hidden(128, 64, 64, 4, 3), _hidden(64, 64, 128, 4, 4)],
}  # fmt: skip
# Tiles whose accumulators fit the registers of Hopper's warp groups, and spill elsewhere.
HOPPER: dict[str, list[Tiles]] = {
    "forward": [
        *(_forward(128, 256, 64, 8, 4, TMA=1, **more) for more in ({}, {"GROUP": 32}, {"GROUP": 8}, {"RUN": 8})),
        _forward(128, 256, 64, 8, 3, TMA=1, FLATTEN=1),
        _forward(128, 256, 64, 8, 3, TMA=1),
        _forward(128, 256, 64, 8, 3),
        _forward(256, 128, 64, 8, 3),
        _forward(128, 128, 64, 8, 3),
        _forward(128, 128, 64, 4, 3),
        _forward(128, 128, 64, 4, 3, TMA=1),
    ],
    "logit_gradient": [_logits(128, 64, 4, 3), _logits(128, 64, 4, 3, 2)],
    "weight_gradient": [_weights(256, 64, 8, 5)],
    "hidden_scatter": [_scatter(16, 8, 8, 3, 2)],
}

_trial: dict[str, Tiles] = {}


@cache
def architecture(device: torch.device) -> str:
    """sm_90 for an H100 or H200, say; sm_80 where the kernels are interpreted."""
    return "sm_{}{}".format(*torch.cuda.get_device_capability(device)) if device.type == "cuda" else "sm_80"


def tiles(kernel: str, dtype: torch.dtype, device: torch.device) -> Tiles:
    chosen = {} if dtype == torch.float32 else tuned().get(architecture(device), {})
    return _trial.get(kernel) or chosen.get(kernel) or plain(kernel, dtype, device)


def plain(kernel: str, dtype: torch.dtype, device: torch.device) -> Tiles:
    """The defaults, which do without the copy engine."""
    return VECTOR.get(kernel) or (SINGLE if dtype == torch.float32 else half(architecture(device)))[kernel]


def in_order(dtype: torch.dtype, device: torch.device, bare: bool) -> bool:
    """Whether forwards walk the vocabulary in the order of `order`: the copy engine takes it as it lies.

    bare: without bias and soft-cap, see `launch.Head.tiles`.
    """
    chosen = ((tiles if bare else plain)(kernel, dtype, device) for kernel in ("forward", "forward_moments"))
    return not any(found.constexprs["TMA"] for found in chosen)


def half(arch: str) -> dict[str, Tiles]:
    """The defaults for half precision on an architecture."""
    return {**HALF, **DIFFERENT.get(arch, {})}


def candidates(kernel: str, arch: str) -> list[Tiles]:
    """What the tuner may choose beside the default, on an architecture."""
    listed = [*CANDIDATES[kernel], *(HOPPER.get(kernel, []) if arch == "sm_90" else [])]
    capable = int(arch.removeprefix("sm_")) >= 90
    return [tiles for tiles in listed if capable or not tiles.constexprs.get("TMA")]


@contextmanager
def trying(**chosen: Tiles) -> Iterator[None]:
    """Within: these tiles for these kernels, whatever the type and the device. For the tuner and for tests."""
    before = dict(_trial)
    _trial.update(chosen)
    try:
        yield
    finally:
        _trial.clear()
        _trial.update(before)


def as_json(table: dict[str, dict[str, Tiles]]) -> str:
    """architecture -> kernel -> tiles, as `tuned.json` holds it."""
    plain = {arch: {kernel: asdict(tiles) for kernel, tiles in row.items()} for arch, row in table.items()}
    return json.dumps(plain, indent=1) + "\n"


@cache
def tuned() -> dict[str, dict[str, Tiles]]:
    """architecture -> kernel -> tiles, of `tuned.json`; empty without one."""
    if not TABLE.exists():
        return {}
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return {arch: {kernel: Tiles(**fields) for kernel, fields in row.items()} for arch, row in found.items()}
