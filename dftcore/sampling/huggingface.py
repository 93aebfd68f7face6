"""Hugging Face ``generate``, each sample with noise of its own.

One uniform number a token, from the sample's own seed, picks the token by inverse distribution function; so a sample
does not depend on which others share its batch, except through rounding, and not at all in the same batch.

A batch is generated in stretches of ``STRETCH`` tokens. Rows that have ended leave it after each, keys and values
included, so that one long completion does not keep the others computing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dftcore.sampling.interface import Decoding, Generation, Request, context_of, generation, has_ended, within_context

STRETCH = 64  # tokens between two looks at which rows have ended


def load_model(directory: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The whole model on one device, ready to generate; its own penalties and filters are dropped, since they would
    change the distribution that is sampled from.
    """
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    model: Any = AutoModelForCausalLM.from_pretrained(
        directory, dtype=dtype, use_safetensors=True, trust_remote_code=False
    )
    model = model.to(device).eval()
    model.generation_config = GenerationConfig()
    return model


class HuggingFaceSampler:
    """A model in memory and its decoding options."""

    def __init__(
        self, directory: Path, tokenizer: Any, decoding: Decoding, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.model = load_model(directory, device, dtype)
        self.tokenizer, self.decoding, self.device = tokenizer, decoding, device

    @torch.inference_mode()
    def sample(self, requests: Sequence[Request]) -> list[Generation]:
        """One completion for each request, as one left-padded batch; none passes the model's context."""
        prompts = self.tokenizer([request.prompt for request in requests], add_special_tokens=False)["input_ids"]
        return within_context(
            prompts,
            self.decoding.max_new_tokens,
            context_of(self.model.config),
            lambda places, room: self._sample([prompts[p] for p in places], [requests[p].seed for p in places], room),
        )

    def _sample(self, prompts: list[list[int]], seeds: list[int], room: list[int]) -> list[Generation]:
        from transformers import DynamicCache

        def padded(rows: list[Tensor], filler: int) -> Tensor:
            return pad_sequence(rows, batch_first=True, padding_value=filler, padding_side="left").to(self.device)

        rows_of = [torch.tensor(ids) for ids in prompts]
        tokens = padded(rows_of, self.tokenizer.pad_token_id)  # [rows, width + drawn], as is the mask
        mask = padded([torch.ones_like(ids) for ids in rows_of], 0)
        width, limit = tokens.shape[1], max(room)
        draw = None
        if self.decoding.temperature > 0.0:
            noise = np.stack([_uniforms(seed, limit) for seed in seeds], axis=1)
            uniforms = torch.from_numpy(noise).to(self.device)
            draw = _Draw(uniforms, width, self.decoding.temperature, self.decoding.top_p)
        cache = DynamicCache(config=self.model.config)
        found: dict[int, Generation] = {}
        rows = list(range(len(prompts)))  # which request each row of the batch belongs to
        while True:
            tokens = self._stretch(tokens, mask, cache, draw, min(STRETCH, width + limit - tokens.shape[1]))
            drawn = [new[: room[row]] for new, row in zip(tokens[:, width:].tolist(), rows, strict=True)]
            kept = [
                place
                for place, (new, row) in enumerate(zip(drawn, rows, strict=True))
                if len(new) < room[row] and not self._has_ended(new)
            ]
            for place in set(range(len(rows))) - set(kept):
                found[rows[place]] = generation(self.tokenizer, drawn[place], self.decoding.stop)
            if not kept:
                return [found[index] for index in range(len(prompts))]
            mask = torch.cat([mask, mask.new_ones(len(rows), tokens.shape[1] - mask.shape[1])], dim=1)
            if len(kept) < len(rows):
                rows = [rows[place] for place in kept]
                places = torch.tensor(kept, device=self.device)
                tokens, mask = tokens[places], mask[places]
                cache.batch_select_indices(places)
                if draw:
                    draw.select(places)

    def _stretch(self, tokens: Tensor, mask: Tensor, cache: Any, draw: _Draw | None, count: int) -> Tensor:
        """`tokens` with up to `count` more; `cache` grows by the same."""
        from transformers import GenerationConfig, LogitsProcessorList

        return self.model.generate(
            input_ids=tokens,
            attention_mask=mask,
            past_key_values=cache,
            generation_config=GenerationConfig(
                max_new_tokens=count,
                do_sample=False,  # the processor has drawn already: what it leaves has one possible token
                eos_token_id=list(self.decoding.stop.ids),
                pad_token_id=self.tokenizer.pad_token_id,
            ),
            logits_processor=LogitsProcessorList([draw] if draw else []),
        )

    def _has_ended(self, tokens: list[int]) -> bool:
        return has_ended(self.tokenizer, tokens, self.decoding.stop)


class _Draw:
    """A logits processor that leaves one token: where the cumulated softmax passes the sample's uniform number."""

    def __init__(self, uniforms: Tensor, prompt_width: int, temperature: float, top_p: float) -> None:
        self.uniforms, self.prompt_width = uniforms, prompt_width  # [max_new_tokens, rows]
        self.temperature, self.top_p = temperature, top_p

    def select(self, rows: Tensor) -> None:
        self.uniforms = self.uniforms[:, rows]

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
