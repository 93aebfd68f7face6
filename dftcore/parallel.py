"""How one model is spread over ranks and fitted into memory: FSDP2, replicas, recomputation, compilation, offload.

Nothing here changes what is learned beyond rounding. With S = ranks / replicas, parameter rows are sharded over S ranks
and the shards are held `replicas` times (HSDP): gathers stay within a replica, gradients are averaged over all ranks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard

from dftcore.errors import UserError, one_line
from dftcore.options import option

if TYPE_CHECKING:
    from dftcore.distributed import World
    from dftcore.models import LanguageModelLoss


@dataclass(frozen=True)
class ScaleOptions:
    replicas: int = option(
        1, "copies of the sharded model (HSDP), such as one a node; the number of ranks is a multiple of it", minimum=1
    )
    reshard: bool = option(True, "free gathered layers between forward and backward: less memory, more traffic")
    activation_checkpointing: bool = option(
        False, "keep only each layer's input and recompute the rest: far less memory, about a third more time"
    )
    compile: bool = option(False, "torch.compile each decoder layer: faster steps after some minutes of compilation")
    cpu_offload: bool = option(
        False, "parameters, gradients and AdamW live in CPU memory, the optimizer runs there: slow, saves GPU memory"
    )


def check_replicas(options: ScaleOptions) -> None:
    """Refuse a number of replicas that the ranks of this launch cannot be dealt to. Raises UserError."""
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks % options.replicas:
        divisors = [str(count) for count in range(1, ranks + 1) if ranks % count == 0]
        raise UserError(
            f"--replicas: {options.replicas} copies cannot share {ranks} rank(s) evenly; give one of"
            f" {', '.join(divisors)}"
        )


def shard(
    module: LanguageModelLoss, world: World, compute_dtype: torch.dtype, options: ScaleOptions = ScaleOptions()
) -> None:
    """FSDP2, each decoder layer a group, the rest (embeddings, norm, head) the root group of `module`.

    The loss is the forward of `module`, so its head is gathered whole around the loss and reduce-scattered once.
    Parameters keep their type; compute is in `compute_dtype`, gradients are reduced in fp32. Layers are compiled and
    recomputed in place, so parameters keep their names. A model that `stays_whole` is left as it is.
    """
    if options.activation_checkpointing:
        recompute_activations(module)
    if options.compile:
        for layer in module.layers:
            layer.compile()
    if stays_whole(module.parameters(), world.size, compute_dtype, options.cpu_offload):
        return
    policy = MixedPrecisionPolicy(param_dtype=compute_dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    offload = CPUOffloadPolicy(pin_memory=world.device.type == "cuda") if options.cpu_offload else OffloadPolicy()
    mesh = _mesh(world)
    for layer in module.layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy, reshard_after_forward=options.reshard, offload_policy=offload)
    fully_shard(module, mesh=mesh, mp_policy=policy, offload_policy=offload)


def reshard(module: nn.Module) -> None:
    """Back to this rank's rows, in every layer: a pass without a backward leaves gathered at least the root."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def stays_whole(parameters: Iterable[Tensor], ranks: int, compute_dtype: torch.dtype, offload: bool) -> bool:
    """Whether one process holds all of it in the type it computes in: FSDP2 would only copy it back and forth."""
    return ranks == 1 and not offload and all(parameter.dtype == compute_dtype for parameter in parameters)


def recompute_activations(module: LanguageModelLoss) -> None:
    """Let each decoder layer keep only its input and run again in the backward pass. Raises UserError."""
    model = module.language_model
    # transformers renamed it; the old name still works, with a warning.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False})
    except ValueError as error:
        raise UserError(f"--activation-checkpointing: {one_line(error)}") from None


def parameter_device(world: World, options: ScaleOptions) -> torch.device:
    """Where this rank's rows live between uses."""
    return torch.device("cpu") if options.cpu_offload else world.device


def _mesh(world: World) -> DeviceMesh:
    if world.replicas == 1:
        return init_device_mesh(world.device.type, (world.size,), mesh_dim_names=("shard",))
    return init_device_mesh(world.device.type, (world.replicas, world.shards), mesh_dim_names=("replicate", "shard"))
