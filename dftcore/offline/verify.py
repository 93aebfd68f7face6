"""Sampled responses graded, and made into training data.

    samples.jsonl     every response with `correct`, `extracted` and `check_status`
    verified.jsonl    right responses that ended by themselves, as messages: the data of rft, sft, dft, iw_sft
    pairs.jsonl       a right and a wrong response to the same prompt: the data of dpo
    verified.json     acceptance by level and by question, duplicates, what the checker could not read

A response that was cut off is neither verified nor a right half of a pair: it would teach never to stop.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dftcore.errors import UserError
from dftcore.evaluation.run import grade
from dftcore.files import check_writable, read_log, write_json, write_json_lines
from dftcore.options import option
from dftcore.tables import markdown_table

Record = dict[str, Any]


@dataclass(frozen=True)
class VerifyOptions:
    input: Path = option(help="directory that `sample` wrote")
    output: Path | None = option(None, "directory for verified.jsonl and pairs.jsonl; none: the input's")
    keep_per_question: int | None = option(None, "right responses kept of a question; none: all", minimum=1)
    pairs_per_question: int = option(1, "pairs made of a question; 0: none", minimum=0)
    seed: int = option(0, "of which responses are kept and paired", minimum=0, maximum=2**63 - 1)


@dataclass(frozen=True)
class VerifyConfig:
    verify: VerifyOptions


def verify(options: VerifyOptions) -> None:
    """Grade every response, write the data and the statistics. Raises UserError when no response is right."""
    output = options.output or options.input
    check_writable(output, "--output")
    questions, samples = read_log(options.input / "questions.jsonl"), read_log(options.input / "samples.jsonl")
    if not questions or not samples:
        raise UserError(f"--input: {options.input} holds no sampled responses; run `python -m dftcore sample` first")
    answers = {question["id"]: question["answer"] for question in questions}
    graded = [record for record in samples if record["id"] in answers]
    grade(graded, [answers[record["id"]] for record in graded])
    write_json_lines(output / "samples.jsonl", graded)
    by_question: dict[str, list[Record]] = defaultdict(list)
    for record in graded:
        by_question[record["id"]].append(record)
    verified, pairs, duplicates = [], [], 0
    for question in questions:
        responses = by_question[question["id"]]
        right = [record for record in responses if record["correct"] and record["finish"] == "stop"]
        kept = _distinct(right)
        duplicates += len(right) - len(kept)
        wrong = _distinct(record for record in responses if not record["correct"] and record["check_status"] == "ok")
        draw = random.Random(f"{options.seed} {question['id']}")
        verified += [_as_row(question, record) for record in _some(kept, options.keep_per_question, draw)]
        pairs += _pairs(question, kept, wrong, options.pairs_per_question, draw)
    statistics = _statistics(questions, by_question) | {
        "duplicates": duplicates,
        "verified": len(verified),
        "pairs": len(pairs),
    }
    write_json(output / "verified.json", statistics)
    print(table(statistics))
    if not verified:
        for name in ("verified.jsonl", "pairs.jsonl"):  # of earlier responses
            (output / name).unlink(missing_ok=True)
        raise UserError(
            f"none of {len(graded)} responses is right and ended by itself; sample more of each question, choose easier"
            " ones, or start from a stronger model"
        )
    write_json_lines(output / "verified.jsonl", verified)
    write_json_lines(output / "pairs.jsonl", pairs)
    print(f"{len(verified)} verified responses and {len(pairs)} pairs are in {output}; {duplicates} duplicates removed")


def _distinct(records: Iterable[Record]) -> list[Record]:
    """The first of those that differ in white space only."""
    return list({" ".join(record["completion"].split()): record for record in reversed(list(records))}.values())[::-1]


def _some(records: Sequence[Record], count: int | None, draw: random.Random) -> list[Record]:
    chosen = (
        range(len(records)) if count is None else sorted(draw.sample(range(len(records)), min(count, len(records))))
    )
    return [records[index] for index in chosen]


def _as_row(question: Record, record: Record) -> Record:
    answer = {"role": "assistant", "content": record["completion"]}
    return {"id": f"{question['id']}/{record['sample']}", "messages": [*question["messages"], answer]}


def _pairs(
    question: Record, right: Sequence[Record], wrong: Sequence[Record], count: int, draw: random.Random
) -> list[Record]:
    """Right and wrong responses drawn without repetition."""
    count = min(count, len(right), len(wrong))
    chosen, rejected = draw.sample(list(right), count), draw.sample(list(wrong), count)
    return [
        {
            "id": f"{question['id']}/{good['sample']}/{bad['sample']}",
            "prompt": question["messages"],
            "chosen": good["completion"],
            "rejected": bad["completion"],
        }
        for good, bad in zip(chosen, rejected, strict=True)
    ]


def _statistics(questions: Sequence[Record], by_question: dict[str, list[Record]]) -> dict[str, Any]:
    """Acceptance overall, by level where the data have one, and how many questions were solved how often."""
    graded = [record for records in by_question.values() for record in records]
    levels: dict[str, list[Record]] = defaultdict(list)
    for question in questions:
        if "level" in question and by_question[question["id"]]:
            levels[question["level"]] += by_question[question["id"]]
    solved = Counter(sum(record["correct"] for record in records) for records in by_question.values())
    return {
        "questions": len(questions),
        "responses": len(graded),
        "accepted": sum(record["correct"] for record in graded),
        "cut_off": sum(record["finish"] == "length" for record in graded),
        "without_answer": sum(record["extracted"] is None for record in graded),
        "checker_failures": sum(record["check_status"] != "ok" for record in graded),
        "questions_by_times_solved": {str(times): solved[times] for times in sorted(solved)},
        "by_level": {
            level: {"responses": len(records), "accepted": sum(record["correct"] for record in records)}
            for level, records in sorted(levels.items())
        },
    }


def table(statistics: dict[str, Any]) -> str:
    """Acceptance, overall and by level."""
    rows = [("level", "responses", "right", "acceptance")]
    for level, found in [*statistics["by_level"].items(), ("all", statistics)]:
        rate = found["accepted"] / found["responses"]
        rows.append((level, str(found["responses"]), str(found["accepted"]), f"{rate:.1%}"))
    return markdown_table(rows)
