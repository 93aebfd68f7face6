"""Peak bytes of a real training step, beside the plan of it.

On a GPU what its allocator says, of a model large enough that cuBLAS's workspaces do not matter; elsewhere of a small
one, counted tensor by tensor.

Run under torchrun with more ranks: `torchrun --nproc-per-node 2 tests/measured_step.py '{"recompute": true}'`; the
first rank prints both as JSON.
"""

import json
import sys
from contextlib import nullcontext

import torch

from dftcore import lora, memory, models
from dftcore.data.batching import Batch
from dftcore.distributed import World, local_tensor, process_group
from dftcore.objectives import Objective
from dftcore.optim import OptimizerOptions, adamw
from dftcore.parallel import ScaleOptions, recompute_activations, shard

CUDA = torch.cuda.is_available()
SCALE = 4 if CUDA else 1
TOKENS, VOCABULARY = 384 * SCALE, 3001 * SCALE
BACKEND = "triton" if CUDA else "torch"


def build(tied: bool, rank: int | None, dtype: torch.dtype) -> models.LanguageModelLoss:
    from transformers import LlamaConfig

    shape = {"hidden_size": 192 * SCALE, "intermediate_size": 640 * SCALE, "vocab_size": VOCABULARY}
    heads = {"num_attention_heads": 6, "num_key_value_heads": 2}
    config = LlamaConfig(**shape, **heads, num_hidden_layers=6, tie_word_embeddings=tied)
    if rank is None:
        model = models.build(config)
    else:
        model = lora.add_adapters(models.build(config, dtype), lora.LoraOptions(rank), torch.float32)
    return models.LanguageModelLoss(model, Objective("dft"), BACKEND)


def measure(world: World, *, dtype="float32", tied=False, rank=None, recompute=False, reshard=True) -> tuple[int, int]:
    """(measured, planned) peak bytes of this rank, over two passes and an update."""
    compute = getattr(torch, dtype)
    before = torch.cuda.memory_allocated() if CUDA else 0
    module = build(tied, rank, compute)
    shard(module, world, compute, ScaleOptions(reshard=reshard, activation_checkpointing=recompute))
    module.to_empty(device=world.device)
    module.language_model.tie_weights()
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            local_tensor(tensor).normal_(0.0, 0.02)
    optimizer = adamw(module, OptimizerOptions())
    states = [value for state in optimizer.state.values() for value in state.values()]
    ids = torch.arange(TOKENS)[None] % VOCABULARY
    boundaries = torch.tensor([0, TOKENS], dtype=torch.int32)
    batch = Batch(ids, torch.arange(TOKENS)[None], ids + 1, torch.zeros_like(ids), None, boundaries, TOKENS, TOKENS)
    batch = batch.to(world.device)
    counted = memory.LiveBytes([local_tensor(tensor) for tensor in (*module.parameters(), *states)])
    if CUDA:
        torch.cuda.reset_peak_memory_stats()
    with nullcontext() if CUDA else counted:
        for _ in range(2):
            module(batch, float(TOKENS))[0].backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    plain = build(tied, rank, compute)
    if recompute:
        recompute_activations(plain)
    traced = memory.trace(plain, 1, TOKENS, compute, padded=False)
    job = memory.Job(1, TOKENS, compute, world.shards, reshard=reshard, loss_backend=BACKEND)
    peak = torch.cuda.max_memory_allocated() - before if CUDA else counted.peak
    return peak, memory.foretell(build(tied, rank, compute), traced, job).peak


if __name__ == "__main__":
    with process_group() as world:
        found = measure(world, **json.loads(sys.argv[1]))
        if world.is_first:
            print(json.dumps(found))
