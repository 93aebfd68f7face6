"""The memory that one rank of a training run needs, foretold from the model before anything is allocated.

    plan = foretell(module, traced, job)        # bytes by kind, at the moment of the peak
    print(table([plan, ...]))

What lives between steps follows from shapes: parameters, gradients and AdamW's two moments, sharded by rows, on the
device or offloaded to CPU memory, where a checkpoint that is being written has a copy of the state besides. What a
pass adds is traced: decoder layers run forward and backward on fake tensors, which have shapes and no memory, while
every tensor alive is counted; so it follows the architecture, the attention in use, recomputation and frozen weights.
FSDP2's buffers are those of `parallel.shard`; a model that stays whole has none. Three moments can be a pass's peak:

    loss        the root group gathered, all activations, the loss's workspace and the head's gradient
    layer       the same activations, two layers gathered (one ahead), a layer's temporaries and its gradient, in the
                compute type and in fp32 on its way to the other ranks
    end         the root group's gradient, likewise

Not counted: the CUDA context, NCCL's buffers, fragmentation. Layers that torch.compile fuses need less than said here.
"""

from __future__ import annotations

import math
import os
import re
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dftcore.errors import UserError
from dftcore.kernels.budget import default_error_budget
from dftcore.kernels.order import SAMPLE, pays
from dftcore.models import LanguageModelLoss
from dftcore.parallel import stays_whole
from dftcore.tables import markdown_table

ACCURACY = 0.15  # the plan's, as the tests hold it to measured runs
GIB = 1 << 30
_VOCABULARY_BLOCK = 128  # of the loss: it keeps a few numbers for each token and block of the vocabulary


@dataclass(frozen=True)
class Job:
    """What a plan depends on beside the model: rows x tokens of a pass, and how the run is spread."""

    rows: int
    tokens: int
    dtype: torch.dtype  # of the computation
    shards: int  # ranks that share one copy of the parameters
    replicas: int = 1
    reshard: bool = True
    offload: bool = False
    loss_backend: str = "triton"
    error_budget: float | None = None
    anchored: bool = False  # a frozen model of the same shapes runs beside the trained one
    async_save: bool = True

    @property
    def ranks(self) -> int:
        return self.shards * self.replicas


@dataclass(frozen=True)
class Trace:
    """Bytes of the decoder's activations in a pass: kept for the backward, and passing within one layer."""

    saved: int
    passing: int


@dataclass(frozen=True)
class Plan:
    """Bytes on one rank's device, by kind, and in `host` those in CPU memory.

    `activations` are kept from the forward to the backward; loss, layer and end are what each of those moments adds.
    """

    parameters: int
    gradients: int
    optimizer: int
    gathered: int
    reference: int
    activations: int
    loss: int
    layer: int
    end: int
    host: int

    @property
    def peak(self) -> int:
        passing = max(self.activations + max(self.loss, self.layer), self.end)
        return self.parameters + self.gradients + self.optimizer + self.gathered + self.reference + passing

    @property
    def moment(self) -> str:
        """Which of the moments is the peak."""
        moments = {"loss": self.activations + self.loss, "layer": self.activations + self.layer, "end": self.end}
        return max(moments, key=lambda name: moments[name])


def verdict(planned: int, available: int) -> str:
    """Of so many bytes where so many are."""
    if planned > (1 + ACCURACY) * available:
        return "does not fit"
    return "fits" if planned <= available / (1 + ACCURACY) else "may not fit"


