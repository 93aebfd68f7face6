"""Questions with reference answers: the benchmarks known by name, and any file with problem and answer columns.

Where the named benchmarks lie on the Hub. No Hub was at hand: ids, splits and columns are those that public code and
documentation load, each seen in several independent places, and are not checked against the data itself.

    math500        HuggingFaceH4/MATH-500        500 of MATH, the split of PRM800K
    minerva_math   math-ai/minervamath           272; answers as extracted by its authors
    olympiadbench  Hothan/OlympiadBench          OE_TO_maths_en_COMP, 674 or 675 text-only English questions
    aime24         HuggingFaceH4/aime_2024       30
    amc23          math-ai/amc23                 40
    gsm8k          openai/gsm8k, main            1319

A copy of Minerva that came with DeepScaleR and understand-r1-zero, and spread widely, has 39 wrong answers of 272; the
file of the Qwen2.5-Math evaluation has them right. For figures to publish give that file with --data-dir.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dftcore.data.sources import Row, find_source
from dftcore.errors import UserError, nearest, one_line


@dataclass(frozen=True)
class Question:
    dataset: str
    id: str
    problem: str
    answer: str
    solution: str | None = None


@dataclass(frozen=True)
class Origin:
    """Where the questions of a benchmark lie: a file or directory, or a repository of the Hub."""

    dataset: str
    path: Path | None
    repository: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.path else f"Hub: {self.repository}"


@dataclass(frozen=True)
class _HubSet:
    """Where a named benchmark lies on the Hub, and its column names."""

    repository: str
    split: str
    problem: str
    answer: str
    configuration: str | None = None


NAMED: Mapping[str, _HubSet] = {
    "math500": _HubSet("HuggingFaceH4/MATH-500", "test", "problem", "answer"),
    "minerva_math": _HubSet("math-ai/minervamath", "test", "question", "answer"),
    "olympiadbench": _HubSet("Hothan/OlympiadBench", "train", "question", "final_answer", "OE_TO_maths_en_COMP"),
    "aime24": _HubSet("HuggingFaceH4/aime_2024", "train", "problem", "answer"),
    "amc23": _HubSet("math-ai/amc23", "test", "question", "answer"),
    "gsm8k": _HubSet("openai/gsm8k", "test", "question", "answer", "main"),
}


def origin_of(name: str, data_dir: Path | None) -> Origin:
    """A named benchmark's <data_dir>/<name>/test.jsonl if it is there, else its place on the Hub; or a file's path."""
    if name not in NAMED:
        if "/" not in name and not name.endswith((".jsonl", ".json", ".parquet")):
            raise UserError(f"--benchmarks: unknown benchmark {name!r}{nearest(name, NAMED)}")
        return Origin(Path(name).stem, Path(name))
    if data_dir and not data_dir.is_dir():
        raise UserError(f"--data-dir: {data_dir} is not a directory")
    if data_dir and (local := data_dir / name / "test.jsonl").is_file():
        return Origin(name, local)
    return Origin(name, None, NAMED[name].repository)


def load_questions(name: str, data_dir: Path | None, limit: int | None) -> list[Question]:
    """The first `limit` questions of a named benchmark or of a file."""
    origin = origin_of(name, data_dir)
    if not origin.path:
        questions = _from_hub(name, NAMED[name])
    elif name in NAMED:
        questions = _questions(find_source(str(origin.path), option="--data-dir").rows(), name, "problem", "answer")
    else:
        questions = _questions(find_source(name, "test", "--benchmarks").rows(), origin.dataset, "problem", "answer")
    return questions[:limit]


def _questions(rows: Sequence[Row], dataset: str, problem: str, answer: str) -> list[Question]:
    questions, seen = [], set()
    for number, row in enumerate(rows):
        for column in (problem, answer):
            if column not in row:
                raise UserError(
                    f"--benchmarks: {dataset}, row {number + 1}: no column {column!r} among {', '.join(map(repr, row))}"
                )
        key = str(row.get("id", number))
        if key in seen:
            raise UserError(f"--benchmarks: {dataset}, row {number + 1}: id {key!r} occurs twice")
        seen.add(key)
        if row[answer] is None or row[answer] == []:
            raise UserError(f"--benchmarks: {dataset}, row {number + 1}: column {answer!r} is empty")
        solution = row.get("solution")
        if isinstance(solution, list):  # OlympiadBench
            solution = "\n".join(map(str, solution))
        questions.append(Question(dataset, key, str(row[problem]), _as_answer(row[answer]), solution))
    if not questions:
        raise UserError(f"--benchmarks: {dataset} has no rows")
    return questions


def _from_hub(name: str, hub: _HubSet) -> list[Question]:
    import datasets

    try:
        rows = datasets.load_dataset(hub.repository, hub.configuration, split=hub.split)
    except Exception as error:  # the Hub client raises a wide family; all mean that the data is not to be had
        raise UserError(
            f"--benchmarks: cannot load {name} ({hub.repository}) from the Hub: {one_line(error, 200)};"
            f" give --data-dir with {name}/test.jsonl in it"
        ) from None
    questions = _questions([dict(row) for row in rows], name, hub.problem, hub.answer)
    if name == "gsm8k":  # its answers are whole solutions that end in "#### 42"
        return [replace(q, answer=q.answer.rpartition("####")[2].strip(), solution=q.answer) for q in questions]
    return questions


def _as_answer(value: Any) -> str:
    """OlympiadBench holds a list of one answer."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
