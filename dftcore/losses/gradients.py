"""The backward of the torch back-end: from the gradient of logits, slice by slice, to dH, dW and dbias.

    dz_iv = g_i (1[v = y] - softmax_iv)      dH = dz W      dW = dz^T H      dbias = sum_i dz_i

The softmax is that of the forward where it was kept (`from_softmax`), else computed again for the pairs of row and
block that the routes keep (`from_routes`). Letters: n valid rows, V vocabulary, D hidden size, B blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dftcore.kernels.budget import BLOCK
from dftcore.losses.routing import Routes, blocks, slabs
from dftcore.losses.scan import ROWS, Transform, chunks, slice_width
from dftcore.losses.vocabulary import Vocabulary


class Buffer:
    """Memory for one matrix after another: on a CPU, fresh pages for each would cost a tenth of the backward."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.flat = torch.empty(0, dtype=dtype, device=device)

    def shaped(self, rows: int, columns: int) -> Tensor:
        if self.flat.numel() < rows * columns:
            self.flat = self.flat.new_empty(rows * columns)
        return self.flat[: rows * columns].view(rows, columns)

    def of(self, matrix: Tensor) -> Tensor:
        """The matrix in this type: itself, or a copy that is good until the next."""
        return matrix if matrix.dtype == self.flat.dtype else self.shaped(*matrix.shape).copy_(matrix)


