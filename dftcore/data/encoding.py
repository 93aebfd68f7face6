"""Rows of text to arrays of tokens, in one process or in several; the result is the same.

Labels are shifted here, once and per document: `targets[t]` is the token that follows `tokens[t]` where that token is
supervised, else IGNORE. Nothing downstream shifts again, so packing cannot leak a label across documents.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import Any

import numpy as np
from tqdm import tqdm

from dftcore.data import chat, classes
from dftcore.data.sources import Row, to_messages
from dftcore.errors import UserError

IGNORE = -100
_CHUNK = 512  # rows that one process takes at a time
_ROWS_WORTH_A_PROCESS = 4096  # a process takes seconds to start

NumberedRow = tuple[int, Row]


@dataclass(frozen=True)
class Encoded:
    """Documents end to end. tokens, targets int32 [T], classes uint8 [T] (of each target); lengths, rows int64 [n]."""

    tokens: np.ndarray
    targets: np.ndarray
    classes: np.ndarray
    lengths: np.ndarray
    rows: np.ndarray
    truncated: int = 0
    skipped: int = 0
    identical: int = 0

    @property
    def sources(self) -> int:
        """Rows that these were made of."""
        return len(np.unique(self.rows)) + self.skipped + self.identical

    @classmethod
    def joined(cls, parts: Sequence[Encoded]) -> Encoded:
        def end_to_end(name: str) -> np.ndarray:
            return np.concatenate([getattr(part, name) for part in parts])

        return cls(
            end_to_end("tokens"),
            end_to_end("targets"),
            end_to_end("classes"),
            end_to_end("lengths"),
            end_to_end("rows"),
            truncated=sum(part.truncated for part in parts),
            skipped=sum(part.skipped for part in parts),
            identical=sum(part.identical for part in parts),
        )


@dataclass(frozen=True)
class Encoder:
    """Numbered rows -> Encoded. What every process of a pool gets once."""

    tokenizer: Any
    columns: dict[str, str]
    max_length: int
    name: str  # of the source, for refusals

    def __call__(self, rows: Sequence[NumberedRow]) -> Encoded:
        cut = []
        for number, row in rows:
            where = f"{self.name}, row {number + 1}"
            cut.append(self.documents(dict(row), where))
        texts = [segment.text for parts in cut for document in parts for segment in document]
        encodings = iter(self.tokenizer(texts, add_special_tokens=False).encodings if texts else ())
        tokens: list[np.ndarray] = [np.empty(0, np.int32)]
        targets: list[np.ndarray] = [np.empty(0, np.int32)]
        kinds: list[np.ndarray] = [np.empty(0, np.uint8)]
        kept: list[int] = []
        truncated = skipped = identical = 0
        for (number, _), parts in zip(rows, cut, strict=True):
            documents, longest = [], 0
            for segments in parts:
                arrays = [self._segment(segment, next(encodings)) for segment in segments]
                whole = [np.concatenate(group) for group in zip(*arrays, strict=True)]
                longest = max(longest, len(whole[0]))
                documents.append(self._shifted(*(array[: self.max_length] for array in whole)))
            truncated += longest > self.max_length
            if not documents or not all((document[1] != IGNORE).any() for document in documents):
                skipped += 1
            elif len(documents) > 1 and np.array_equal(documents[0][0], documents[1][0]):
                identical += 1
            else:
                for document in documents:
                    kept.append(number)
                    for group, array in zip((tokens, targets, kinds), document, strict=True):
                        group.append(array)
        return Encoded(
            np.concatenate(tokens),
            np.concatenate(targets),
            np.concatenate(kinds),
            lengths=np.array([len(piece) for piece in tokens[1:]], np.int64),
            rows=np.array(kept, np.int64),
            truncated=truncated,
            skipped=skipped,
            identical=identical,
        )

    def documents(self, row: Row, where: str) -> list[list[chat.Segment]]:
        """The conversations of a row, kept or left out together; [] for an empty one."""
        turns = to_messages(row, self.columns, where)
        return [chat.segments(self.tokenizer, turns, where)] if turns else []

    def _segment(self, segment: chat.Segment, encoding: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens, labels (the same tokens or IGNORE) and classes of one segment."""
        tokens = np.array(encoding.ids, np.int32)
        if not segment.supervised:
            return tokens, np.full(len(tokens), IGNORE, np.int32), np.zeros(len(tokens), np.uint8)
        kinds = classes.classify(segment.text, np.array(encoding.offsets, np.int64).reshape(-1, 2))
        kinds[np.isin(tokens, self.tokenizer.all_special_ids)] = classes.END
        return tokens, tokens, kinds

    @staticmethod
    def _shifted(
        tokens: np.ndarray, labels: np.ndarray, kinds: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Targets and their classes stand where they are predicted, one position before the token itself."""
        return tokens, np.append(labels[1:], np.int32(IGNORE)), np.append(kinds[1:], np.uint8(0))


def encode(rows: Iterable[NumberedRow], total: int, encoder: Encoder, workers: int | None) -> Encoded:
    """All rows, in their order, behind a progress bar. workers: processes; None: as many as the rows are worth."""
    if workers is None:
        workers = min(total // _ROWS_WORTH_A_PROCESS, len(os.sched_getaffinity(0)))
    source = iter(rows)
    chunks = iter(lambda: list(islice(source, _CHUNK)), [])
    with tqdm(total=total, desc="tokenising", unit="row", dynamic_ncols=True, disable=None) as progress:
        parts = []
        for part in _in_processes(encoder, chunks, workers) if workers > 1 else map(encoder, chunks):
            parts.append(part)
            progress.update(part.sources)
    if not any(len(part.lengths) for part in parts):
        raise UserError(
            f"--data: no row of {encoder.name} has an answer token within --max-length {encoder.max_length}; raise it"
        )
    return Encoded.joined(parts)


def _in_processes(encoder: Encoder, chunks: Iterable[Sequence[NumberedRow]], workers: int) -> Iterator[Encoded]:
    pending: deque[Any] = deque()
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start, (encoder,))
    try:
        for chunk in chunks:
            pending.append(pool.submit(_encode_chunk, chunk))
            if len(pending) > 2 * workers:  # no more in memory than keeps every process busy
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "--tokenise-workers: a process died, most likely for want of memory; give a smaller number"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_encoder: Encoder  # of a process of the pool


def _start(encoder: Encoder) -> None:
    global _encoder
    _encoder = encoder
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer


def _encode_chunk(rows: Sequence[NumberedRow]) -> Encoded:
    return _encoder(rows)
