"""Preference pairs: rows with a prompt, a chosen and a rejected answer become two documents each, side by side.

A row has `prompt` (or `problem`), `chosen` and `rejected`. The answers are text, or turns: lists of {"role", "content"}
that go on from the prompt, or that repeat it, in which case both must begin alike. Only the last answer is learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dftcore.data import chat
from dftcore.data.encoding import Encoder
from dftcore.data.sources import Row
from dftcore.errors import UserError

Turns = list[dict[str, str]]


class PairEncoder(Encoder):
    """Numbered rows of pairs -> Encoded, the chosen answer's document before the rejected one's."""

    def documents(self, row: Row, where: str) -> list[list[chat.Segment]]:
        found = []
        for turns in to_pair(row, self.columns, where):
            segments = chat.segments(self.tokenizer, turns, where)
            found.append([replace(segment, supervised=False) for segment in segments[:-1]] + segments[-1:])
        return found


def to_pair(row: Row, columns: Mapping[str, str], where: str) -> tuple[Turns, Turns] | tuple[()]:
    """The two conversations of a row, () when an answer or the prompt is empty. Raises UserError naming `where`."""
    prompt_column = columns.get("prompt") or ("prompt" if "prompt" in row else columns.get("problem", "problem"))
    names = {"chosen": columns.get("chosen", "chosen"), "rejected": columns.get("rejected", "rejected")}
    for name, column in names.items():
        if column not in row:
            raise UserError(
                f"{where}: no column {column!r} among {', '.join(map(repr, row))}; dpo needs pairs: map it, e.g."
                f" --columns {name}=better"
            )
    answers = [_turns(row[column], "assistant", f"{where}: column {column!r}") for column in names.values()]
    if answers[0][:1] and answers[0][0]["role"] == "assistant":
        if prompt_column not in row:
            raise UserError(
                f"{where}: no column {prompt_column!r} among {', '.join(map(repr, row))}; map it, e.g. --columns"
                " prompt=question"
            )
        prompt = _turns(row[prompt_column], "user", f"{where}: column {prompt_column!r}")
        answers = [prompt + answer for answer in answers]
    if not all(answer and answer[-1]["content"].strip() and answer[0]["content"].strip() for answer in answers):
        return ()
    chosen, rejected = answers
    if chosen[:-1] != rejected[:-1]:
        raise UserError(f"{where}: the chosen and the rejected answer belong to different prompts; mend or remove it")
    for name, answer in zip(names, answers, strict=True):
        if answer[-1]["role"] != "assistant":
            raise UserError(f"{where}: the {name} conversation ends with a turn of {answer[-1]['role']!r}, no answer")
    return chosen, rejected


def _turns(value: Any, role: str, where: str) -> Turns:
    """Text as one turn of `role`, or a list of turns; [] for none."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not isinstance(value, list) or not all(
        isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
        for turn in value
    ):
        raise UserError(f"{where} is neither text nor a list of {{role, content}} turns")
    return [{"role": turn["role"], "content": turn["content"]} for turn in value]
