"""Samples of a set of questions, drawn by every rank into an append-only log; knows nothing of grading.

    samples.jsonl          one line a sample, keyed (dataset, id, sample), in the order of the key, once all are drawn
    samples.rank-0.jsonl   what a rank has drawn so far: a line is appended and flushed for every sample
    config.yaml            the settings; samples of other settings, weights or prompts are never mixed in

    with process_group(PATIENCE) as world:
        draw_samples(model, sampling, questions, output, settings, resume=True, world=world)
        records = merge(output) if world.is_first else []

Batches are cut from the whole list of requests, whatever is done already and however many ranks there are, and a batch
is logged whole; so with the Hugging Face back-end a killed and resumed run draws the same samples as an unbroken one.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
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
from dftcore.distributed import World, barrier
from dftcore.errors import UserError
from dftcore.files import json_line, open_log, read_log, set_aside, write_json_lines, write_text
from dftcore.options import option
from dftcore.questions import Question
from dftcore.runs import read_config
from dftcore.sampling.backends import BATCH_SIZES, Backend, load_sampler, refuse_absent
from dftcore.sampling.interface import Decoding, Generation, Request, Sampler, sample_seed
from dftcore.sampling.prompts import Prompt, PromptName, load_tokenizer_and_prompt, stop_rule

PATIENCE = timedelta(days=7)  # of the process group: ranks finish at different times; waiting for the last is no fault


@dataclass(frozen=True, kw_only=True)
class BackendOptions:
    chat_template: str | None = option(None, f"template file, or {' | '.join(chat.PLAIN_TEMPLATES)}")
    prompt: PromptName = option("auto", "what is asked around the problem; auto: as suits the model's family")
    dtype: Literal["float32", "bfloat16"] = option("bfloat16", "type of the weights and of compute")
    backend: Backend = option("hf", "what generates: Hugging Face generate, transformers' continuous batching, or vLLM")


@dataclass(frozen=True, kw_only=True)
class SampledModelOptions(BackendOptions):
    model: str = option(help="Hub id or local directory in Hugging Face safetensors format")


@dataclass(frozen=True)
class SamplingOptions:
    samples: int = option(16, "completions of each question", minimum=1)
    temperature: float = option(1.0, "of sampling; 0 takes the most likely token", minimum=0)
    top_p: float = option(1.0, "share of probability that is sampled from", above=0, maximum=1)
    max_new_tokens: int = option(4096, "longest completion", minimum=1)
    sampling_batch_size: int | None = option(
        None, "completions in one call on one rank; none: 32 with hf, 512 with continuous, 2048 with vllm", minimum=1
    )
    seed: int = option(0, "of the samples", minimum=0, maximum=2**63 - 1)


Key = tuple[str, str, int]
Record = dict[str, Any]
# Settings that change what is drawn.
_DRAWN_BY = ("model", "chat_template", "prompt", "dtype", "backend", "temperature", "top_p", "max_new_tokens", "seed")


@dataclass(frozen=True)
class _Task:
    """One sample to draw."""

    question: Question
    sample: int
    request: Request

    @property
    def key(self) -> Key:
        return self.question.dataset, self.question.id, self.sample


def draw_samples(
    model: SampledModelOptions,
    sampling: SamplingOptions,
    questions: Sequence[Question],
    output: Path,
    settings: dict[str, Any],
    *,
    resume: bool,
    world: World,
) -> None:
    """Draw what is missing in `output`; every rank calls it and takes the next batch that nobody has taken.

    `settings` are the caller's options, those of `model` and `sampling` among them, kept as config.yaml. Without
    `resume` the samples that are there are set aside. Raises UserError for settings, weights or prompts that differ
    from those of the samples that are there.
    """
    refuse_absent(model.backend)
    if resume:
        refuse_other_settings(output, settings)
    directory = models.find_model(model.model)
    tokenizer, prompt = load_tokenizer_and_prompt(directory, model.chat_template, model.prompt)
    models.check_vocabulary(tokenizer, models.load_config(directory), directory)
    tasks = _tasks(sampling, questions, tokenizer, prompt)
    if not resume and world.is_first:
        for path in [*_logs(output), output / "results.json"]:
            if path.exists():
                set_aside(path)
    barrier()
    weights = models.fingerprint(directory)
    done = _done(output, tasks, weights)
    barrier()  # every rank has read before any writes
    if world.is_first:
        output.mkdir(parents=True, exist_ok=True)
        write_text(output / "config.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    barrier()
    size = sampling.sampling_batch_size or BATCH_SIZES[model.backend]
    batches = [tasks[start : start + size] for start in range(0, len(tasks), size)]
    missing = [batch for batch in batches if any(task.key not in done for task in batch)]
    if missing:
        decoding = Decoding(
            sampling.temperature, sampling.top_p, sampling.max_new_tokens, stop_rule(tokenizer, directory, prompt)
        )
        sampler = load_sampler(
            model.backend, directory, tokenizer, decoding, device=world.device, dtype=getattr(torch, model.dtype)
        )
        common = {"run": model.model, "backend": model.backend, "weights": weights}
        _draw_batches(sampler, missing, done, output, common, world)
    barrier()


def _draw_batches(
    sampler: Sampler, batches: list[list[_Task]], done: set[Key], output: Path, common: Record, world: World
) -> None:
    drawn = [0, *accumulate(map(len, batches))]  # samples of the first so many batches, which go out in order
    part = output / f"samples.rank-{world.rank}.jsonl"
    with (
        open_log(part, read_log(part)) as log,
        tqdm(total=drawn[-1], desc="sampling", unit="sample", dynamic_ncols=True, disable=not world.is_first) as bar,
    ):
        while (index := world.next_number(f"batches of {output}")) < len(batches):
            batch = batches[index]
            began = time.perf_counter()
            try:
                generations = sampler.sample([task.request for task in batch])
            except torch.OutOfMemoryError:
                raise UserError(
                    f"--sampling-batch-size: the device has no room for {len(batch)} completions at a time; give fewer,"
                    " what is drawn is kept"
                ) from None
            seconds = (time.perf_counter() - began) / len(batch)
            pairs = zip(batch, generations, strict=True)
            records = (_record(common, task, found, seconds) for task, found in pairs if task.key not in done)
            log.write("".join(map(json_line, records)))
            log.flush()
            os.fsync(log.fileno())
            bar.update(drawn[index + 1] - bar.n)
        bar.update(drawn[-1] - bar.n)


def _tasks(sampling: SamplingOptions, questions: Iterable[Question], tokenizer: Any, prompt: Prompt) -> list[_Task]:
    """All samples to draw: prompts of similar length together, the longest first, a question's samples together."""
    prompts = [(chat.render(tokenizer, prompt.messages(q.problem), prompt=True), q) for q in questions]
    tasks = []
    for text, question in sorted(prompts, key=lambda pair: (-len(pair[0]), pair[1].dataset, pair[1].id)):
        for sample in range(sampling.samples):
            seed = sample_seed(sampling.seed, question.dataset, question.id, sample)
            tasks.append(_Task(question, sample, Request(text, seed)))
    return tasks


