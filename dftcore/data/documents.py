"""Tokenised documents: built once by one process of a host, cached by content, read by all.

Labels are shifted here, once and per document: `targets[t]` is the token that follows `tokens[t]` where that token is
supervised, else IGNORE. Nothing downstream shifts again, so packing cannot leak a label across documents.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import safe_open
from safetensors.numpy import save_file
from tqdm import tqdm

from dftcore.data import chat
from dftcore.data.sources import Row, Source, to_messages
from dftcore.errors import UserError
from dftcore.files import replacing

IGNORE = -100
Encoded = tuple[list[np.ndarray], list[np.ndarray], "Counts"]
_FORMAT = 1  # of the cache; raised when what is stored changes meaning


@dataclass(frozen=True)
class Counts:
    """What tokenising met: documents kept, cut at the maximum length, skipped because no answer token was left."""

    documents: int
    truncated: int
    skipped: int
    tokens: int
    supervised: int

    def __str__(self) -> str:
        text = f"{self.documents} documents, {self.tokens} tokens, {self.supervised} of them supervised"
        if self.truncated:
            text += f"; {self.truncated} cut at --max-length"
        if self.skipped:
            text += f"; {self.skipped} skipped: no answer token within --max-length"
        return text


@dataclass(frozen=True)
class Documents:
    """tokens, targets: int32 [T] of all documents end to end; offsets: int64 [n + 1]."""

    tokens: np.ndarray
    targets: np.ndarray
    offsets: np.ndarray
    counts: Counts
    fingerprint: str

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def document(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        span = slice(self.offsets[index], self.offsets[index + 1])
        return self.tokens[span], self.targets[span]


def cache_directory() -> Path:
    """$DFTCORE_CACHE, else dftcore/ under the user's cache directory."""
    root = os.environ.get("DFTCORE_CACHE")
    return Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dftcore"


def tokenise(
    source: Source,
    tokenizer: Any,
    columns: dict[str, str],
    max_length: int,
    *,
    max_examples: int | None = None,
    subset: str = "random",
    seed: int = 0,
) -> Documents:
    """The source's rows as Documents, from the cache when this content was tokenised before.

    `subset` names which `max_examples` rows are taken: a seeded `random` sample or the `first` ones. Every process may
    call it: one of a host works, behind a progress bar, and the others wait for its file.
    """
    key = [_FORMAT, source.fingerprint(), _tokenizer_digest(tokenizer), sorted(columns.items()), max_length]
    key += [max_examples, subset, seed if subset == "random" and max_examples else 0]
    fingerprint = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    path = cache_directory() / "tokens" / f"{fingerprint}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            rows = _take(source.rows(), max_examples, subset, seed)
            _write(path, _encode(rows, source.name, tokenizer, columns, max_length))
    return _read(path, fingerprint)


def encode_conversations(tokenizer: Any, conversations: Sequence[list[dict[str, str]]]) -> Documents:
    """Conversations as Documents in memory, whole and uncached."""
    rows = [{"messages": turns} for turns in conversations]
    encoded = _encode(rows, "conversations", tokenizer, {}, max_length=sys.maxsize)
    return Documents(**_arrays(encoded), counts=encoded[2], fingerprint="")


def _take(rows: Sequence[Row], max_examples: int | None, subset: str, seed: int) -> Sequence[Row]:
    if max_examples is None or max_examples >= len(rows):
        return rows
    if subset == "first":
        return [rows[index] for index in range(max_examples)]
    chosen = np.random.Generator(np.random.Philox(key=[seed, 1])).choice(len(rows), max_examples, replace=False)
    return [rows[int(index)] for index in np.sort(chosen)]


def _tokenizer_digest(tokenizer: Any) -> str:
    text = tokenizer.backend_tokenizer.to_str() + str(tokenizer.chat_template) + str(tokenizer.eos_token)
    return hashlib.sha256(text.encode()).hexdigest()


def _encode(rows: Sequence[Row], name: str, tokenizer: Any, columns: dict[str, str], max_length: int) -> Encoded:
    all_tokens: list[np.ndarray] = []
    all_targets: list[np.ndarray] = []
    truncated = skipped = 0
    progress = tqdm(total=len(rows), desc="tokenising", unit="row", dynamic_ncols=True, disable=None)
    for tokens, supervised in _encode_rows(rows, name, tokenizer, columns):
        truncated += len(tokens) > max_length
        tokens, supervised = tokens[:max_length], supervised[:max_length]
        targets = np.full(len(tokens), IGNORE, np.int32)
        targets[:-1] = np.where(supervised[1:], tokens[1:], IGNORE)
        if (targets == IGNORE).all():
            skipped += 1
        else:
            all_tokens.append(tokens)
            all_targets.append(targets)
        progress.update()
    progress.close()
    if not all_tokens:
        raise UserError(f"--data: no row of {name} has an answer token within --max-length {max_length}; raise it")
    total = sum(map(len, all_tokens))
    supervised_total = sum(int((targets != IGNORE).sum()) for targets in all_targets)
    return all_tokens, all_targets, Counts(len(all_tokens), truncated, skipped, total, supervised_total)


def _encode_rows(
    rows: Sequence[Row], name: str, tokenizer: Any, columns: dict[str, str]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(token ids, supervised) of each row; segments are encoded apart, as sampling will encode the prompt."""
    numbered = ((number, dict(row)) for number, row in enumerate(rows, 1))
    while group := list(islice(numbered, 1024)):
        cut = []
        for number, row in group:
            where = f"{name}, row {number}"
            cut.append(chat.segments(tokenizer, to_messages(row, columns, where), where))
        texts = [segment.text for parts in cut for segment in parts]
        encoded = iter(tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else ())
        for parts in cut:
            ids = [next(encoded) for _ in parts]
            flags = [[segment.supervised] * len(piece) for segment, piece in zip(parts, ids, strict=True)]
            yield np.array([*chain(*ids)], np.int32), np.array([*chain(*flags)], bool)


def _write(path: Path, encoded: Encoded) -> None:
    with replacing(path) as temporary:
        save_file(_arrays(encoded), temporary, metadata={"counts": json.dumps(asdict(encoded[2]))})


def _arrays(encoded: Encoded) -> dict[str, np.ndarray]:
    tokens, targets, _ = encoded
    return {
        "tokens": np.concatenate(tokens),
        "targets": np.concatenate(targets),
        "offsets": np.cumsum([0, *map(len, tokens)], dtype=np.int64),
    }


def _read(path: Path, fingerprint: str) -> Documents:
    with safe_open(path, framework="numpy") as file:
        counts = Counts(**json.loads(file.metadata()["counts"]))
        tokens, targets, offsets = (file.get_tensor(name) for name in ("tokens", "targets", "offsets"))
    return Documents(tokens, targets, offsets, counts, fingerprint)