class LiveBytes(TorchDispatchMode):
    """Counts, after every operation, the bytes of `tensors` and of all tensors made inside that are still alive."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        # A real run works out shapes on fake tensors here and there; those take no memory.
        self.fake = any(isinstance(tensor, FakeTensor) for tensor in tensors)
        self.storages: dict[int, Any] = {}
        for tensor in tensors:
            self._add(tensor)
        self.peak = self.now

    @property
    def now(self) -> int:
        alive = (reference() for reference in list(self.storages.values()))
        return sum(storage.nbytes() for storage in alive if storage is not None)  # FSDP2 frees by resizing to 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if DTensor in types:
            return NotImplemented  # its local operations come by on their own
        out = func(*args, **(kwargs or {}))
        for found in tree_leaves(out):
            if isinstance(found, Tensor):
                self._add(found)
        self.peak = max(self.peak, self.now)
        return out

    def _add(self, tensor: Tensor) -> None:
        if isinstance(tensor, FakeTensor) != self.fake or (tensor.is_meta and not self.fake):
            return
        storage = tensor.untyped_storage()
        key = id(storage)
        if key not in self.storages:
            self.storages[key] = weakref.ref(storage, lambda _: self.storages.pop(key, None))


def trace(module: LanguageModelLoss, rows: int, tokens: int, dtype: torch.dtype, padded: bool) -> Trace:
    """Run `module`'s decoder, on the meta device and used up by this, on fake tensors.

    Layers that are alike are run once and twice, and extrapolated to their number.
    """
    decoder, layers = module.language_model.base_model, list(module.layers)
    alike = len({_numel(layer.parameters()) for layer in layers}) == 1
    with FakeTensorMode():
        weights = _materialize(module, dtype)
        ids = torch.zeros(rows, tokens, dtype=torch.int64)
        positions = torch.arange(tokens).expand(rows, tokens)
        mask = torch.ones_like(ids) if padded else None
        traces = {}
        for count in (1, 2) if alike and len(layers) > 2 else (len(layers),):
            decoder.layers = nn.ModuleList(layers[:count])
            with LiveBytes(weights) as live:
                base = live.now
                inputs = {"input_ids": ids, "position_ids": positions, "attention_mask": mask}
                hidden = decoder(**inputs, use_cache=False).last_hidden_state
                kept = live.peak = live.now
                if hidden.requires_grad:
                    hidden.backward(torch.empty_like(hidden))
                traces[count] = Trace(kept - base, live.peak - kept)
                del hidden
    if len(traces) == 1:
        return traces[len(layers)]
    return Trace(traces[1].saved + (len(layers) - 1) * (traces[2].saved - traces[1].saved), traces[2].passing)


def _materialize(module: nn.Module, dtype: torch.dtype) -> list[Tensor]:
    """Fake tensors for `module`'s, parameters in the compute type as FSDP2 gathers them; their gradients are let go."""
    made: dict[Tensor, Tensor] = {}
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if parameter not in made:
                new = nn.Parameter(torch.empty(parameter.shape, dtype=dtype), requires_grad=parameter.requires_grad)
                if new.requires_grad:
                    new.register_post_accumulate_grad_hook(lambda tensor: setattr(tensor, "grad", None))
                made[parameter] = new
            setattr(part, name, made[parameter])
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, torch.empty(buffer.shape, dtype=buffer.dtype))
    return list(made.values())


