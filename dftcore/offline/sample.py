"""k responses of a model to each question of a training set, into an append-only log.

questions.jsonl   what was asked: id, answer, level if the data have one, and the messages of the prompt
samples.jsonl     one line a response, keyed (dataset, id, sample); see dftcore.sampling.run
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dftcore import models
from dftcore.data import sources
from dftcore.data.documents import Selection
from dftcore.distributed import barrier, process_group
from dftcore.errors import UserError
from dftcore.files import alone_in, check_writable, write_json_lines
from dftcore.grading import extract_answer
from dftcore.options import flatten, option
from dftcore.questions import Question
from dftcore.sampling.prompts import load_tokenizer_and_prompt
from dftcore.sampling.run import PATIENCE, SampledModelOptions, SamplingOptions, draw_samples, merge


@dataclass(frozen=True)
class QuestionOptions:
    data: str = option(help="Hub id, directory or file with problem, and answer or solution")
    split: str = option("train", "split of a Hub id or directory")
    columns: tuple[str, ...] = option((), "other column names, such as problem=question level=difficulty")
    max_questions: int | None = option(None, "questions taken from the data at random; none: all", minimum=1)


@dataclass(frozen=True)
class ResponseOptions(SamplingOptions):
    samples: int = option(4, "responses to each question", minimum=1)


@dataclass(frozen=True)
class OutputOptions:
    output: Path = option(help="directory for questions.jsonl and samples.jsonl")
    resume: bool = option(True, "go on from the samples that the directory holds")


@dataclass(frozen=True)
class SampleConfig:
    model: SampledModelOptions
    questions: QuestionOptions
    sampling: ResponseOptions
    output: OutputOptions


def sample(config: SampleConfig) -> None:
    """Draw what is missing. Raises UserError for data without a question whose answer is known."""
    output = config.output.output
    check_writable(output, "--output")
    questions, levels = _questions(config.questions, config.sampling.seed)
    output.mkdir(parents=True, exist_ok=True)
    with process_group(PATIENCE) as world, alone_in(output) if world.is_first else nullcontext():
        draw_samples(
            config.model,
            config.sampling,
            questions,
            output,
            flatten(config),
            resume=config.output.resume,
            world=world,
        )
        if world.is_first:
            records = merge(output)
            directory = models.find_model(config.model.model)
            _, prompt = load_tokenizer_and_prompt(directory, config.model.chat_template, config.model.prompt)
            write_json_lines(
                output / "questions.jsonl",
                (
                    {"id": q.id, "answer": q.answer, **levels.get(q.id, {}), "messages": prompt.messages(q.problem)}
                    for q in questions
                ),
            )
            print(f"{len(records)} responses to {len(questions)} questions are in {output}")
        barrier()


def _questions(options: QuestionOptions, seed: int) -> tuple[list[Question], dict[str, dict[str, str]]]:
    """The questions whose answer is known, and the level of each that has one."""
    columns = sources.parse_columns(options.columns)
    rows = sources.find_source(options.data, options.split).rows()
    order = Selection(options.max_questions, seed=seed).rows(len(rows)).tolist()
    found, levels = [], {}
    for number in order:
        row = rows[number]
        problem = row.get(columns.get("problem", "problem"))
        if not isinstance(problem, str):
            raise UserError(
                f"--data: {options.data}, row {number + 1}: no text in column {columns.get('problem', 'problem')!r}"
                f" among {', '.join(map(repr, row))}; map it, e.g. --columns problem=question"
            )
        answer = _answer(row, columns)
        if problem.strip() and answer:
            key = str(row.get("id", number))
            found.append(Question("train", key, problem, answer))
            if (level := row.get(columns.get("level", "level"))) is not None:
                levels[key] = {"level": str(level)}
    if not found:
        raise UserError(
            f"--data: none of {len(order)} rows of {options.data} has an answer that can be checked; give a column"
            " answer, or solutions that end in one (--columns answer=NAME maps it)"
        )
    if len({question.id for question in found}) < len(found):
        raise UserError(f"--data: {options.data}: an id occurs twice; give every row its own, or remove the column")
    if len(found) < len(order):
        print(f"{len(order) - len(found)} of {len(order)} rows have no answer that can be checked; they are left out")
    return found, levels


def _answer(row: Mapping[str, Any], columns: Mapping[str, str]) -> str | None:
    """The answer column; without one, the answer that the solution ends in."""
    if (answer := row.get(columns.get("answer", "answer"))) is not None:
        return str(answer).strip()
    solution = row.get(columns.get("solution", "solution"))
    return extract_answer(solution) if isinstance(solution, str) else None