def _record(common: Record, task: _Task, generation: Generation, seconds: float) -> Record:
    dataset, question, sample = task.key
    return {
        **common,
        "dataset": dataset,
        "id": question,
        "sample": sample,
        "seed": task.request.seed,
        "prompt": _digest(task.request.prompt),
        **asdict(generation),
        "seconds": round(seconds, 4),  # its share of the call that drew it
    }


def key_of(record: Record) -> Key:
    return record["dataset"], record["id"], record["sample"]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _logs(output: Path) -> list[Path]:
    """samples.jsonl and the parts of it that ranks write."""
    return [path for path in (output / "samples.jsonl", *sorted(output.glob("samples.rank-*.jsonl"))) if path.exists()]


def _logged(output: Path) -> list[Record]:
    return [record for path in _logs(output) for record in read_log(path)]


def _done(output: Path, tasks: Sequence[_Task], weights: str) -> set[Key]:
    """The keys of samples that need not be drawn. Refuses samples of other weights or of another question."""
    prompts = {task.key: _digest(task.request.prompt) for task in tasks}
    found = set()
    for record in _logged(output):
        key = key_of(record)
        if record.get("weights") != weights or prompts.get(key, record["prompt"]) != record["prompt"]:
            what = "the model's weights" if record.get("weights") != weights else f"question {key[1]} of {key[0]}"
            raise UserError(
                f"--output: {output} holds samples drawn before {what} changed; choose another --output, or give"
                " --no-resume to sample anew"
            )
        found.add(key)
    return found


def merge(output: Path) -> list[Record]:
    """Every sample once, in the order of its key, as samples.jsonl; the parts of the ranks are folded in."""
    merged = {key_of(record): record for record in _logged(output)}
    records = [merged[key] for key in sorted(merged)]
    if not records:
        return []
    write_json_lines(output / "samples.jsonl", records)
    for part in output.glob("samples.rank-*.jsonl"):
        part.unlink()
    return records


def refuse_other_settings(output: Path, settings: dict[str, Any]) -> None:
    """Samples drawn under other settings are never mixed with new ones, nor reported as theirs. Raises UserError."""
    path = output / "config.yaml"
    if not path.is_file():
        return
    before = read_config(path, "--output")
    changed = [name for name in _DRAWN_BY if before.get(name) != settings[name]]
    if changed:
        name = changed[0]
        raise UserError(
            f"--{name.replace('_', '-')}: {output} holds samples drawn with {before.get(name)}, now"
            f" {settings[name]}; restore it, choose another --output, or give --no-resume to sample anew"
        )
