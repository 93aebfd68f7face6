"""vLLM, when it is installed (``pip install -e '.[vllm]'``): on GPUs, or on a CPU where it is built for one.

Every rank has an engine of its own, in a process of its own, on its own GPU. Each request carries its seed, but the
engine's arithmetic depends on what it schedules together, so samples are repeatable in distribution only.

Prompt and completion share the model's context: a completion that would pass it ends there with finish `length`, and a
prompt that fills it gets an empty one.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dftcore.errors import UserError, one_line
from dftcore.sampling.interface import Decoding, Generation, Request, generation, within_context

_CPU_CACHE = "4"  # GiB of keys and values; left alone, vLLM wants over nine tenths of the machine's memory

_CPU_OPTIONS = {
    "enforce_eager": True,  # compiling takes minutes and gains little
    "enable_chunked_prefill": False,  # of a seeded request it takes back a draw, which only a GPU's generator can do
}


def is_built_for_cpu() -> bool:
    _speak_low()
    from vllm.platforms import current_platform

    return current_platform.device_type == "cpu"


class VLLMSampler:
    """An engine and its decoding options."""

    def __init__(
        self, directory: Path, tokenizer: Any, decoding: Decoding, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        _speak_low()
        from vllm import LLM, SamplingParams

        self.tokenizer, self.decoding, self.params = tokenizer, decoding, SamplingParams
        others = set(multiprocessing.active_children())
        try:
            with _environment(_engine_environment(device)):
                self.engine = LLM(
                    model=str(directory),
                    dtype=str(dtype).removeprefix("torch."),
                    trust_remote_code=False,
                    generation_config="vllm",  # not the model's own penalties and filters
                    seed=0,
                    **(_CPU_OPTIONS if device.type == "cpu" else {}),
                )
        except (RuntimeError, ValueError) as error:
            raise UserError(f"--backend: vLLM does not start: {one_line(error)}; its log above may say more") from None
        self.leash = _leash(set(multiprocessing.active_children()) - others)
        self.context: int = self.engine.llm_engine.model_config.max_model_len

    def sample(self, requests: Sequence[Request]) -> list[Generation]:
        """One completion for each request. Raises RuntimeError when the engine gives one up."""
        prompts = self.tokenizer([request.prompt for request in requests], add_special_tokens=False)["input_ids"]

        def sample(places: list[int], room: list[int]) -> list[Generation]:
            outputs = self.engine.generate(
                [{"prompt_token_ids": prompts[place]} for place in places],
                [self._params(requests[place], limit) for place, limit in zip(places, room, strict=True)],
                use_tqdm=False,
            )
            return [self._generation(output.outputs[0]) for output in outputs]

        return within_context(prompts, self.decoding.max_new_tokens, self.context, sample)

    def _params(self, request: Request, max_tokens: int) -> Any:
        decoding = self.decoding
        return self.params(
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            max_tokens=max_tokens,
            seed=request.seed % 2**63,  # signed there
            stop_token_ids=list(decoding.stop.ids),
            ignore_eos=True,  # those ids are all that ends a completion
            stop=list(decoding.stop.strings) or None,
            detokenize=bool(decoding.stop.strings),
        )

    def _generation(self, output: Any) -> Generation:
        if output.finish_reason not in ("stop", "length"):
            raise RuntimeError(f"vLLM ended a request with {output.finish_reason!r}")
        # From the ids, as every back-end makes it: vLLM's own text lacks a last character that is cut off.
        return generation(self.tokenizer, output.token_ids, self.decoding.stop)


def _leash(processes: Iterable[multiprocessing.process.BaseProcess]) -> subprocess.Popen[bytes]:
    """Ends these processes when this one ends or lets go. An engine outlives a parent that is killed, and keeps the
    memory that the next run needs; in a session of its own, what waits for that survives what kills the parent.
    """
    pids = [str(process.pid) for process in processes]
    command = ["sh", "-c", 'cat; [ $# = 0 ] || kill "$@" 2> /dev/null', "sh", *pids]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def _speak_low() -> None:
    """Before vLLM is imported: errors only, and on stderr, since stdout is the program's."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")


def _engine_environment(device: torch.device) -> dict[str, str | None]:
    """What the engine's process shall find otherwise than this one; None: not at all."""
    changes: dict[str, str | None] = {"TORCHELASTIC_USE_AGENT_STORE": None}  # it would look for its store at torchrun's
    if device.type == "cuda":  # it takes the first GPU that it sees, so it sees only this rank's
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
        changes["CUDA_VISIBLE_DEVICES"] = names[device.index or 0]
        return changes
    changes["VLLM_CPU_KVCACHE_SPACE"] = os.environ.get("VLLM_CPU_KVCACHE_SPACE", _CPU_CACHE)
    if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1:  # each rank's would bind its threads to the same cores
        changes["VLLM_CPU_OMP_THREADS_BIND"] = os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    return changes


@contextmanager
def _environment(changes: dict[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    try:
        _set(changes)
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
