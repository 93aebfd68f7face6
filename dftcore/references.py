"""A reference model beside the one in training: its log-probabilities once and cached, or its whole distribution.

    documents = with_reference(documents, reference, pad_token_id, world)     # Documents.reference is filled
    anchor = Anchor(...)                                                       # hidden states and head, for asft

The log-probabilities of all targets are computed before training by all ranks together, in parts of whole documents;
each part is written whole when it is done, so that an interrupted computation goes on with the part that is missing.
Their directory is named by content: the reference's weights and configuration, the documents, the compute type.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from dftcore import models
from dftcore.data.batching import Batch
from dftcore.data.chat import load_tokenizer
from dftcore.data.documents import Documents, cache_directory
from dftcore.distributed import World, agree, barrier
from dftcore.errors import UserError
from dftcore.files import replacing
from dftcore.losses.kl import Head
from dftcore.objectives import Objective
from dftcore.parallel import ScaleOptions, parameter_device, reshard, shard
from dftcore.scoring import token_logprobs

PART = 1 << 20  # tokens, about


@dataclass(frozen=True)
class Reference:
    """A frozen model: its directory, its configuration, a digest of both, and the type it computes in."""

    directory: Path
    config: Any
    digest: str
    dtype: torch.dtype
    scale: ScaleOptions

    def load(self, module: models.LanguageModelLoss, world: World) -> None:
        """Shard and fill a module of this model."""
        offload = ScaleOptions(cpu_offload=self.scale.cpu_offload)
        shard(module, world, self.dtype, offload)
        place = parameter_device(world, offload)
        models.load_weights(module, self.directory, world.device, place, "--reference")
        module.eval().requires_grad_(False)


def find_reference(name: str, tokenizer: Any, config: Any, dtype: torch.dtype, scale: ScaleOptions) -> Reference:
    """The model that `--reference` names. Raises UserError unless it reads the same tokens as the one in training."""
    directory = models.find_model(name, "--reference")
    found = models.load_config(directory, "--reference")
    if found.vocab_size != config.vocab_size:
        raise UserError(
            f"--reference: {name} has a vocabulary of {found.vocab_size}, the model in training one of"
            f" {config.vocab_size}; give a model of the same family, such as the one that training starts from"
        )
    if load_tokenizer(str(directory), "user-assistant", option="--reference").get_vocab() != tokenizer.get_vocab():
        raise UserError(f"--reference: the tokenizer of {name} is not that of the model in training; give another")
    text = models.fingerprint(directory) + found.to_json_string()
    return Reference(directory, found, hashlib.sha256(text.encode()).hexdigest()[:32], dtype, scale)


def with_reference(documents: Documents, reference: Reference, pad_token_id: int, world: World) -> Documents:
    """The documents with the reference's log-probability of every target. All ranks call it."""
    key = json.dumps([reference.digest, documents.fingerprint, str(reference.dtype)])
    directory = cache_directory() / "references" / hashlib.sha256(key.encode()).hexdigest()[:32]
    parts = _parts(documents)
    missing = [number for number in range(len(parts)) if agree(not _path(directory, number).is_file())]
    if missing:
        _compute(documents, reference, parts, missing, directory, pad_token_id, world)
        gc.collect()  # a sharded model is full of cycles, and its memory is wanted
    return replace(documents, reference=np.concatenate([_read(_path(directory, part)) for part in range(len(parts))]))


def _parts(documents: Documents) -> list[range]:
    """Consecutive documents, about PART tokens of them each."""
    numbers = documents.offsets[:-1] // PART
    edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(documents)]
    return [range(start, stop) for start, stop in pairwise(edges)]


def _compute(
    documents: Documents,
    reference: Reference,
    parts: Sequence[range],
    missing: Sequence[int],
    directory: Path,
    pad_token_id: int,
    world: World,
) -> None:
    module = models.LanguageModelLoss(models.build(reference.config, reference.dtype, "--reference"), Objective("sft"))
    reference.load(module, world)
    with tqdm(
        total=sum(len(parts[number]) for number in missing),
        desc="reference", unit="document", dynamic_ncols=True, disable=not world.is_first,
    ) as progress:  # fmt: skip
        for number in missing:
            found = token_logprobs(module, documents, parts[number], pad_token_id, world, progress)
            if not np.isfinite(found).all():
                raise UserError(
                    f"--reference: {reference.directory} gives {int((~np.isfinite(found)).sum())} targets no finite"
                    " log-probability; its weights are damaged, or try --dtype float32"
                )
            if os.environ.get("LOCAL_RANK", "0") == "0":  # one process of each host, which may share the cache or not
                with replacing(_path(directory, number)) as temporary:
                    save_file({"logprob": found}, temporary)
    barrier()


def _path(directory: Path, part: int) -> Path:
    return directory / f"part-{part:05d}.safetensors"


def _read(path: Path) -> np.ndarray:
    try:
        return load_file(path)["logprob"]
    except (OSError, SafetensorError, KeyError):
        raise UserError(f"the cached reference {path} is damaged; remove that file to compute it again") from None


class Anchor(models.LanguageModelLoss):
    """The reference model sharded and kept: forward gives its hidden states and its head, gathered.

    They are of use until `release` gives the gathered memory back.
    """

    def __init__(self, reference: Reference, world: World) -> None:
        super().__init__(models.build(reference.config, reference.dtype, "--reference"), Objective("sft"))
        reference.load(self, world)

    @torch.no_grad()
    def forward(self, batch: Batch) -> tuple[torch.Tensor, Head]:  # type: ignore[override]
        return self._hidden(batch), self._head()

    def release(self) -> None:
        reshard(self)
