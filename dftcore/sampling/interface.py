"""What every back-end shares: requests in, generations out, and where a completion ends.

A back-end is an object with ``sample(requests) -> generations``, in order, one completion a request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Request:
    prompt: str  # rendered by the chat template, special tokens included
    seed: int


@dataclass(frozen=True)
class Generation:
    """completion: text without special tokens, cut before a stop string. tokens: drawn up to its end, the end token
    included. finish: stop (an end token or a stop string was drawn) or length.
    """

    completion: str
    tokens: int
    finish: str


@dataclass(frozen=True)
class StopRule:
    """What ends a completion: one of the token ids, or one of the strings appearing in its text."""

    ids: tuple[int, ...]
    strings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decoding:
    """temperature 0 takes the most likely token; top_p is the share of probability that is sampled from."""

    temperature: float
    top_p: float
    max_new_tokens: int
    stop: StopRule


class Sampler(Protocol):
    def sample(self, requests: Sequence[Request]) -> list[Generation]: ...


def within_context(
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    context: int | None,
    sample: Callable[[list[int], list[int]], Sequence[Generation]],
) -> list[Generation]:
    """A completion of each prompt's token ids: both share the model's context, of so many tokens or without limit.

    sample: takes the places of the prompts that leave room, and how many tokens each may get. The others' completions
    are empty.
    """
    room = [min(max_new_tokens, (context or len(ids) + max_new_tokens) - len(ids)) for ids in prompts]
    places = [place for place, tokens in enumerate(room) if tokens > 0]
    found = [Generation("", 0, "length")] * len(prompts)
    for place, generated in zip(places, sample(places, [room[p] for p in places]) if places else (), strict=True):
        found[place] = generated
    return found


def context_of(config: Any) -> int | None:
    """The context that a model's configuration states."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def sample_seed(run_seed: int, dataset: str, question: str, sample: int) -> int:
    """A stable digest: the same on every machine, in every order of evaluation."""
    digest = hashlib.sha256(f"{run_seed}\0{dataset}\0{question}\0{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def generation(tokenizer: Any, tokens: Sequence[int], stop: StopRule) -> Generation:
    """The completion that these drawn tokens are, cut at its end; what was drawn after the end is not looked at."""
    end = next((place for place, token in enumerate(tokens) if token in stop.ids), None)
    kept = tokens if end is None else tokens[:end]
    text = tokenizer.decode(kept, skip_special_tokens=True)
    cut = _first(text, stop.strings)
    if cut is not None:
        count = next(n for n in range(1, len(kept) + 1) if _said(tokenizer, kept[:n], stop.strings))
        return Generation(text[:cut], count, "stop")
    return Generation(text, len(kept) + (end is not None), "length" if end is None else "stop")


def has_ended(tokenizer: Any, tokens: Sequence[int], stop: StopRule) -> bool:
    return not set(stop.ids).isdisjoint(tokens) or (bool(stop.strings) and _said(tokenizer, tokens, stop.strings))


def _said(tokenizer: Any, tokens: Sequence[int], strings: Sequence[str]) -> bool:
    return _first(tokenizer.decode(tokens, skip_special_tokens=True), strings) is not None


def _first(text: str, strings: Sequence[str]) -> int | None:
    """Where the first of the strings to appear in the text begins."""
    return min((place for place in map(text.find, strings) if place >= 0), default=None)
