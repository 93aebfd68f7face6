"""Host side of the kernels: arguments, grids and workspaces; one function a step, no host sync.

scan      -> logprob, lse, log masses, statistics          (forward, epilogue)
route     -> lists of rows by block, shares                (histogram, lists)
gradients -> dH, dW, dbias                                 (logit_gradient, weight_gradient, hidden_*)
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from dftcore.kernels.budget import BINS, BINS_PER_OCTAVE, BLOCK, cutoff_bin, octave_of
from dftcore.kernels.config import tiles
from dftcore.kernels.epilogue import epilogue_kernel
from dftcore.kernels.forward import forward_kernel
from dftcore.kernels.hidden_gradient import hidden_gradient_kernel
from dftcore.kernels.hidden_scatter import hidden_scatter_kernel
from dftcore.kernels.histogram import histogram_kernel
from dftcore.kernels.lists import lists_kernel
from dftcore.kernels.logit_gradient import logit_gradient_kernel
from dftcore.kernels.plan import Plan, make_plan, panel_count, shares_plan
from dftcore.kernels.weight_gradient import weight_gradient_kernel

BLOCKS_PER_SPLIT = 32  # of the forward: enough programs to fill a device in many waves, few enough partial sums
WORKSPACE_SHARE = 0.02  # of all pairs whose logit gradients are held at once: half that share of the fp32 logits
LOG2E = 1.4426950408889634


@dataclass(frozen=True)
class Head:
    """The inputs of the loss: hidden [N, D], weight [V, D], bias [V] or None, targets [N], and the final transform."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    targets: Tensor
    softcap: float | None
    temperature: float

    @property
    def blocks(self) -> int:
        return triton.cdiv(self.weight.shape[0], BLOCK)

    def logit_arguments(self, inner: int) -> dict[str, object]:
        return {
            "V": self.weight.shape[0],
            "D": self.hidden.shape[1],
            "stride_hn": self.hidden.stride(0),
            "stride_hd": self.hidden.stride(1),
            "stride_wv": self.weight.stride(0),
            "stride_wd": self.weight.stride(1),
            "softcap": float(self.softcap or 1.0),
            "inv_temperature": 1.0 / self.temperature,
            "HAS_BIAS": self.bias is not None,
            "SOFTCAP": self.softcap is not None,
            "EVEN_D": self.hidden.shape[1] % inner == 0,
        }


@dataclass(frozen=True)
class Scan:
    """logprob, lse [N] fp32 (0 where ignored); log_mass [blocks, N]; rows [N], count [1] int32; statistics [N] or
    [0] when not asked for."""

    logprob: Tensor
    lse: Tensor
    log_mass: Tensor
    rows: Tensor
    count: Tensor
    entropy: Tensor
    top1: Tensor
    sum_p2: Tensor


def scan(head: Head, ignore_index: int, moments: bool, top1: bool) -> Scan:
    rows_total, splits = head.hidden.shape[0], triton.cdiv(head.blocks, BLOCKS_PER_SPLIT)
    rows, count = _compact(head.targets, ignore_index)

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=head.hidden.device)

    log_mass, maximum, total = empty(head.blocks, rows_total), empty(splits, rows_total), empty(splits, rows_total)
    first, square = (empty(splits, rows_total), empty(splits, rows_total)) if moments else (maximum, maximum)
    target_logit = torch.full_like(maximum[0], torch.nan)  # stays NaN for a target outside the vocabulary
    logprob, lse = torch.zeros_like(target_logit), torch.zeros_like(target_logit)
    entropy, sum_p2 = (torch.zeros_like(lse), torch.zeros_like(lse)) if moments else (empty(0), empty(0))
    top = torch.zeros_like(lse) if top1 else empty(0)
    chosen, small = tiles("forward", head.hidden.dtype), tiles("epilogue", head.hidden.dtype)
    group = chosen.constexprs["GROUP"]
    row_tiles = triton.cdiv(triton.cdiv(rows_total, chosen.constexprs["BM"]), group) * group
    with _on(head.hidden):
        forward_kernel[(row_tiles * splits,)](
            head.hidden, head.weight, head.bias if head.bias is not None else head.weight, head.targets, rows, count,
            log_mass, target_logit, maximum, total, first, square,
            N=rows_total, splits=splits, MOMENTS=moments,
            **head.logit_arguments(chosen.constexprs["BK"]), **chosen.launch,
        )  # fmt: skip
        epilogue_kernel[(triton.cdiv(rows_total, small.constexprs["BN"]),)](
            rows, count, target_logit, maximum, total, first, square, logprob, lse, entropy, top, sum_p2,
            rows_total, splits, MOMENTS=moments, TOP1=top1, **small.launch,
        )  # fmt: skip
    return Scan(logprob, lse, log_mass, rows, count, entropy, top, sum_p2)


@dataclass(frozen=True)
class Upstream:
    """What reaches the logits, [N] fp32 in units of scale [1] = 2^octave: grad = g / temperature, rest = 1 - p."""

    grad: Tensor
    rest: Tensor
    scale: Tensor


