"""Evaluation of a model: sample, grade, report; each stage a pass over files, so any can be resumed or redone alone.

samples.jsonl    one line a sample, keyed (dataset, id, sample); its gold, what was extracted, the verdict
results.json     per benchmark: avg@n, pass@k and maj@k, rates of what went wrong; label statistics if asked for
results.md       its tables           results.png    the same as a picture, where matplotlib is installed
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dftcore import models
from dftcore.distributed import World, barrier, process_group
from dftcore.errors import UserError
from dftcore.evaluation.options import BenchmarkOptions, EvaluateOptions
from dftcore.evaluation.report import write_report
from dftcore.evaluation.summary import summarise
from dftcore.files import alone_in, check_writable, read_json, write_json_lines
from dftcore.grading import check_batch, locate_answer
from dftcore.options import flatten
from dftcore.questions import Question, load_questions, origin_of
from dftcore.sampling import (
    PATIENCE,
    SampledModelOptions,
    draw_samples,
    merge,
    refuse_absent,
    refuse_other_settings,
)
from dftcore.sampling.huggingface import load_model
from dftcore.sampling.prompts import load_tokenizer_and_prompt
from dftcore.scoring import label_statistics

GRADED = ("gold", "extracted", "found_by", "correct", "check_status")  # what `grade` puts into a sample's record


def evaluate(options: EvaluateOptions) -> dict[str, Any]:
    """Run or resume the evaluation that `options` describe; returns what results.json holds, on the first rank."""
    questions = load_benchmarks(options.benchmarks)
    check_writable(options.report.output, "--output")
    if options.report.grade_only:
        refuse_other_settings(options.report.output, flatten(options))
    else:
        refuse_absent(options.model.backend)
    with process_group(PATIENCE) as world:
        return evaluate_on(world, options, questions)


def load_benchmarks(options: BenchmarkOptions) -> list[Question]:
    """The questions of all benchmarks. Raises UserError for two of one name, or columns that are missing."""
    questions = [q for name in options.benchmarks for q in load_questions(name, options.data_dir, options.limit)]
    if len({question.dataset for question in questions}) != len(options.benchmarks):
        raise UserError(f"--benchmarks: two of {', '.join(options.benchmarks)} have the same name; rename a file")
    if options.label_statistics and not all(question.solution for question in questions):
        raise UserError("--label-statistics: a question has no 'solution'; give benchmarks with that column")
    return questions


def evaluate_on(world: World, options: EvaluateOptions, questions: Sequence[Question]) -> dict[str, Any]:
    """`evaluate` within a process group; every rank calls it. Raises UserError while another is at work in --output."""
    if not world.is_first:
        return _sample_and_grade(world, options, questions)
    output = options.report.output
    if options.report.grade_only and not (output / "config.yaml").is_file():
        raise UserError(f"--output: {output} holds no samples; run without --grade-only first")
    output.mkdir(parents=True, exist_ok=True)
    with alone_in(output):
        return _sample_and_grade(world, options, questions)


def _sample_and_grade(world: World, options: EvaluateOptions, questions: Sequence[Question]) -> dict[str, Any]:
    statistics: dict[str, Any] = {}
    if not options.report.grade_only:
        draw_samples(
            options.model,
            options.sampling,
            questions,
            options.report.output,
            flatten(options),
            resume=options.report.resume,
            world=world,
        )
        if options.benchmarks.label_statistics:
            statistics = _label_statistics(options.model, questions, world)
    results: dict[str, Any] = {}
    if world.is_first:
        results = _grade_and_report(options, questions, statistics)
    barrier()
    return results


def _label_statistics(options: SampledModelOptions, questions: Sequence[Question], world: World) -> dict[str, Any]:
    directory = models.find_model(options.model)
    tokenizer, prompt = load_tokenizer_and_prompt(directory, options.chat_template, options.prompt)
    model = load_model(directory, world.device, getattr(torch, options.dtype))
    conversations = [
        [*prompt.messages(q.problem), {"role": "assistant", "content": q.solution or ""}] for q in questions
    ]
    return label_statistics(model, tokenizer, conversations, world)


def _grade_and_report(
    options: EvaluateOptions, questions: Sequence[Question], statistics: dict[str, Any]
) -> dict[str, Any]:
    """Grade every sample anew, write the verdicts into samples.jsonl, and the report beside it."""
    output, wanted = options.report.output, options.sampling.samples
    records = merge(output)
    if not records:
        raise UserError(f"--output: {output} holds no samples; run without --grade-only first")
    answers = {(question.dataset, question.id): question.answer for question in questions}
    graded = [r for r in records if (r["dataset"], r["id"]) in answers and r["sample"] < wanted]
    if not graded:
        raise UserError(f"--benchmarks: none of the samples in {output} belongs to {options.benchmarks.benchmarks}")
    policy = options.benchmarks.grading_policy
    for record in records:  # no verdict of an earlier grading is left beside those of this one
        for name in GRADED:
            record.pop(name, None)
    grade(graded, [answers[record["dataset"], record["id"]] for record in graded], policy)
    write_json_lines(output / "samples.jsonl", records)
    expected = Counter({name: wanted * count for name, count in Counter(q.dataset for q in questions).items()})
    results = {
        "options": flatten(options),
        **summarise(graded, expected, options.sampling.seed, policy),
        "questions": _provenance(options.benchmarks, questions),
    }
    statistics = statistics or _measured_before(output / "results.json")  # grading alone does not measure them anew
    if statistics:
        results["label_statistics"] = statistics
    write_report(output, results)
    return results


def _provenance(options: BenchmarkOptions, questions: Sequence[Question]) -> dict[str, Any]:
    """Of each benchmark: where its questions come from, how many they are, a digest of questions and answers."""
    found = {}
    for name in options.benchmarks:
        origin = origin_of(name, options.data_dir)
        chosen = [question for question in questions if question.dataset == origin.dataset]
        text = json.dumps([(q.id, q.problem, q.answer) for q in chosen])
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        found[origin.dataset] = {"source": str(origin), "questions": len(chosen), "digest": digest}
    return found


def grade(records: Sequence[dict[str, Any]], golds: Sequence[str], policy: str = "strict") -> None:
    """Put into each sample's record its gold, the answer found in it and by which rule, the verdict, how it ended."""
    pairs = [(gold, record["completion"]) for gold, record in zip(golds, records, strict=True)]
    for record, (gold, completion), verdict in zip(records, pairs, check_batch(pairs, policy=policy), strict=True):
        record["gold"] = gold
        record["extracted"], record["found_by"] = locate_answer(completion, policy)
        record["correct"], record["check_status"] = verdict.verdict, verdict.status


def _measured_before(path: Path) -> dict[str, Any]:
    return read_json(path).get("label_statistics", {}) if path.is_file() else {}
