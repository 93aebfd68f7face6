"""Evaluation of a model: sample, grade, report; each stage a pass over files, so any can be resumed or redone alone.

    samples.jsonl    one line a sample, keyed (dataset, id, sample); parts of it per rank while sampling goes on
    results.json     per benchmark: avg@n with its interval, extraction, truncation and checker rates, label statistics
    results.md       its table

Batches are cut from the whole list of requests, whatever is done already and however many ranks there are, and a batch
is logged whole; so a killed and resumed evaluation draws the same samples as an unbroken one.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from tqdm import tqdm

from dftcore import models
from dftcore.data import chat
from dftcore.distributed import World, barrier, process_group
from dftcore.errors import UserError
from dftcore.files import (
    check_writable,
    json_line,
    open_log,
    read_log,
    set_aside,
    write_json,
    write_json_lines,
    write_text,
)
from dftcore.grading import check_batch, extract_answer
from dftcore.options import flatten, option, to_yaml
from dftcore.questions import Question, load_questions
from dftcore.sampling import HuggingFaceSampler, Request, sample_seed
from dftcore.scoring import label_statistics
from dftcore.statistics import average_accuracy
from dftcore.tables import markdown_table

_STEP_BY_STEP = "\nPlease reason step by step, and put your final answer within \\boxed{}."
# name -> (system message or None for the template's own, text before and after the problem)
PROMPTS: dict[str, tuple[str | None, str, str]] = {
    "qwen": ("You are a helpful assistant.", "", _STEP_BY_STEP),
    "boxed": (None, "", _STEP_BY_STEP),
    "problem": (None, "", ""),
}
_WEEK = timedelta(days=7)  # ranks finish sampling at different times; waiting for the last is no fault


@dataclass(frozen=True)
class EvaluatedOptions:
    model: str = option(help="Hub id or local directory in Hugging Face safetensors format")
    chat_template: str | None = option(None, "template file, or user-assistant | problem-solution")
    dtype: Literal["float32", "bfloat16"] = option("bfloat16", "type of the weights and of compute")
    backend: Literal["hf"] = option("hf", "what generates: Hugging Face generate")


@dataclass(frozen=True)
class BenchmarkOptions:
    benchmarks: tuple[str, ...] = option(help="names (math500, gsm8k, ...) or files with problem/answer columns")
    data_dir: Path | None = option(None, "directory with <name>/test.jsonl, looked at before the Hub")
    limit: int | None = option(None, "first questions of each benchmark; none: all", minimum=1)
    prompt: Literal["qwen", "boxed", "problem"] = option("qwen", "what is asked around the problem")
    label_statistics: bool = option(False, "also the NLL and label probabilities of the reference solutions")


@dataclass(frozen=True)
class SamplingOptions:
    samples: int = option(16, "completions of each question", minimum=1)
    temperature: float = option(1.0, "of sampling; 0 takes the most likely token", minimum=0)
    top_p: float = option(1.0, "share of probability that is sampled from", above=0, maximum=1)
    max_new_tokens: int = option(4096, "longest completion", minimum=1)
    sampling_batch_size: int = option(32, "completions generated side by side on one rank", minimum=1)
    seed: int = option(0, "of the samples", minimum=0, maximum=2**63 - 1)


@dataclass(frozen=True)
class ReportOptions:
    output: Path = option(help="directory for samples.jsonl and results.json")
    resume: bool = option(True, "go on from the samples that the directory holds")
    grade_only: bool = option(False, "grade and report the samples that are there; load no model")


@dataclass(frozen=True)
class EvaluateOptions:
    model: EvaluatedOptions
    benchmarks: BenchmarkOptions
    sampling: SamplingOptions
    report: ReportOptions


Key = tuple[str, str, int]
# Options that change what is sampled; samples of other settings are never mixed in.
_SAMPLED_BY = ("model", "chat_template", "dtype", "prompt", "temperature", "top_p", "max_new_tokens", "seed")


@dataclass(frozen=True)
class _Task:
    """One sample to draw."""

    question: Question
    sample: int
    request: Request

    @property
    def key(self) -> Key:
        return self.question.dataset, self.question.id, self.sample


def evaluate(options: EvaluateOptions) -> dict[str, Any]:
    """Run or resume the evaluation that `options` describe; returns what results.json holds."""
    output, wanted = options.report.output, options.benchmarks
    questions = [q for name in wanted.benchmarks for q in load_questions(name, wanted.data_dir, wanted.limit)]
    names = list(dict.fromkeys(question.dataset for question in questions))
    if len(names) != len(wanted.benchmarks):
        raise UserError(f"--benchmarks: two of {', '.join(wanted.benchmarks)} have the same name; rename a file")
    check_writable(output, "--output")
    if wanted.label_statistics and not all(question.solution for question in questions):
        raise UserError("--label-statistics: a question has no 'solution'; give benchmarks with that column")
    if options.report.resume:
        _refuse_other_settings(options)
    statistics: dict[str, Any] = {}
    with process_group(_WEEK) as world:
        if not options.report.grade_only:
            statistics = _sample_all(options, questions, world)
        results: dict[str, Any] = {}
        if world.is_first:
            records = _merge(output)
            results = _grade_and_report(options, questions, records, statistics)
        barrier()
    return results


def _sample_all(options: EvaluateOptions, questions: list[Question], world: World) -> dict[str, Any]:
    """Draw what is missing; every rank takes the next batch that nobody has taken."""
    output = options.report.output
    directory = models.find_model(options.model.model)
    tokenizer = chat.load_tokenizer(str(directory), options.model.chat_template)
    models.check_vocabulary(tokenizer, models.load_config(directory), directory)
    batches = list(_batches(options, questions, tokenizer))
    if not options.report.resume and world.is_first:
        for path in [*_logs(output), output / "results.json"]:
            if path.exists():
                set_aside(path)
    barrier()
    weights = models.fingerprint(directory)
    done = _done(output, batches, weights)
    barrier()  # every rank has read before any writes
    if world.is_first:
        output.mkdir(parents=True, exist_ok=True)
        write_text(output / "config.yaml", to_yaml(options))
    barrier()
    missing = [batch for batch in batches if any(task.key not in done for task in batch)]
    sampler = None
    if missing or options.benchmarks.label_statistics:
        sampler = HuggingFaceSampler(
            directory,
            tokenizer,
            models.stop_ids(tokenizer, directory),
            device=world.device,
            dtype=getattr(torch, options.model.dtype),
            temperature=options.sampling.temperature,
            top_p=options.sampling.top_p,
            max_new_tokens=options.sampling.max_new_tokens,
        )
    drawn = [0, *accumulate(map(len, missing))]  # samples of the first so many batches, which go out in order
    part = output / f"samples.rank-{world.rank}.jsonl"
    with (
        open_log(part, read_log(part)) as log,
        tqdm(
            total=drawn[-1], desc="sampling", unit="sample", dynamic_ncols=True, disable=not world.is_first
        ) as progress,
    ):
        while sampler and (index := world.next_number("batches")) < len(missing):
            batch = missing[index]
            began = time.perf_counter()
            generations = sampler.sample([task.request for task in batch])
            seconds = (time.perf_counter() - began) / len(batch)
            lines = [
                json_line(_record(options, task, asdict(generation), weights, seconds))
                for task, generation in zip(batch, generations, strict=True)
                if task.key not in done
            ]
            log.write("".join(lines))
            log.flush()
            os.fsync(log.fileno())
            progress.update(drawn[index + 1] - progress.n)
        progress.update(drawn[-1] - progress.n)
    statistics = {}
    if sampler and options.benchmarks.label_statistics:
        conversations = [
            [*_messages(options.benchmarks.prompt, q.problem), {"role": "assistant", "content": q.solution or ""}]
            for q in questions
        ]
        statistics = label_statistics(sampler.model, tokenizer, conversations, world)
    barrier()
    return statistics


def _batches(options: EvaluateOptions, questions: Sequence[Question], tokenizer: Any) -> Iterator[list[_Task]]:
    """All samples to draw, in fixed batches: prompts of similar length together, a question's samples together."""
    prompts = {}
    for question in questions:
        messages = _messages(options.benchmarks.prompt, question.problem)
        prompts[question.dataset, question.id] = chat.render(tokenizer, messages, prompt=True)
    tasks = []
    for question in sorted(questions, key=lambda q: (-len(prompts[q.dataset, q.id]), q.dataset, q.id)):
        for sample in range(options.sampling.samples):
            seed = sample_seed(options.sampling.seed, question.dataset, question.id, sample)
            tasks.append(_Task(question, sample, Request(prompts[question.dataset, question.id], seed)))
    size = options.sampling.sampling_batch_size
    return (tasks[start : start + size] for start in range(0, len(tasks), size))