def upstream(head: Head, logprob: Tensor, grad_logprob: Tensor, ignore_index: int) -> Upstream:
    grad = torch.where(head.targets != ignore_index, grad_logprob.float(), 0.0) / head.temperature
    octave = octave_of(grad)
    return Upstream(grad * (-octave).exp2(), -torch.expm1(logprob), octave.exp2().reshape(1))


def route(head: Head, found: Scan, up: Upstream, error_budget: float) -> tuple[Tensor, Tensor, Tensor]:
    """lists [blocks, N] int32, their counts [blocks] int32, and shares [panels, N, BLOCK] in the inputs' type."""
    rows_total, device = head.hidden.shape[0], head.hidden.device
    offset = up.grad.abs().log2() - found.lse * LOG2E
    counts = torch.zeros(BINS, dtype=torch.int32, device=device)
    lists = torch.empty(head.blocks, rows_total, dtype=torch.int32, device=device)
    lengths = torch.empty(head.blocks, dtype=torch.int32, device=device)
    panels = panel_count(head.blocks)
    shares = torch.zeros(panels, rows_total, BLOCK, dtype=head.hidden.dtype, device=device)
    bins = {"BLOCK": BLOCK, "BINS": BINS, "PER_OCTAVE": BINS_PER_OCTAVE}
    chosen, listing = tiles("histogram", head.hidden.dtype), tiles("lists", head.hidden.dtype)
    grid = (
        triton.cdiv(rows_total, chosen.constexprs["BN"]),
        triton.cdiv(head.blocks, chosen.constexprs["PER_PROGRAM"]),
    )
    with _on(head.hidden):
        histogram_kernel[grid](
            found.log_mass, found.rows, found.count, head.targets, offset, counts, rows_total, head.blocks,
            **bins, **chosen.launch,
        )  # fmt: skip
        allowed = error_budget * 2.0 * (up.grad * up.rest).abs().double().sum()
        cutoff = cutoff_bin(counts, allowed).reshape(1)
        lists_kernel[(head.blocks,)](
            found.log_mass, found.rows, found.count, head.targets, up.grad, offset, cutoff,
            lists, lengths, shares, rows_total, head.weight.shape[0], **bins, **listing.launch,
        )  # fmt: skip
    return lists, lengths, shares


