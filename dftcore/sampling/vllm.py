"""vLLM, when it is installed (``pip install -e '.[vllm]'``); needs a GPU.

Every rank has an engine of its own on its own GPU. Each request carries its seed, but the engine's arithmetic depends
on what it schedules together, so samples are repeatable in distribution only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dftcore.sampling.interface import Decoding, Generation, Request


class VLLMSampler:
    """An engine and its decoding options."""

    def __init__(
        self, directory: Path, tokenizer: Any, decoding: Decoding, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        if device.type == "cuda":
            _show_only(device.index or 0)
        from vllm import LLM, SamplingParams

        self.tokenizer, self.decoding, self.params = tokenizer, decoding, SamplingParams
        self.engine = LLM(
            model=str(directory),
            dtype=str(dtype).removeprefix("torch."),
            trust_remote_code=False,
            generation_config="vllm",  # not the model's own penalties and filters
            seed=0,
        )

    def sample(self, requests: Sequence[Request]) -> list[Generation]:
        """One completion for each request. Raises RuntimeError when the engine gives one up."""
        prompts = self.tokenizer([request.prompt for request in requests], add_special_tokens=False)["input_ids"]
        decoding = self.decoding
        params = [
            self.params(
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                max_tokens=decoding.max_new_tokens,
                seed=request.seed % 2**63,  # signed there
                stop_token_ids=list(decoding.stop.ids),
                stop=list(decoding.stop.strings) or None,
                skip_special_tokens=True,
            )
            for request in requests
        ]
        outputs = self.engine.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
        return [_generation(output.outputs[0]) for output in outputs]


def _generation(output: Any) -> Generation:
    if output.finish_reason not in ("stop", "length"):
        raise RuntimeError(f"vLLM ended a request with {output.finish_reason!r}")
    return Generation(output.text, len(output.token_ids), output.finish_reason)


def _show_only(index: int) -> None:
    """Let the engine's process, which takes the first GPU it sees, see only this rank's."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
    os.environ["CUDA_VISIBLE_DEVICES"] = names[index]