def foretell(module: LanguageModelLoss, traced: Trace, job: Job) -> Plan:
    """The plan of one rank; `module` on the meta device, in the types that it is trained in."""
    compute = job.dtype.itemsize
    parameters = list(module.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    kept = sum(_shard_bytes(parameter, job.shards) for parameter in parameters)
    gradients = sum(_shard_bytes(parameter, job.shards) for parameter in trained)
    of_layers = [_numel(layer.parameters()) for layer in module.layers]
    root = _numel(parameters) - sum(of_layers)
    whole = stays_whole(parameters, job.ranks, job.dtype, job.offload)
    gathered = 0 if whole else compute * (root + (sum(sorted(of_layers)[-2:]) if job.reshard else sum(of_layers)))
    layer_gradient = max(_numel(_trained(layer)) for layer in module.layers)
    root_gradient = _numel(trained) - sum(_numel(_trained(layer)) for layer in module.layers)
    head = module.language_model.get_output_embeddings().weight
    head_gradient = compute * head.numel() * head.requires_grad
    # A gradient until it is added to the others; FSDP2's unsharded one, and its fp32 copy that is reduced.
    on_the_way = compute if whole else compute + torch.float32.itemsize
    static = (kept, gradients, 2 * gradients)
    saved = 3 * gradients if job.async_save or not job.offload else 0  # parameters and moments, copied
    offloaded = sum(static) + job.anchored * _reference_shards(parameters, job) if job.offload else 0
    return Plan(
        *((0, 0, 0) if job.offload else static),
        gathered=gathered,
        reference=_reference(parameters, root, head, job) if job.anchored else 0,
        activations=traced.saved,
        loss=head_gradient + _loss_workspace(head, job),
        layer=head_gradient + layer_gradient * on_the_way + traced.passing,
        end=root_gradient * on_the_way,
        host=offloaded + saved,
    )


def _reference(parameters: Sequence[Tensor], root: int, head: Tensor, job: Job) -> int:
    """Bytes of the frozen model in the compute type: its shards, its root group gathered, its hidden states."""
    shards = 0 if job.offload else _reference_shards(parameters, job)
    gathered = 0 if stays_whole((), job.ranks, job.dtype, job.offload) else root
    return shards + job.dtype.itemsize * (gathered + job.rows * job.tokens * head.shape[1])


def _reference_shards(parameters: Sequence[Tensor], job: Job) -> int:
    return job.dtype.itemsize * sum(_shard_rows(parameter, job.shards) for parameter in parameters)


def _loss_workspace(head: Tensor, job: Job) -> int:
    """Bytes that the loss holds beside the head's gradient, if every token of the pass is a target."""
    rows, (vocabulary, width) = job.rows * job.tokens, head.shape
    hidden, masses = rows * width, rows * math.ceil(vocabulary / _VOCABULARY_BLOCK)
    compute = job.dtype.itemsize
    if job.loss_backend == "reference":
        return 3 * 4 * rows * vocabulary  # logits, their softmax and its gradient, fp32
    budget = default_error_budget(vocabulary, pays(rows)) if job.error_budget is None else job.error_budget
    if job.loss_backend == "torch":
        from dftcore.losses.scan import HELD_ELEMENTS, ROWS, SLICE_ELEMENTS

        chunk = min(rows, ROWS)
        columns = min(vocabulary, max(_VOCABULARY_BLOCK, SLICE_ELEMENTS // max(chunk, width)))
        weights = (2 if head.requires_grad else 1) * columns * width  # a slice's rows of W and, if there is one, of dW
        pieces = chunk * columns + weights + chunk * width  # with its logits and their states
        pieces += rows * vocabulary if rows * vocabulary <= HELD_ELEMENTS else 0  # the softmax of a small problem
        order = 16 * vocabulary + 3 * 4 * SAMPLE * width if pays(rows) and budget else 0
        return hidden * (2 * compute + 4) + 4 * 4 * masses + 4 * pieces + order
    from dftcore.kernels.plan import memory

    return memory(rows, width, vocabulary, compute, exact=not budget).peak + compute * hidden


def _shard_bytes(parameter: Tensor, shards: int) -> int:
    return _shard_rows(parameter, shards) * parameter.dtype.itemsize


def _shard_rows(parameter: Tensor, shards: int) -> int:
    """Numbers in the largest shard: FSDP2 deals the rows of dimension 0 as torch.chunk does."""
    rows = parameter.shape[0]
    return math.ceil(rows / shards) * (parameter.numel() // max(rows, 1))


def _numel(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _trained(module: nn.Module) -> list[Tensor]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def table(plans: Sequence[tuple[int, Plan]], device_bytes: int | None, host_bytes: int | None, node: int) -> str:
    """One column for each number of ranks, in GiB a rank; on a node of host_bytes are up to `node` of them."""
    kinds = {
        "parameters": "parameters",
        "gradients": "gradients",
        "optimizer": "AdamW moments",
        "gathered": "gathered layers",
        "reference": "reference model",
        "activations": "activations",
        "loss": "+ loss: its workspace, the head's gradient",
        "layer": "+ layer: its temporaries and gradients",
        "end": "or end: the gradient of embeddings and head",
        "peak": "peak",
        "host": "in CPU memory",
    }
    rows = [["GiB a GPU", *(f"{ranks} rank{'s' * (ranks > 1)}" for ranks, _ in plans)]]
    for field, name in kinds.items():
        values = [getattr(plan, field) for _, plan in plans]
        if field != "reference" or any(values):
            rows.append([name, *(f"{value / GIB:.2f}" for value in values)])
    rows.append(["reached in", *(plan.moment for _, plan in plans)])
    if device_bytes is not None:
        rows.append([f"in {device_bytes / GIB:.1f} GiB", *(verdict(plan.peak, device_bytes) for _, plan in plans)])
    if host_bytes is not None:
        name = f"in {host_bytes / GIB:.1f} GiB of CPU memory, {node} ranks a node at most"
        rows.append([name, *(verdict(min(ranks, node) * plan.host, host_bytes) for ranks, plan in plans)])
    return markdown_table(rows)


def host_bytes() -> int:
    """CPU memory that the processes of this host may take: its own, or less where a control group limits it."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError):
        group = Path("/proc/self/cgroup").read_text().partition("0::/")[2].partition("\n")[0]
        place = Path("/sys/fs/cgroup") / group
        for path in (place, *place.parents[: len(Path(group).parts)]):
            with suppress(OSError, ValueError):  # the uppermost has no such file; "max" is no number
                limits.append(int((path / "memory.max").read_text()))
    return min(limits)


def parse_bytes(text: str, option: str) -> int:
    """Bytes of `80GiB`, `141GB` or `500MiB`. Raises UserError naming `option`."""
    units = {"GiB": 1 << 30, "GB": 10**9, "MiB": 1 << 20, "MB": 10**6}
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(GiB|GB|MiB|MB)", text)
    if not match:
        raise UserError(f"{option}: {text!r} is no amount of memory; write it as 80GiB, 141GB or 500MiB")
    return int(float(match[1]) * units[match[2]])
