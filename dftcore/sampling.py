"""Sampling completions from a model with Hugging Face `generate`, each sample with noise of its own.

One uniform number a token, from the sample's own seed, picks the token by inverse distribution function; so a sample
does not depend on which others share its batch, except through rounding, and not at all in the same batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Request:
    prompt: str  # rendered by the chat template, special tokens included
    seed: int


@dataclass(frozen=True)
class Generation:
    """completion: text without special tokens. finish: stop (an end token was drawn) or length."""

    completion: str
    tokens: int
    finish: str


def sample_seed(run_seed: int, dataset: str, question: str, sample: int) -> int:
    """A stable digest: the same on every machine, in every order of evaluation."""
    digest = hashlib.sha256(f"{run_seed}\0{dataset}\0{question}\0{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


class HuggingFaceSampler:
    """A model in memory and its decoding options. temperature 0 takes the most likely token."""

    def __init__(
        self,
        directory: Path,
        tokenizer: Any,
        stop_ids: Sequence[int],
        *,
        device: torch.device,
        dtype: torch.dtype,
        temperature: float,
        top_p: float,
        max_new_tokens: int,
    ) -> None:
        from transformers import AutoModelForCausalLM, GenerationConfig
        from transformers.utils import logging

        logging.disable_progress_bar()
        model: Any = AutoModelForCausalLM.from_pretrained(
            directory, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
        self.model = model.to(device).eval()
        self.model.generation_config = GenerationConfig()  # its own penalties and filters would change the distribution
        self.tokenizer, self.stop_ids, self.device = tokenizer, sorted(set(stop_ids)), device
        self.temperature, self.top_p, self.max_new_tokens = temperature, top_p, max_new_tokens

    @torch.inference_mode()
    def sample(self, requests: Sequence[Request]) -> list[Generation]:
        """One completion for each request, as one left-padded batch."""
        from transformers import GenerationConfig, LogitsProcessorList

        batch = self.tokenizer(
            [request.prompt for request in requests],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        ).to(self.device)
        width = batch["input_ids"].shape[1]
        processors = LogitsProcessorList()
        if self.temperature > 0.0:
            noise = np.stack([_uniforms(request.seed, self.max_new_tokens) for request in requests], axis=1)
            processors.append(_Draw(torch.from_numpy(noise).to(self.device), width, self.temperature, self.top_p))
        out = self.model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            generation_config=GenerationConfig(
                max_new_tokens=self.max_new_tokens,
                do_sample=False,  # the processor has drawn already: what it leaves has one possible token
                eos_token_id=self.stop_ids,
                pad_token_id=self.tokenizer.pad_token_id,
            ),
            logits_processor=processors,
        )
        return [self._generation(row) for row in out[:, width:].tolist()]

    def _generation(self, tokens: list[int]) -> Generation:
        end = next((position for position, token in enumerate(tokens) if token in self.stop_ids), None)
        kept = tokens if end is None else tokens[:end]
        text = self.tokenizer.decode(kept, skip_special_tokens=True)
        return Generation(text, len(kept) + (end is not None), "length" if end is None else "stop")


class _Draw:
    """A logits processor that leaves one token: where the cumulated softmax passes the sample's uniform number."""

    def __init__(self, uniforms: Tensor, prompt_width: int, temperature: float, top_p: float) -> None:
        self.uniforms, self.prompt_width = uniforms, prompt_width
        self.temperature, self.top_p = temperature, top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        probability = torch.softmax(scores.float() / self.temperature, dim=-1)
        if self.top_p < 1.0:
            ordered, order = probability.sort(dim=-1, descending=True)
            beyond = ordered.cumsum(-1) - ordered >= self.top_p  # the most likely token is always kept
            probability = probability.scatter(-1, order, ordered.masked_fill(beyond, 0.0))
        cumulated = probability.cumsum(-1)
        uniform = self.uniforms[input_ids.shape[1] - self.prompt_width].to(cumulated.dtype).unsqueeze(-1)
        # Below 1 also after rounding to fp32, so that no token of probability 0 is drawn.
        threshold = (uniform * cumulated[:, -1:]).minimum(torch.nextafter(cumulated[:, -1:], cumulated.new_zeros(())))
        drawn = torch.searchsorted(cumulated, threshold, right=True)
        return torch.full_like(scores, -torch.inf).scatter_(-1, drawn, 0.0)


def _uniforms(seed: int, count: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=seed)).random(count)
