"""The head's rows in the order in which they are walked: as they lie, or as `kernels.order` sorts them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dftcore.kernels.order import places


@dataclass(frozen=True)
class Vocabulary:
    """weight [V, D], bias [V] or None; order [V] int64: which entry is walked when, [0] for 0, 1, 2, ...

    Everywhere else "columns" are places in this order.
    """

    weight: Tensor
    bias: Tensor | None
    order: Tensor

    def __len__(self) -> int:
        return self.weight.shape[0]

    def rows(self, columns: slice | Tensor) -> Tensor:
        """[k, D], in the weight's type."""
        entries = self._entries(columns)
        return self.weight[entries] if isinstance(entries, slice) else self.weight.index_select(0, entries)

    def biases(self, columns: slice | Tensor, dtype: torch.dtype) -> Tensor | None:
        return None if self.bias is None else self.bias[self._entries(columns)].to(dtype)

    def places(self, targets: Tensor) -> Tensor:
        """Vocabulary entries [n] -> their columns [n]."""
        return places(self.order)[targets] if self.order.numel() else targets

    def part(self, out: Tensor, columns: slice) -> Tensor | None:
        """Where these entries lie in out [V, ...], if they lie one behind the other."""
        return None if self.order.numel() else out[columns]

    def put(self, out: Tensor, columns: slice, values: Tensor) -> None:
        """values, one for each column, to where these entries lie in out [V, ...]."""
        out[self._entries(columns)] = values.to(out.dtype)

    def _entries(self, columns: slice | Tensor) -> slice | Tensor:
        return self.order[columns] if self.order.numel() else columns
