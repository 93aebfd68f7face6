"""The entropy of each row's largest logits, by a second look at the vocabulary that never holds the logits.

The back-ends keep no logits, so the largest ones cost one more product of hidden states and head (2 NDV, beside the
2 NDV of their forward), in plain PyTorch on any device, and a selection per slice. Memory: one slice of logits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dftcore.losses.reference import compute_dtype, transform_logits

ROWS, COLUMNS = 1024, 4096  # of one slice: 16 MiB of fp32


@torch.no_grad()
def top_entropy(
    hidden: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    temperature: float = 1.0,
    k: int = 20,
) -> Tensor:
    """Entropy, in nats, of the softmax over the k largest logits of each row: hidden [..., D], weight [V, D] -> [...].

    It is at most log k; a vocabulary smaller than k is taken whole.
    """
    flat, dtype = hidden.reshape(-1, hidden.shape[-1]), compute_dtype(hidden, weight, bias)
    found = []
    with torch.autocast(hidden.device.type, enabled=False):  # which would round the logits
        for rows in flat.split(ROWS):
            best = rows.new_empty(rows.shape[0], 0, dtype=dtype)
            for start in range(0, weight.shape[0], COLUMNS):
                part = slice(start, start + COLUMNS)
                logits = rows.to(dtype) @ weight[part].to(dtype).T
                if bias is not None:
                    logits += bias[part].to(dtype)
                candidates = torch.cat((best, transform_logits(logits, softcap, temperature)), -1)
                best = candidates.topk(min(k, candidates.shape[1]), -1).values
            logprob = best.log_softmax(-1)
            found.append(-torch.xlogy(logprob.exp(), logprob.exp()).sum(-1))
    entropy = torch.cat(found) if found else flat.new_empty(0, dtype=dtype)
    return entropy.reshape(hidden.shape[:-1])
