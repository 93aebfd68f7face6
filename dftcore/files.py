"""Files written whole or not at all, and JSON lines that survive a kill."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from dftcore.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary sibling of `path` to write; it takes the name `path` when the block ends well, else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if temporary.is_dir():
            before = path.with_name(f".{path.name}.{os.getpid()}.before.tmp")
            if path.exists():
                path.rename(before)
            temporary.rename(path)
            shutil.rmtree(before, ignore_errors=True)
        else:
            sync(temporary)
            temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Return when the file, or the directory's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(path: Path, option: str) -> None:
    """Refuse an output directory that could not be made, before hours are spent. Raises UserError."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise UserError(f"{option}: {existing} is not a directory; choose another")
    if not os.access(existing, os.W_OK):
        raise UserError(f"{option}: {existing} cannot be written; check its permissions or choose another directory")


@contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """No other process that asks for the same is let into `directory` meanwhile. Raises UserError where one is there.

    On a file system without such locks everyone is let in.
    """
    import fcntl  # here, because not every system has it

    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"--output: another process is at work in {directory}; wait for its end, or choose another directory"
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(descriptor)


def sweep(directory: Path) -> None:
    """Remove what a killed process left half-written in `directory`."""
    for left in [*directory.glob(".*.tmp"), *directory.glob(".*.partial")]:
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename `path` to the first free path.1, path.2, ... and return that name."""
    aside = next(name for n in itertools.count(1) if not (name := path.with_name(f"{path.name}.{n}")).exists())
    path.rename(aside)
    return aside


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_json_lines(path: Path, records: Iterable[Any]) -> None:
    write_text(path, "".join(json_line(record) for record in records))


def json_line(record: Any) -> str:
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file that this package wrote. Raises UserError when it was damaged since."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise UserError(f"{path} is damaged; restore it, or remove it to have it made again") from None


def open_log(path: Path, records: Iterable[Any]) -> TextIO:
    """A log that holds `records` and takes more; what it held before, a torn last line included, is gone."""
    write_json_lines(path, records)
    return path.open("a", encoding="utf-8")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of an append-only JSON-lines log; a torn last line is dropped, a torn line elsewhere is an error."""
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if not line.endswith(b"\n") or not isinstance(record, dict):
                raise ValueError
        except ValueError:
            if number == len(lines):
                break
            raise UserError(f"{path}: line {number} is not a JSON object; repair or remove that line") from None
        records.append(record)
    return records
