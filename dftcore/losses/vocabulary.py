"""The head's rows in the order in which they are walked: as they lie, or as `kernels.order` sorts them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Vocabulary:
    """weight [V, D], bias [V] or None; order [V] int64: which entry is walked when, None for 0, 1, 2, ...

    Everywhere else "columns" are places in this order.
    """

    weight: Tensor
    bias: Tensor | None
    order: Tensor | None

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
        if self.order is None:
            return targets
        place = torch.empty_like(self.order)
        place[self.order] = torch.arange(len(self), device=self.order.device)
        return place[targets]

    def put(self, out: Tensor, columns: slice, values: Tensor) -> None:
        """values, one for each column, to where these entries lie in out [V, ...]."""
        out[self._entries(columns)] = values.to(out.dtype)

    def _entries(self, columns: slice | Tensor) -> slice | Tensor:
        return columns if self.order is None else self.order[columns]