def _messages(prompt: str, problem: str) -> list[dict[str, str]]:
    system, before, after = PROMPTS[prompt]
    user = {"role": "user", "content": f"{before}{problem}{after}"}
    return [{"role": "system", "content": system}, user] if system is not None else [user]


def _record(
    options: EvaluateOptions, task: _Task, generation: dict[str, Any], weights: str, seconds: float
) -> dict[str, Any]:
    dataset, question, sample = task.key
    return {
        "run": options.model.model,
        "dataset": dataset,
        "id": question,
        "sample": sample,
        "seed": task.request.seed,
        "prompt": _digest(task.request.prompt),
        "weights": weights,
        **generation,
        "seconds": round(seconds, 4),
    }


def _key(record: dict[str, Any]) -> Key:
    return record["dataset"], record["id"], record["sample"]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _logs(output: Path) -> list[Path]:
    """samples.jsonl and the parts of it that ranks write."""
    return [path for path in (output / "samples.jsonl", *sorted(output.glob("samples.rank-*.jsonl"))) if path.exists()]


def _logged(output: Path) -> list[dict[str, Any]]:
    return [record for path in _logs(output) for record in read_log(path)]


def _done(output: Path, batches: Sequence[Sequence[_Task]], weights: str) -> set[Key]:
    """The keys of samples that need not be drawn. Refuses samples of other weights or of another question."""
    prompts = {task.key: _digest(task.request.prompt) for batch in batches for task in batch}
    found = set()
    for record in _logged(output):
        key = _key(record)
        if record.get("weights") != weights or prompts.get(key, record["prompt"]) != record["prompt"]:
            what = "the model's weights" if record.get("weights") != weights else f"question {key[1]} of {key[0]}"
            raise UserError(
                f"--output: {output} holds samples drawn before {what} changed; choose another --output, or give"
                " --no-resume to sample anew"
            )
        found.add(key)
    return found


