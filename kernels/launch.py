"""Host side of the forward: arguments, grids and workspaces; no host sync.

scan -> logprob, lse, log masses, statistics          (target_logit, forward, epilogue)
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from dftcore.kernels.budget import BLOCK
from dftcore.kernels.config import Tiles, plain, tiles
from dftcore.kernels.epilogue import epilogue_kernel
from dftcore.kernels.forward import forward_kernel
from dftcore.kernels.order import pays, places, vocabulary_order
from dftcore.kernels.target_logit import target_logit_kernel


@dataclass(frozen=True)
class Head:
    """The inputs of the loss: hidden [N, D], weight [V, D], bias [V] or None, targets [N], and the final transform.

    order [V] int32: which row of weight lies at a column; targets are columns then. None: row v lies at column v.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    targets: Tensor
    softcap: float | None
    temperature: float
    order: Tensor | None = None

    def ordered(self, order: Tensor) -> "Head":
        """The same with its vocabulary in this order; a target outside the vocabulary becomes -1.

        Which targets are ignored is not to be told from these any more.
        """
        vocab = order.shape[0]
        inside = (self.targets >= 0) & (self.targets < vocab)
        targets = torch.where(inside, places(order)[self.targets.clamp(0, vocab - 1)], -1)
        return replace(self, targets=targets, order=order)

    @property
    def blocks(self) -> int:
        return triton.cdiv(self.weight.shape[0], BLOCK)

    def tiles(self, kernel: str) -> Tiles:
        """With a bias or a soft-cap the defaults: both take registers that what the tuner chose may not have."""
        bare = self.bias is None and self.softcap is None
        return (tiles if bare else plain)(kernel, self.hidden.dtype, self.hidden.device)

    def on_device(self) -> AbstractContextManager[object]:
        return torch.cuda.device(self.hidden.device) if self.hidden.is_cuda else nullcontext()

    @property
    def arguments(self) -> dict[str, object]:
        return {
            "V": self.weight.shape[0],
            "D": self.hidden.shape[1],
            "stride_wv": self.weight.stride(0),
            "stride_wd": self.weight.stride(1),
            "softcap": float(self.softcap or 1.0),
            "inv_temperature": 1.0 / self.temperature,
            "HAS_BIAS": self.bias is not None,
            "SOFTCAP": self.softcap is not None,
        }

    def logit_arguments(self, inner: int) -> dict[str, object]:
        """Of the kernels that multiply out a tile of logits, BK of the hidden size at a time."""
        return {**self.arguments, "ORDER": self.order is not None, "EVEN_D": self.hidden.shape[1] % inner == 0}


@dataclass(frozen=True)
class Scan:
    """logprob [N] fp32, lse [N] fp32 in units of ln 2 (0 where ignored); log_mass [blocks, N] fp16 and the order [V]
    int32 that its blocks are of, both of length 0 unless asked for; rows [N], count [1] int32; statistics [N] or [0]
    when not asked for."""

    logprob: Tensor
    lse: Tensor
    log_mass: Tensor
    rows: Tensor
    count: Tensor
    order: Tensor
    entropy: Tensor
    top1: Tensor
    sum_p2: Tensor


def scan(head: Head, ignore_index: int, masses: bool, moments: bool, top1: bool) -> Scan:
    rows_total, small, dots = head.hidden.shape[0], head.tiles("epilogue"), head.tiles("target_logit")
    rows, count = _compact(head.targets, ignore_index)
    hidden: Tensor | TensorDescriptor = head.hidden.index_select(0, rows)  # valid rows one behind the other
    weight: Tensor | TensorDescriptor = head.weight
    kernel = "forward_moments" if moments else "forward"
    chosen = head.tiles(kernel)
    if chosen.constexprs["TMA"] and not (fits_boxes(hidden) and fits_boxes(weight)):
        chosen = plain(kernel, hidden.dtype, hidden.device)
    size = chosen.constexprs
    splits = triton.cdiv(triton.cdiv(head.weight.shape[0], size["BV"]), size["RUN"])

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=head.hidden.device)

    log_mass = torch.empty(head.blocks if masses else 0, rows_total, dtype=torch.float16, device=head.hidden.device)
    maximum, total = empty(splits, rows_total), empty(splits, rows_total)
    first, square = (empty(splits, rows_total), empty(splits, rows_total)) if moments else (maximum, maximum)
    target_logit = empty(rows_total)
    logprob, lse = torch.zeros_like(target_logit), torch.zeros_like(target_logit)
    entropy, sum_p2 = (torch.zeros_like(lse), torch.zeros_like(lse)) if moments else (empty(0), empty(0))
    top = torch.zeros_like(lse) if top1 else empty(0)
    bias = head.bias if head.bias is not None else head.targets  # any pointer, where there is none
    with head.on_device():
        target_logit_kernel[(triton.cdiv(rows_total, dots.constexprs["BN"]),)](
            hidden, weight, bias, head.targets, rows, count, target_logit, **head.arguments, **dots.launch
        )
    if size["TMA"]:
        hidden = TensorDescriptor.from_tensor(hidden, [size["BM"], size["BK"]])
        weight = TensorDescriptor.from_tensor(weight, [size["BV"], size["BK"]])
    order = torch.arange(head.weight.shape[0] if masses else 0, dtype=torch.int32, device=head.hidden.device)
    if masses and pays(rows_total) and not size["TMA"]:  # the copy engine takes the vocabulary as it lies
        order = vocabulary_order(head.hidden, rows, count, head.weight, head.bias).int()
        head = head.ordered(order)
    row_tiles = triton.cdiv(triton.cdiv(rows_total, size["BM"]), size["GROUP"]) * size["GROUP"]
    with head.on_device():
        forward_kernel[(row_tiles * splits,)](
            hidden, weight, bias, order if head.order is not None else rows, head.targets, rows, count,
            log_mass, maximum, total, first, square,
            N=rows_total, splits=splits, MASSES=masses, MOMENTS=moments, BLOCK=BLOCK,
            **head.logit_arguments(size["BK"]), **chosen.launch,
        )  # fmt: skip
        epilogue_kernel[(triton.cdiv(rows_total, small.constexprs["BN"]),)](
            rows, count, target_logit, maximum, total, first, square, logprob, lse, entropy, top, sum_p2,
            rows_total, splits, MOMENTS=moments, TOP1=top1, SPLITS=triton.next_power_of_2(splits), **small.launch,
        )  # fmt: skip
    return Scan(logprob, lse, log_mass, rows, count, order, entropy, top, sum_p2)


def fits_boxes(tensor: Tensor) -> bool:
    """Whether the copy engine can take it: compute capability 9, contiguous rows that start on 16 bytes."""
    capable = not tensor.is_cuda or torch.cuda.get_device_capability(tensor.device) >= (9, 0)
    aligned = tensor.data_ptr() % 16 == 0 and tensor.stride(0) * tensor.element_size() % 16 == 0
    return capable and aligned and tensor.stride(1) == 1 and tensor.stride(0) >= tensor.shape[1]


def _compact(targets: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Positions of the valid tokens, in order, padded to [N] int32; and how many there are, [1] int32."""
    valid = targets != ignore_index
    total = targets.shape[0]
    position = torch.where(valid, valid.cumsum(0) - 1, total)
    rows = torch.zeros(total + 1, dtype=torch.int32, device=targets.device)
    rows.scatter_(0, position, torch.arange(total, dtype=torch.int32, device=targets.device))
    return rows[:total], valid.sum(dtype=torch.int32).reshape(1)
