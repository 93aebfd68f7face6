"""An order of the vocabulary under which a row's softmax falls into few blocks; torch only, no host sync.

A routed backward pays for every block that holds mass of a row. In a tokenizer's own order, the tokens that often
carry mass are strewn over all blocks. Sorted by their logit at the mean hidden state they share the first blocks, and
what is left of the differences between rows lies along the states' principal direction, by which each GROUP blocks
are sorted among themselves. On hidden states of a real model a third as many pairs are kept, at a smaller error.

Any order gives the same loss, to rounding, and gradients within the error budget; this one only makes them cheap. To
make it and to gather W by it costs the same for few rows as for many, so for few it is not made.
"""

import torch
from torch import Tensor

from dftcore.kernels.budget import BLOCK

FEWEST_ROWS = 2048
SAMPLE = 1024  # states looked at
GROUP = 8  # blocks
_ITERATIONS = 2  # of the power method, which need not converge


def pays(rows: int) -> bool:
    """Whether for so many rows, N of them, the order is worth making."""
    return rows >= FEWEST_ROWS


def vocabulary_order(hidden: Tensor, rows: Tensor, count: Tensor | int, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[V] int64: the vocabulary entries in the order to take them in; the same for the same inputs.

    hidden [N, D]; rows [at least 1]: which of them count, in its first `count` entries; weight [V, D], bias [V]. Inputs
    that are not finite give some order too.
    """
    evenly = torch.arange(SAMPLE, device=rows.device) * count // SAMPLE
    states = hidden[rows[evenly]].float()
    mean = states.mean(0)
    centred = states - mean
    direction = centred.index_select(0, centred.square().sum(-1).argmax(0, keepdim=True))[0]
    with torch.autocast(hidden.device.type, enabled=False):
        for _ in range(_ITERATIONS):
            direction = centred.T @ (centred @ torch.nn.functional.normalize(direction, dim=0))
        direction = torch.nn.functional.normalize(direction, dim=0)
        level, side = (weight @ torch.stack((mean, direction), -1).to(weight.dtype)).unbind(-1)
    if bias is not None:
        level = level + bias
    order = level.argsort(stable=True, descending=True)
    whole = order.shape[0] // (GROUP * BLOCK) * (GROUP * BLOCK)
    groups = order[:whole].view(-1, GROUP * BLOCK)
    groups = groups.gather(1, side[groups].argsort(dim=1, stable=True))
    return torch.cat((groups.flatten(), order[whole:]))


def places(order: Tensor) -> Tensor:
    """order [V] of any integer type -> [V] int64: where in it each vocabulary entry stands."""
    found = torch.empty_like(order, dtype=torch.int64)
    found[order.long()] = torch.arange(order.shape[0], device=order.device)
    return found