def _merge(output: Path) -> list[dict[str, Any]]:
    """Every sample once, in the order of its key, as samples.jsonl; the parts of the ranks are folded in."""
    merged = {_key(record): record for record in _logged(output)}
    records = [merged[key] for key in sorted(merged)]
    if not records:
        raise UserError(f"--output: {output} holds no samples; run without --grade-only first")
    write_json_lines(output / "samples.jsonl", records)
    for part in output.glob("samples.rank-*.jsonl"):
        part.unlink()
    return records


def _grade_and_report(
    options: EvaluateOptions, questions: list[Question], records: list[dict[str, Any]], statistics: dict[str, Any]
) -> dict[str, Any]:
    """Grade every sample anew, write the verdicts into samples.jsonl, and the summary into results.json."""
    output = options.report.output
    answers = {(question.dataset, question.id): question.answer for question in questions}
    samples = options.sampling.samples
    graded = [r for r in records if (r["dataset"], r["id"]) in answers and r["sample"] < samples]
    if not graded:
        raise UserError(f"--benchmarks: none of the samples in {output} belongs to {options.benchmarks.benchmarks}")
    if not statistics and (output / "results.json").is_file():  # grading alone does not measure them anew
        statistics = json.loads((output / "results.json").read_text(encoding="utf-8")).get("label_statistics", {})
    pairs = [(answers[record["dataset"], record["id"]], record["completion"]) for record in graded]
    for record, verdict in zip(graded, check_batch(pairs), strict=True):
        record["extracted"] = extract_answer(record["completion"])
        record["correct"], record["check_status"] = verdict.verdict, verdict.status
    write_json_lines(output / "samples.jsonl", records)
    by_dataset: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in graded:
        by_dataset[record["dataset"]].append(record)
    expected = Counter({name: samples * count for name, count in Counter(q.dataset for q in questions).items()})
    results = {
        "options": flatten(options),
        "benchmarks": {name: _summary(group, expected[name]) for name, group in by_dataset.items()},
    }
    if statistics:
        results["label_statistics"] = statistics
    write_json(output / "results.json", results)
    write_text(output / "results.md", table(results) + "\n")
    return results


def _summary(records: list[dict[str, Any]], expected: int) -> dict[str, Any]:
    by_question: dict[str, list[bool]] = defaultdict(list)
    for record in records:
        by_question[record["id"]].append(record["correct"])
    count = len(records)

    def share(of: str, value: Any) -> float:
        return sum(record[of] == value for record in records) / count

    return {
        **asdict(average_accuracy(list(by_question.values()))),
        "missing_samples": expected - count,
        "extraction_rate": 1.0 - share("extracted", None),
        "truncation_rate": share("finish", "length"),
        "checker_failure_rate": 1.0 - share("check_status", "ok"),
        "mean_tokens": sum(record["tokens"] for record in records) / count,
    }


def _refuse_other_settings(options: EvaluateOptions) -> None:
    """Samples drawn under other settings are never mixed with new ones."""
    path = options.report.output / "config.yaml"
    if not path.is_file():
        return
    try:
        before = dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, TypeError, ValueError):
        raise UserError(f"--output: {path} is damaged; choose another --output or give --no-resume") from None
    now = flatten(options)
    changed = [name for name in _SAMPLED_BY if before.get(name) != now[name]]
    if changed:
        name = changed[0]
        raise UserError(
            f"--{name.replace('_', '-')}: {options.report.output} holds samples drawn with {before.get(name)}, now"
            f" {now[name]}; restore it, choose another --output, or give --no-resume to sample anew"
        )


def table(results: dict[str, Any]) -> str:
    """The summary for a terminal and for results.md."""
    rows = [("benchmark", "avg@n", "95 % interval", "questions", "samples", "extracted", "cut off", "tokens")]
    for name, found in results["benchmarks"].items():
        interval = f"{found['low']:.1%} .. {found['high']:.1%}"
        rates = (f"{found['extraction_rate']:.0%}", f"{found['truncation_rate']:.0%}", f"{found['mean_tokens']:.0f}")
        missing = f" of {found['samples'] + found['missing_samples']}" if found["missing_samples"] else ""
        counts = (str(found["questions"]), f"{found['samples']}{missing}")
        rows.append((name, f"{found['value']:.1%}", interval, *counts, *rates))
    return markdown_table(rows)
