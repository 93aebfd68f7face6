"""The back-ends by name, refused in one line where they cannot run, and loaded."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch

from dftcore.errors import UserError
from dftcore.sampling.interface import Decoding, Sampler

Backend = Literal["hf", "continuous", "vllm"]
# Completions in one call. A batch of hf is computed side by side; the others schedule what fits by themselves.
BATCH_SIZES: dict[Backend, int] = {"hf": 32, "continuous": 512, "vllm": 2048}


def refuse_absent(backend: Backend) -> None:
    """Raises UserError for a back-end that cannot run here, before anything is loaded."""
    if backend != "vllm":
        return
    if find_spec("vllm") is None:
        raise UserError("--backend: vllm is not installed; pip install -e '.[vllm]', or choose hf or continuous")
    if not torch.cuda.is_available():
        from dftcore.sampling.vllm import is_built_for_cpu

        if not is_built_for_cpu():
            raise UserError("--backend: this vllm needs a CUDA device and there is none; choose hf or continuous")


def load_sampler(
    backend: Backend, directory: Path, tokenizer: Any, decoding: Decoding, *, device: torch.device, dtype: torch.dtype
) -> Sampler:
    """The back-end with the model of `directory` in memory."""
    if backend == "vllm":
        from dftcore.sampling.vllm import VLLMSampler

        return VLLMSampler(directory, tokenizer, decoding, device=device, dtype=dtype)
    if backend == "continuous":
        from dftcore.sampling.continuous import ContinuousSampler

        return ContinuousSampler(directory, tokenizer, decoding, device=device, dtype=dtype)
    from dftcore.sampling.huggingface import HuggingFaceSampler

    return HuggingFaceSampler(directory, tokenizer, decoding, device=device, dtype=dtype)