def gradients(
    head: Head, found: Scan, up: Upstream, error_budget: float, need_hidden: bool, need_weight: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """dH, dW, dbias in their inputs' types; None where not needed (dbias goes with dW)."""
    exact = error_budget == 0.0
    step = _Steps(head, found, up)
    tile_rows = tiles("logit_gradient", head.hidden.dtype).constexprs["BM"]
    if exact:
        plan = make_plan(found.rows, found.count.expand(head.blocks).contiguous(), tile_rows, WORKSPACE_SHARE)
    else:
        lists, lengths, shares = route(head, found, up, error_budget)
        plan = make_plan(lists, lengths, tile_rows, WORKSPACE_SHARE)
        panels = shares_plan(found.rows, found.count, shares.shape[0])
    spread = None if exact or not need_weight else step.spread(shares, panels)
    grad_weight = torch.empty_like(head.weight) if need_weight else None
    grad_bias = torch.empty_like(head.bias) if need_weight and head.bias is not None else None
    shape, device = head.hidden.shape, head.hidden.device
    partial = torch.zeros(shape, dtype=torch.float32 if exact else torch.int32, device=device) if need_hidden else None
    workspace = torch.empty(plan.slot_count, BLOCK, dtype=head.hidden.dtype, device=device)
    with _on(head.hidden):
        for group in plan.groups:
            step.logit_gradient(plan, group, workspace)
            if grad_weight is not None:
                step.weight_gradient(plan, group[2:], workspace, spread, up.scale, grad_weight, grad_bias)
            if partial is not None and exact:
                step.add_hidden(plan, group[2:], workspace, partial)
            elif partial is not None:
                step.scatter_hidden(plan, group, workspace, partial)
    if partial is None:
        return None, grad_weight, grad_bias
    if exact:
        return partial.to(head.hidden.dtype), grad_weight, grad_bias
    return step.finish_hidden(panels, shares, partial), grad_weight, grad_bias


class _Steps:
    """The launches of `gradients`, with what they share."""

    def __init__(self, head: Head, found: Scan, up: Upstream) -> None:
        self.head, self.found, self.up = head, found, up
        self.dtype = head.hidden.dtype
        self.row_bound = 2.0 * (up.grad * up.rest).abs()
        self.column_bound = torch.linalg.vector_norm(head.weight, ord=torch.inf, dim=0).float()

    def _programs(self, per_processor: int) -> tuple[int]:
        if not self.head.hidden.is_cuda:
            return (2,)
        return (per_processor * torch.cuda.get_device_properties(self.head.hidden.device).multi_processor_count,)

    def logit_gradient(self, plan: Plan, group: Tensor, workspace: Tensor) -> None:
        head, chosen = self.head, tiles("logit_gradient", self.dtype)
        logit_gradient_kernel[self._programs(1)](
            head.hidden, head.weight, head.bias if head.bias is not None else head.weight, head.targets,
            self.up.grad, self.up.rest, self.found.lse, plan.lists, plan.list_stride, plan.counts, plan.slots,
            plan.tile_block, plan.tile_start, group, workspace,
            **head.logit_arguments(chosen.constexprs["BK"]), **chosen.launch,
        )  # fmt: skip

    def weight_gradient(
        self, plan: Plan, group: Tensor, gradient: Tensor, spread: tuple[Tensor, Tensor] | None, scale: Tensor,
        out: Tensor, out_bias: Tensor | None,
    ) -> None:  # fmt: skip
        hidden, chosen = self.head.hidden, tiles("weight_gradient", self.dtype)
        spread_weight, spread_bias = spread if spread is not None else (scale, scale)
        weight_gradient_kernel[self._programs(1)](
            gradient, hidden, plan.lists, plan.list_stride, plan.counts, plan.slots, group, spread_weight, spread_bias,
            scale, out, out_bias if out_bias is not None else out, out.shape[0], hidden.shape[1],
            hidden.stride(0), hidden.stride(1), out.stride(0), out.stride(1),
            SPREAD=spread is not None, HAS_BIAS=out_bias is not None, **chosen.launch,
        )  # fmt: skip

    def spread(self, shares: Tensor, panels: Plan) -> tuple[Tensor, Tensor]:
        """sum_i share[b, i] h_i [blocks, D], and sum_i share[b, i] [blocks]."""
        out = torch.empty(self.head.blocks, self.head.hidden.shape[1], device=shares.device, dtype=torch.float32)
        out_bias, one = torch.empty_like(out[:, 0]), torch.ones_like(self.up.scale)
        with _on(shares):
            self.weight_gradient(panels, panels.groups[0, 2:], shares, None, one, out, out_bias)
        return out, out_bias

    def scatter_hidden(self, plan: Plan, group: Tensor, gradient: Tensor, fixed: Tensor) -> None:
        weight, chosen = self.head.weight, tiles("hidden_scatter", self.dtype)
        hidden_scatter_kernel[self._programs(2)](
            gradient, weight, plan.lists, plan.list_stride, plan.counts, plan.slots, plan.tile_block, plan.tile_start,
            group, self.row_bound, self.column_bound, fixed, *weight.shape, *weight.stride(), **chosen.launch,
        )  # fmt: skip

    def add_hidden(self, plan: Plan, group: Tensor, gradient: Tensor, out: Tensor) -> None:
        self._hidden(plan, group, gradient, self.head.weight, self.column_bound, out, finish=False)

    def finish_hidden(self, panels: Plan, shares: Tensor, fixed: Tensor) -> Tensor:
        out = torch.zeros_like(fixed, dtype=self.dtype)
        sums = block_sums(self.head.weight)
        with _on(shares):
            self._hidden(panels, panels.groups[0, 2:], shares, sums, fixed, out, finish=True)
        return out

    def _hidden(
        self, plan: Plan, group: Tensor, gradient: Tensor, weight: Tensor, fixed: Tensor, out: Tensor, finish: bool
    ) -> None:
        chosen = tiles("hidden_gradient", self.dtype)
        size = chosen.constexprs
        grid = (triton.cdiv(out.shape[0], size["BM"]) * triton.cdiv(out.shape[1], size["BD"]),)
        hidden_gradient_kernel[grid](
            gradient, weight, self.found.rows, self.found.count, plan.slots, group, self.row_bound, self.column_bound,
            fixed, self.up.scale, out, *weight.shape, *weight.stride(), FINISH=finish, **chosen.launch,
        )  # fmt: skip


def block_sums(weight: Tensor) -> Tensor:
    """weight [V, D] -> the sum of each block's rows [blocks, D], in weight's type."""
    whole = weight.shape[0] // BLOCK * BLOCK
    sums = weight[:whole].unflatten(0, (-1, BLOCK)).sum(1, dtype=torch.float32)
    if whole < weight.shape[0]:
        sums = torch.cat((sums, weight[whole:].sum(0, keepdim=True, dtype=torch.float32)))
    return sums.to(weight.dtype)


def _compact(targets: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Positions of the valid tokens, in order, padded to [N] int32; and how many there are, [1] int32."""
    valid = targets != ignore_index
    total = targets.shape[0]
    position = torch.where(valid, valid.cumsum(0) - 1, total)
    rows = torch.zeros(total + 1, dtype=torch.int32, device=targets.device)
    rows.scatter_(0, position, torch.arange(total, dtype=torch.int32, device=targets.device))
    return rows[:total], valid.sum(dtype=torch.int32).reshape(1)


def _on(tensor: Tensor) -> AbstractContextManager[object]:
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
