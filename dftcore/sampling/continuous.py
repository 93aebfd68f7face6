"""transformers' continuous batching: a request that ends makes room for the next one, keys and values in pages.

Samples are repeatable in distribution only: the library draws from one generator for all requests, in an order that
depends on what is scheduled together. It runs on a GPU and on a CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dftcore.sampling.huggingface import load_model
from dftcore.sampling.interface import Decoding, Generation, Request, context_of, generation, within_context

_PAGE = 256  # tokens of one page of keys and values, the library's default
_CPU_PAGES = 256  # at most; left alone, the library takes over half of the machine's memory
_CPU_BATCH_TOKENS = 1024  # prompt tokens of one pass


class ContinuousSampler:
    """A model in memory and its decoding options."""

    def __init__(
        self, directory: Path, tokenizer: Any, decoding: Decoding, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        logging.getLogger("transformers").setLevel(logging.ERROR)
        self.model = load_model(directory, device, dtype)
        self.tokenizer, self.decoding, self.device = tokenizer, decoding, device

    @torch.no_grad()  # not inference_mode: the library works in a thread of its own, on tensors made in this one
    def sample(self, requests: Sequence[Request]) -> list[Generation]:
        """One completion for each request. Raises RuntimeError when the library loses or fails one."""
        prompts = self.tokenizer([request.prompt for request in requests], add_special_tokens=False)["input_ids"]
        return within_context(
            prompts,
            self.decoding.max_new_tokens,
            context_of(self.model.config),
            lambda places, room: self._sample([prompts[p] for p in places], requests[0].seed, room),
        )

    def _sample(self, prompts: list[list[int]], seed: int, room: list[int]) -> list[Generation]:
        from transformers import ContinuousBatchingConfig, GenerationConfig

        sampled = self.decoding.temperature > 0.0
        outputs = self.model.generate_batch(
            prompts,
            generation_config=GenerationConfig(
                max_new_tokens=self.decoding.max_new_tokens,
                do_sample=sampled,
                temperature=self.decoding.temperature if sampled else None,
                top_p=self.decoding.top_p if sampled else None,
                top_k=0 if sampled else None,
                eos_token_id=list(self.decoding.stop.ids),
                pad_token_id=self.tokenizer.pad_token_id,
            ),
            continuous_batching_config=ContinuousBatchingConfig(seed=seed % 2**63, **self._room(prompts)),
        )
        failed = [output.error for output in outputs.values() if output.error is not None]
        if failed or len(outputs) != len(prompts):
            raise RuntimeError(f"continuous batching lost {len(prompts) - len(outputs)} requests; {failed[:1]}")
        # The library orders its outputs as the prompts, and lets them pass the model's context.
        return [
            generation(self.tokenizer, output.generated_tokens[:count], self.decoding.stop)
            for output, count in zip(outputs.values(), room, strict=True)
        ]

    def _room(self, prompts: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Pages and tokens to make room for: all of a GPU, of a CPU's memory what these requests need."""
        if self.device.type != "cpu":
            return {}
        pages = sum(-(-(len(prompt) + self.decoding.max_new_tokens) // _PAGE) for prompt in prompts)
        return {"num_blocks": min(pages, _CPU_PAGES), "max_batch_tokens": _CPU_BATCH_TOKENS}
