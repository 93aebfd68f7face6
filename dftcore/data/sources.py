"""Rows of text behind one door: a Hub id, a local directory, JSONL or Parquet files; columns checked and mapped.

A row has `problem` and `solution`, or `messages` (a list of {"role", "content"}). `--columns` maps other names:
`problem=question solution=answer`. Any further columns are left alone, and so are `messages` beside a problem, as in
AI-MO/NuminaMath-CoT; `--columns messages=messages` takes them instead.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dftcore.errors import UserError, nearest, one_line

SUFFIXES = (".jsonl", ".json", ".parquet")
_SPLITS = {"train", "test", "validation", "valid", "dev"}  # usual names
Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Where rows come from. `fingerprint` identifies the content: of the files' bytes, or of the Hub revision."""

    name: str
    files: tuple[Path, ...]  # empty for a Hub data set
    split: str

    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.name}\n{self.split}".encode() if not self.files else b"")
        for path in self.files:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        if not self.files:
            digest.update(_load_hub(self.name, self.split)._fingerprint.encode())
        return digest.hexdigest()

    def rows(self) -> Sequence[Row]:
        if not self.files:
            return _load_hub(self.name, self.split)
        return [row for path in self.files for row in _read_file(path)]


def find_source(data: str, split: str = "train", option: str = "--data") -> Source:
    """The source that `data` names. Raises UserError for a path that is not there or holds no data files."""
    path = Path(data)
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise UserError(f"{option}: {data} is not one of {', '.join(SUFFIXES)}")
        if split not in _SPLITS:
            raise UserError(f"--split: {data} is one file, without splits; leave --split {split} out")
        return Source(data, (path,), split)
    if path.is_dir():
        places = (path, path / "data")  # a clone of a Hub data set has its files in data/
        found = ([file for file in place.iterdir() if file.suffix in SUFFIXES] for place in places if place.is_dir())
        files = sorted(next(filter(None, found), []))
        splits = {file: re.split(r"[-_.]", file.stem)[0] for file in files}
        named = [file for file in files if splits[file] == split]
        if not files:
            raise UserError(f"{option}: the directory {data} holds no {', '.join(SUFFIXES)} file")
        if not named and _SPLITS.intersection(splits.values()):
            raise UserError(f"--split: {data} holds no {split!r} file{nearest(split, set(splits.values()))}")
        return Source(data, tuple(named or files), split)
    if path.suffix in SUFFIXES or data.startswith((".", "/", "~")) or data.count("/") != 1:
        raise UserError(f"{option}: no file or directory {data}; give a path that exists or a Hub id such as org/name")
    return Source(data, (), split)


def parse_columns(words: Sequence[str]) -> dict[str, str]:
    """`problem=question` words -> {"problem": "question"}."""
    known = ("problem", "solution", "messages", "answer", "level", "prompt", "chosen", "rejected")
    columns: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise UserError(f"--columns: {word!r} is not of the form name=column, such as problem=question")
        if key not in known:
            raise UserError(f"--columns: unknown name {key!r}{nearest(key, known)}")
        columns[key] = value
    return columns


def used_columns(row: Mapping[str, Any], columns: Mapping[str, str]) -> tuple[str, ...]:
    """The columns of such a row that are read: (messages,) or (problem, solution), by the names they have there."""
    problem, solution = columns.get("problem", "problem"), columns.get("solution", "solution")
    messages = columns.get("messages", "messages")
    return (messages,) if "messages" in columns or (messages in row and problem not in row) else (problem, solution)


def to_messages(row: Row, columns: Mapping[str, str], where: str) -> list[dict[str, str]]:
    """The conversation of one row, [] for an empty one. Raises UserError naming `where` and the columns."""
    names = used_columns(row, columns)
    if len(names) == 1:
        conversation = row.get(names[0])
        if not isinstance(conversation, list) or not all(
            isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
            for turn in conversation
        ):
            raise UserError(f"{where}: column {names[0]!r} is not a list of {{role, content}} turns")
        return [{"role": turn["role"], "content": turn["content"]} for turn in conversation]
    problem, solution = names
    for column in (problem, solution):
        if column not in row:
            raise UserError(
                f"{where}: no column {column!r} among {', '.join(map(repr, row))};"
                " map it, e.g. --columns problem=question"
            )
        if not isinstance(row[column], str):
            raise UserError(f"{where}: column {column!r} is not text")
        if not row[column].isascii() and any("\ud800" <= character <= "\udfff" for character in row[column]):
            raise UserError(f"{where}: column {column!r} is not valid Unicode: it holds half of a surrogate pair")
    if not row[problem].strip() or not row[solution].strip():
        return []  # nothing to learn from; counted as skipped
    return [{"role": "user", "content": row[problem]}, {"role": "assistant", "content": row[solution]}]


def _read_file(path: Path) -> list[Row]:
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        try:
            return pyarrow.parquet.read_table(path).to_pylist()
        except pyarrow.ArrowInvalid as error:
            raise UserError(f"{path}: not a readable Parquet file ({error})") from None
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    rows = []
    for number, line in enumerate(text.split("\n") if path.suffix == ".jsonl" else [text], 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}: line {number} is not JSON ({error})") from None
        rows.extend(value if isinstance(value, list) else [value])
    wrong = next((index for index, row in enumerate(rows, 1) if not isinstance(row, dict)), None)
    if wrong is not None:
        raise UserError(f"{path}: row {wrong} is not a JSON object")
    if not rows:
        raise UserError(f"{path}: no rows")
    return rows


@lru_cache(maxsize=1)  # its fingerprint and its rows are asked for one after the other
def _load_hub(name: str, split: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(name, split=split)
    except Exception as error:  # the Hub client raises a wide family; all mean that the data is not to be had
        raise UserError(
            f"--data: cannot load {name!r} (split {split!r}) from the Hub: {one_line(error, 200)}"
        ) from None
