"""Tile sizes of every kernel, from a table: half-precision inputs run on tensor cores, fp32 inputs on ordinary FMAs.

No autotuning: some kernels add to their outputs in place, and a first call should not depend on the machine's mood.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Tiles:
    """constexprs: the kernel's tile sizes; warps and stages: how it is compiled."""

    constexprs: dict[str, int]
    warps: int
    stages: int

    @property
    def launch(self) -> dict[str, int]:
        return {**self.constexprs, "num_warps": self.warps, "num_stages": self.stages}


HALF: dict[str, Tiles] = {
    "forward": Tiles({"BM": 128, "BV": 128, "BK": 64, "GROUP": 16}, 8, 3),
    "logit_gradient": Tiles({"BM": 128, "BV": 128, "BK": 64}, 8, 3),
    "weight_gradient": Tiles({"BV": 128, "BD": 128, "BR": 64}, 8, 3),
    "hidden_scatter": Tiles({"BM": 128, "BV": 128, "BK": 64, "BD": 64}, 8, 2),
    "hidden_gradient": Tiles({"BM": 128, "BV": 128, "BK": 64, "BD": 128}, 8, 3),
}
SINGLE: dict[str, Tiles] = {
    "forward": Tiles({"BM": 32, "BV": 128, "BK": 32, "GROUP": 16}, 8, 2),
    "logit_gradient": Tiles({"BM": 64, "BV": 128, "BK": 32}, 8, 2),
    "weight_gradient": Tiles({"BV": 128, "BD": 64, "BR": 16}, 8, 2),
    "hidden_scatter": Tiles({"BM": 64, "BV": 128, "BK": 32, "BD": 64}, 8, 2),
    "hidden_gradient": Tiles({"BM": 64, "BV": 128, "BK": 32, "BD": 64}, 8, 2),
}
VECTOR: dict[str, Tiles] = {
    "epilogue": Tiles({"BN": 256}, 4, 1),
    "histogram": Tiles({"BN": 1024, "PER_PROGRAM": 16}, 4, 1),
    "lists": Tiles({"BN": 1024}, 4, 1),
}


def tiles(kernel: str, dtype: torch.dtype) -> Tiles:
    if kernel in VECTOR:
        return VECTOR[kernel]
    return (SINGLE if dtype == torch.float32 else HALF)[kernel]