class Gradients:
    """dH, dW and dbias of the n valid rows; each block of dW has one owner and is rounded once, dH is summed in fp32.

    With `share` [n, B], every column of a dropped block has the logit gradient -share, so its part of dH is
    -share (sum of the block's W), and each of its rows of dW gets -share^T H: two GEMMs of 1/BLOCK of a dense one.
    `narrow`: for dH, dz is rounded to the inputs' type and multiplied in it; dW would not bear that beside its own
    rounding.
    """

    def __init__(
        self, hidden: Tensor, vocabulary: Vocabulary, dtype: torch.dtype, needed: Sequence[bool],
        share: Tensor | None, narrow: bool,
    ) -> None:  # fmt: skip
        need_hidden, need_weight, need_bias = needed
        weight, bias = vocabulary.weight, vocabulary.bias
        self.vocabulary, self.share, self.dtype, self.narrow = vocabulary, share, dtype, narrow
        self.hidden = hidden.new_zeros(hidden.shape, dtype=dtype) if need_hidden else None
        self.grad_weight = weight.new_empty(weight.shape) if need_weight else None
        self.grad_bias = bias.new_empty(bias.shape) if bias is not None and need_bias else None
        self.product = Buffer(hidden.dtype if narrow else dtype, hidden.device)
        self.part, self.block_gradient = (Buffer(dtype, hidden.device) for _ in range(2))
        self.weight_sums = (
            weight.new_zeros(share.shape[1], weight.shape[1], dtype=dtype)
            if share is not None and need_hidden
            else None
        )
        self.spread: Tensor | None = None
        if share is not None and need_weight:
            self.spread = hidden.new_zeros(share.shape[1], hidden.shape[1], dtype=dtype)
            for chunk in chunks(hidden.shape[0], ROWS):
                self.spread.addmm_(share[chunk].T, hidden[chunk].to(dtype))

    def begin(self, columns: slice) -> None:
        self.columns = columns
        self.rows = self.vocabulary.rows(columns)
        self.block = self.rows.to(self.dtype)
        self.block_bias = self.vocabulary.biases(columns, self.dtype)

    def add_dense(self, states: Tensor, dz: Tensor) -> None:
        """states [n, D] of all rows; dz [n, columns]: their logit gradient."""
        if self.grad_bias is not None:
            self.vocabulary.put(self.grad_bias, self.columns, dz.sum(0))
        if self.hidden is not None and not self.narrow:
            self.hidden.addmm_(dz, self.block)
        elif self.hidden is not None:
            self.hidden.add_(self._product(dz))
        if self.grad_weight is not None:
            out = self.vocabulary.part(self.grad_weight, self.columns)
            if out is not None and out.dtype == dz.dtype:
                torch.mm(dz.T, states, out=out)
            else:
                out = self.block_gradient.shaped(dz.shape[1], states.shape[1])
                self.vocabulary.put(self.grad_weight, self.columns, torch.mm(dz.T, states, out=out))

    def add(self, row: Tensor, states: Tensor, dz: Tensor) -> None:
        """row [m]: indices of the rows that keep this block; states [m, D], dz [m, block]: as in `add_dense`."""
        assert self.share is not None
        index = self.columns.start // BLOCK
        if self.grad_bias is not None:
            self.vocabulary.put(self.grad_bias, self.columns, dz.sum(0) - self.share[:, index].sum())
        if self.hidden is not None and self.weight_sums is not None:
            self.weight_sums[index] = self.block.sum(0)
            self.hidden.index_add_(0, row, self.part.of(self._product(dz)))
        if self.grad_weight is not None and self.spread is not None:
            out = self.block_gradient.shaped(dz.shape[1], states.shape[1])
            torch.addmm(self.spread[index], dz.T, states, beta=-1.0, out=out)
            self.vocabulary.put(self.grad_weight, self.columns, out)

    def _product(self, dz: Tensor) -> Tensor:
        """dz [m, columns] -> its part of dH [m, D], good until the next."""
        block = self.rows if self.narrow else self.block
        return torch.mm(dz.to(block.dtype), block, out=self.product.shaped(dz.shape[0], block.shape[1]))

    def finish(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        if self.hidden is not None and self.share is not None and self.weight_sums is not None:
            self.hidden.addmm_(self.share, self.weight_sums, alpha=-1.0)
        return self.hidden, self.grad_weight, self.grad_bias


def from_softmax(
    grads: Gradients, softmax: Tensor, states: Tensor, target: Tensor, logp: Tensor, upstream: Tensor
) -> None:
    """softmax [n, V], 0 at the targets; states [n, D], the vectors [n]."""
    wide, at_target = states.to(grads.dtype), -torch.expm1(logp) * upstream  # 1 - p without cancellation near p = 1
    for columns in chunks(len(grads.vocabulary), slice_width(*states.shape)):
        grads.begin(columns)
        dz = softmax[:, columns] * -upstream.unsqueeze(-1)
        hit = _inside(target, columns)
        dz[hit, target[hit] - columns.start] = at_target[hit]
        grads.add_dense(wide, dz)


def from_routes(
    grads: Gradients,
    routes: Routes,
    states: Tensor,
    target: Tensor,
    logp: Tensor,
    log_z: Tensor,
    upstream: Tensor,
    transform: Transform,
) -> None:
    """Add what the routes keep, logits computed again; states [n, D], the vectors [n], target: places."""
    vocabulary, dtype = grads.vocabulary, grads.dtype

    def logit_gradient(z: Tensor, row: Tensor | slice, hit: Tensor, column: Tensor) -> Tensor:
        """Of logits z [m, k], in place; row: which [m], hit, column: where among them the targets sit."""
        slope = transform.cap_slope(z) if transform.softcap is not None else None
        dz = z.sub_(log_z[row].unsqueeze(-1)).exp_().neg_()
        dz[hit, column] = -torch.expm1(logp[row][hit])  # 1 - p without cancellation near p = 1
        dz.mul_(upstream[row].unsqueeze(-1))
        return dz if slope is None else dz.mul_(slope)

    gathered = Buffer(states.dtype, states.device)
    widened, logits = (Buffer(dtype, states.device) for _ in range(2))
    for first, stop in slabs(routes.whole, slice_width(*states.shape) // BLOCK):
        columns = slice(first * BLOCK, min(stop * BLOCK, len(vocabulary)))
        grads.begin(columns)
        hit = _inside(target, columns)
        out = logits.shaped(states.shape[0], columns.stop - columns.start)
        wide = widened.of(states)
        z = transform.logits(wide, grads.block, grads.block_bias, out)
        grads.add_dense(wide, logit_gradient(z, slice(None), hit, target[hit] - columns.start))
    for columns, row, hit, column in blocks(routes.keep & ~routes.whole.to(target.device), target, len(vocabulary)):
        if routes.whole[columns.start // BLOCK]:
            continue
        grads.begin(columns)
        chosen = torch.index_select(states, 0, row, out=gathered.shaped(row.shape[0], states.shape[1]))
        wide = widened.of(chosen)
        out = logits.shaped(row.shape[0], columns.stop - columns.start)
        z = transform.logits(wide, grads.block, grads.block_bias, out)
        grads.add(row, wide, logit_gradient(z, row, hit, column))


def _inside(target: Tensor, columns: slice) -> Tensor:
    """Which of the targets [n] lie in these columns."""
    return ((target >= columns.start) & (target < columns.stop)).nonzero().squeeze(-1)
