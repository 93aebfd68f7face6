"""Tokenised documents: built once by one process of a host, cached by content, read by all."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock
from safetensors import safe_open
from safetensors.numpy import save_file

from dftcore.data.encoding import IGNORE, Encoded, Encoder, encode
from dftcore.data.pairs import PairEncoder
from dftcore.data.sources import Source, used_columns
from dftcore.errors import UserError
from dftcore.files import replacing

_FORMAT = 2  # of the cache; raised when what is stored changes meaning
_ARRAYS = ("tokens", "targets", "classes", "offsets", "rows")


@dataclass(frozen=True)
class Counts:
    """What tokenising met: documents kept, rows cut at the maximum length, rows skipped since no answer token was left.

    identical: pairs left out because their two answers were the same, within the maximum length.
    """

    documents: int
    truncated: int
    skipped: int
    tokens: int
    supervised: int
    columns: str = ""  # of the source that were read
    identical: int = 0

    def __str__(self) -> str:
        text = f"{self.documents} documents"
        if self.columns:
            text += f" of {self.columns}"
        text += f", {self.tokens} tokens, {self.supervised} of them supervised"
        if self.truncated:
            text += f"; {self.truncated} cut at --max-length"
        if self.skipped:
            text += f"; {self.skipped} skipped: no answer token within --max-length"
        if self.identical:
            text += f"; {self.identical} pairs dropped: the same answer twice"
        return text


@dataclass(frozen=True)
class Documents:
    """Documents end to end.

    tokens, targets: int32 [T], targets IGNORE where nothing is learned; classes: uint8 [T], of each target, an index of
    `classes.CLASSES`; offsets: int64 [n + 1]; rows: int64 [n], the row of the source that each came from, from 0.
    reference: float32 [T], a reference model's log-probability of each target, 0 where there is none. group: documents
    that make one example, one after the other: 2 for preference pairs.
    """

    tokens: np.ndarray
    targets: np.ndarray
    classes: np.ndarray
    offsets: np.ndarray
    rows: np.ndarray
    counts: Counts
    fingerprint: str
    reference: np.ndarray | None = None
    group: int = 1

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def examples(self) -> int:
        return len(self) // self.group

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def span(self, index: int) -> slice:
        return slice(self.offsets[index], self.offsets[index + 1])

    def document(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.tokens[self.span(index)], self.targets[self.span(index)]


@dataclass(frozen=True)
class Selection:
    """Which rows of a source are taken.

    `held_out` rows (a number, or a share below 1) are set apart first, the same ones whatever the seed: part "held-out"
    is those, part "rest" the others. Of the part, `count` rows: a seeded `random` sample or the `first` ones.
    """

    count: int | None = None
    subset: Literal["random", "first"] = "random"
    seed: int = 0
    held_out: float = 0.0
    part: Literal["rest", "held-out"] = "rest"

    def rows(self, total: int) -> np.ndarray:
        """int64, ascending. Raises UserError when nothing would be left to train on."""
        chosen = np.arange(total)
        if self.held_out:
            number = round(self.held_out if self.held_out >= 1 else self.held_out * total)
            if not 0 < number < total:
                raise UserError(
                    f"--validation-split: {self.held_out:g} of {total} rows are {number}; leave some of each part"
                )
            held = _sample(total, number, key=[0, 4])
            chosen = held if self.part == "held-out" else np.setdiff1d(chosen, held)
        if self.count is None or self.count >= len(chosen):
            return chosen
        if self.subset == "first":
            return chosen[: self.count]
        return chosen[_sample(len(chosen), self.count, key=[self.seed, 1])]

    def key(self) -> list[Any]:
        """What tells two selections apart; the seed does only where it chooses."""
        seed = self.seed if self.count and self.subset == "random" else 0
        return [self.count, self.subset, seed, self.held_out, self.part if self.held_out else "rest"]


def _sample(total: int, count: int, key: list[int]) -> np.ndarray:
    return np.sort(np.random.Generator(np.random.Philox(key=key)).choice(total, count, replace=False))


def cache_directory() -> Path:
    """$DFTCORE_CACHE, else dftcore/ under the user's cache directory."""
    root = os.environ.get("DFTCORE_CACHE")
    return Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dftcore"


def tokenise(
    source: Source,
    tokenizer: Any,
    columns: dict[str, str],
    max_length: int,
    selection: Selection | None = None,
    workers: int | None = None,
    pairs: bool = False,
) -> Documents:
    """The selected rows (default: all) as Documents, from the cache when this content was tokenised before.

    Rows of `pairs` make two documents each, see `data.pairs`.

    Every process may call it: one of a host works, on `workers` processes, and the others wait for its file.
    """
    selection = selection or Selection()
    key = [_FORMAT, source.fingerprint(), _tokenizer_digest(tokenizer), sorted(columns.items()), max_length]
    key += selection.key() + ["pairs"] * pairs
    fingerprint = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    path = cache_directory() / "tokens" / f"{fingerprint}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            rows = source.rows()
            chosen = selection.rows(len(rows))
            numbered = ((int(number), rows[int(number)]) for number in chosen)
            encoder = (PairEncoder if pairs else Encoder)(tokenizer, columns, max_length, source.name)
            encoded = encode(numbered, len(chosen), encoder, workers)
            answers = [columns.get(name, name) for name in ("chosen", "rejected")]
            _write(path, encoded, " and ".join(answers if pairs else used_columns(rows[int(chosen[0])], columns)))
    return replace(_read(path, fingerprint), group=2 if pairs else 1)


def encode_conversations(tokenizer: Any, conversations: Sequence[list[dict[str, str]]]) -> Documents:
    """Conversations as Documents in memory, whole and uncached."""
    rows = list(enumerate({"messages": turns} for turns in conversations))
    encoder = Encoder(tokenizer, {}, sys.maxsize, "conversations")
    encoded = encode(rows, len(rows), encoder, workers=1)
    arrays: dict[str, Any] = _arrays(encoded)
    return Documents(**arrays, counts=_counts(encoded), fingerprint="")


def _tokenizer_digest(tokenizer: Any) -> str:
    text = tokenizer.backend_tokenizer.to_str() + str(tokenizer.chat_template) + str(tokenizer.eos_token)
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, encoded: Encoded, columns: str) -> None:
    counts = replace(_counts(encoded), columns=columns)
    with replacing(path) as temporary:
        save_file(_arrays(encoded), temporary, metadata={"counts": json.dumps(asdict(counts))})


def _arrays(encoded: Encoded) -> dict[str, np.ndarray]:
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(encoded.lengths)])
    values = (encoded.tokens, encoded.targets, encoded.classes, offsets, encoded.rows)
    return dict(zip(_ARRAYS, values, strict=True))


def _counts(encoded: Encoded) -> Counts:
    supervised = int((encoded.targets != IGNORE).sum())
    return Counts(
        len(encoded.lengths),
        encoded.truncated,
        encoded.skipped,
        len(encoded.tokens),
        supervised,
        identical=encoded.identical,
    )


def _read(path: Path, fingerprint: str) -> Documents:
    with safe_open(path, framework="numpy") as file:
        counts = Counts(**json.loads(file.metadata()["counts"]))
        arrays: dict[str, Any] = {name: file.get_tensor(name) for name in _ARRAYS}
    return Documents(**arrays, counts=counts, fingerprint=fingerprint)
