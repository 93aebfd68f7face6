"""Host side of the backward: one function a step, no host sync.

gradients -> dH, dW, dbias

    routed: histogram, shares, block_sums; for each group fill, logit_gradient, weight_gradient, hidden_scatter;
            shares again (they would cost the workspace its room), hidden_gradient
    exact : for each group logit_gradient, weight_gradient, hidden_gradient
"""

import torch
import triton
from torch import Tensor

from dftcore.kernels.block_sums import block_sums_kernel
from dftcore.kernels.budget import BLOCK
from dftcore.kernels.fill import fill_kernel
from dftcore.kernels.hidden_gradient import hidden_gradient_kernel
from dftcore.kernels.hidden_scatter import hidden_scatter_kernel
from dftcore.kernels.launch import Head, Scan
from dftcore.kernels.logit_gradient import logit_gradient_kernel
from dftcore.kernels.plan import Plan, make_plan, memory, shares_plan, words_per_row
from dftcore.kernels.routes import Upstream, cut_of, shares_of
from dftcore.kernels.weight_gradient import weight_gradient_kernel

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


def gradients(
    head: Head, found: Scan, up: Upstream, error_budget: float, need_hidden: bool, need_weight: bool
) -> Gradients:
    """dH, dW, dbias in their inputs' types; None where not needed (dbias goes with dW).

    `head` has its vocabulary in the order of the scan unless the error budget is 0.
    """
    grad_weight = torch.empty_like(head.weight) if need_weight else None
    grad_bias = torch.empty_like(head.bias) if need_weight and head.bias is not None else None
    with head.on_device():
        if error_budget == 0.0:
            grad_hidden = _exact(Steps(head, found, up), need_hidden, grad_weight, grad_bias)
        else:
            grad_hidden = _routed(Steps(head, found, up), error_budget, need_hidden, grad_weight, grad_bias)
    return grad_hidden, grad_weight, grad_bias


def _exact(step: "Steps", need_hidden: bool, grad_weight: Tensor | None, grad_bias: Tensor | None) -> Tensor | None:
    head, found = step.head, step.found
    counts = found.count.expand(head.blocks).contiguous()
    plan = make_plan(found.rows, counts, step.rows, step.tile_rows, step.slots(exact=True))
    workspace = step.workspace(plan, exact=True)
    out = torch.zeros(head.hidden.shape, dtype=step.dtype, device=workspace.device) if need_hidden else None
    low = torch.zeros_like(out) if out is not None and step.dtype != torch.float32 else None
    for index, group in enumerate(plan.groups):
        step.logit_gradient(plan, group, workspace)
        if grad_weight is not None:
            step.weight_gradient(plan, group[2:], workspace, None, step.up.scale, grad_weight, grad_bias)
        if out is not None:
            step.add_hidden(group[2:], workspace, out, low, last=index == len(plan.groups) - 1)
    return out


def _routed(
    step: "Steps", error_budget: float, need_hidden: bool, grad_weight: Tensor | None, grad_bias: Tensor | None
) -> Tensor | None:
    head, found, up = step.head, step.found, step.up
    cut = cut_of(head, found, up, error_budget)
    counts = torch.zeros(head.blocks, dtype=torch.int32, device=cut.device)
    shares = shares_of(head, found, up, cut, counts)
    spread = step.spread(shares) if grad_weight is not None else None
    del shares
    fixed = step.fixed() if need_hidden else None
    plan = make_plan(None, counts, step.rows, step.tile_rows, step.slots(exact=False))
    workspace = step.workspace(plan, exact=False)
    for group in plan.groups:
        step.fill(plan, group[2:], cut)
        step.logit_gradient(plan, group, workspace)
        if grad_weight is not None:
            step.weight_gradient(plan, group[2:], workspace, spread, up.scale, grad_weight, grad_bias, head.order)
        if fixed is not None:
            step.scatter_hidden(plan, group, workspace, fixed)
    del workspace, plan, spread
    return None if fixed is None else step.finish_hidden(shares_of(head, found, up, cut), fixed)


class Fixed:
    """The fixed-point dH [N, words], the bounds that give its unit, and the sums of the weights' blocks."""

    def __init__(self, step: "Steps") -> None:
        (vocab, dim), device = step.head.weight.shape, step.head.hidden.device
        size = step.head.tiles("block_sums").constexprs["BD"]
        self.sum = torch.zeros(step.rows, words_per_row(dim), dtype=torch.int64, device=device)
        # Integers hold no NaN: where a logit gradient is not finite, the unit is NaN, and so is the row's dH.
        bound = 2.0 * (step.up.grad * step.up.rest).abs()
        self.row_bound = torch.where(step.found.lse.isfinite(), bound, torch.nan)
        self.weight_sums = torch.empty(step.head.blocks, dim, dtype=step.dtype, device=device)
        largest = torch.zeros(dim, dtype=torch.int32, device=device)
        block_sums_kernel[(step.head.blocks, triton.cdiv(dim, size))](
            step.head.weight, step.head.order, self.weight_sums, largest, vocab, dim, *step.head.weight.stride(),
            BLOCK=BLOCK, **step.head.tiles("block_sums").launch,
        )  # fmt: skip
        self.column_bound = largest.view(torch.float32)


class Steps:
    """The launches of `gradients`, with what they share."""

    def __init__(self, head: Head, found: Scan, up: Upstream) -> None:
        self.head, self.found, self.up = head, found, up
        self.dtype, self.rows = head.hidden.dtype, head.hidden.shape[0]
        self.tile_rows = head.tiles("logit_gradient").constexprs["BM"]

    def slots(self, exact: bool) -> int:
        return memory(self.rows, *self.head.weight.shape[::-1], self.dtype.itemsize, exact).slots

    def workspace(self, plan: Plan, exact: bool) -> Tensor:
        return torch.empty(self.slots(exact), BLOCK, dtype=self.dtype, device=plan.counts.device)

    def fixed(self) -> Fixed:
        return Fixed(self)

    def _programs(self, per_processor: int) -> tuple[int]:
        if not self.head.hidden.is_cuda:
            return (2,)
        return (per_processor * torch.cuda.get_device_properties(self.head.hidden.device).multi_processor_count,)

    def fill(self, plan: Plan, group: Tensor, cut: Tensor) -> None:
        found, chosen = self.found, self.head.tiles("fill")
        fill_kernel[self._programs(chosen.programs)](
            found.log_mass, found.rows, found.count, self.head.targets, self.up.offset, cut, plan.slots, group,
            plan.lists, self.rows, BLOCK=BLOCK, **chosen.launch,
        )  # fmt: skip

    def logit_gradient(self, plan: Plan, group: Tensor, workspace: Tensor) -> None:
        head, chosen = self.head, self.head.tiles("logit_gradient")
        logit_gradient_kernel[self._programs(chosen.programs)](
            head.hidden, head.weight, head.bias if head.bias is not None else head.weight,
            head.order if head.order is not None else self.found.rows, head.targets,
            self.up.grad, self.up.rest, self.found.lse, plan.lists, plan.list_starts, plan.counts, plan.slots,
            plan.tile_block, plan.tile_start, group, workspace,
            stride_hn=head.hidden.stride(0), stride_hd=head.hidden.stride(1),
            **head.logit_arguments(chosen.constexprs["BK"]), **chosen.launch,
        )  # fmt: skip

    def weight_gradient(
        self, plan: Plan, group: Tensor, gradient: Tensor, spread: tuple[Tensor, Tensor] | None, scale: Tensor,
        out: Tensor, out_bias: Tensor | None, order: Tensor | None = None,
    ) -> None:  # fmt: skip
        hidden, chosen = self.head.hidden, self.head.tiles("weight_gradient")
        spread_weight, spread_bias = spread if spread is not None else (scale, scale)
        weight_gradient_kernel[self._programs(chosen.programs)](
            gradient, hidden, plan.lists, plan.list_starts, plan.counts, plan.slots, group, spread_weight, spread_bias,
            scale, order if order is not None else self.found.rows,
            out, out_bias if out_bias is not None else out, out.shape[0], hidden.shape[1],
            hidden.stride(0), hidden.stride(1), out.stride(0), out.stride(1),
            SPREAD=spread is not None, ORDER=order is not None, HAS_BIAS=out_bias is not None, **chosen.launch,
        )  # fmt: skip

    def spread(self, shares: Tensor) -> tuple[Tensor, Tensor]:
        """sum_i share[b, i] h_i [blocks, D], and sum_i share[b, i] [blocks]; not in fp16, whose range it may pass."""
        dtype = torch.float32 if self.dtype == torch.float16 else self.dtype
        out = torch.empty(self.head.blocks, self.head.hidden.shape[1], device=shares.device, dtype=dtype)
        out_bias, one = torch.empty_like(out[:, 0]), torch.ones_like(self.up.scale)
        panels = shares_plan(self.found.rows, self.found.count, shares.shape[0])
        self.weight_gradient(panels, panels.groups[0, 2:], shares, None, one, out, out_bias)
        return out, out_bias

    def scatter_hidden(self, plan: Plan, group: Tensor, gradient: Tensor, fixed: Fixed) -> None:
        weight, chosen = self.head.weight, self.head.tiles("hidden_scatter")
        hidden_scatter_kernel[self._programs(chosen.programs)](
            gradient, weight, self.head.order, plan.lists, plan.list_starts, plan.counts, plan.slots,
            plan.tile_block, plan.tile_start, group, fixed.row_bound, fixed.column_bound, fixed.sum,
            *weight.shape, fixed.sum.shape[1], *weight.stride(), BM=self.tile_rows, **chosen.launch,
        )  # fmt: skip

    def add_hidden(self, group: Tensor, gradient: Tensor, out: Tensor, low: Tensor | None, last: bool) -> None:
        self._hidden(group, gradient, self.head.weight, None, out, low, last)

    def finish_hidden(self, shares: Tensor, fixed: Fixed) -> Tensor:
        out = torch.zeros(self.head.hidden.shape, dtype=self.dtype, device=shares.device)
        panels = shares_plan(self.found.rows, self.found.count, shares.shape[0])
        self._hidden(panels.groups[0, 2:], shares, fixed.weight_sums, fixed, out, None, last=True)
        return out

    def _hidden(
        self, group: Tensor, gradient: Tensor, weight: Tensor, fixed: Fixed | None, out: Tensor, low: Tensor | None,
        last: bool,
    ) -> None:  # fmt: skip
        chosen = self.head.tiles("hidden_gradient" if fixed is None else "hidden_finish")
        size = chosen.constexprs
        grid = (triton.cdiv(out.shape[0], size["BM"]) * triton.cdiv(out.shape[1], size["BD"]),)
        scale = self.up.scale
        row_bound, column_bound, words = (
            (scale, scale, self.head.targets) if fixed is None else (fixed.row_bound, fixed.column_bound, fixed.sum)
        )
        hidden_gradient_kernel[grid](
            gradient, weight, self.found.rows, self.found.count, group, row_bound, column_bound, words, scale,
            out, out if low is None else low, *weight.shape, self.rows, words.shape[-1], *weight.stride(),
            FINISH=fixed is not None, LOW=low is not None, LAST=last, **chosen.launch,
        )  # fmt: skip
