"""A conversation as token ids, with the answers' tokens marked.

Rendering follows the tokenizer's chat template; the prompt part is exactly the text that sampling will send, and the
supervised part is the answer up to and including its end-of-turn token. Template text holds its own special tokens, so
nothing is added on encoding (no double BOS).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dftcore.errors import UserError, nearest

# For base models whose tokenizer carries no template. {bos} and {eos} come from the tokenizer.
PLAIN_TEMPLATES = {
    "user-assistant": (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] + '\n\n' }}"
        "{% elif m['role'] == 'user' %}{{ 'User: ' + m['content'] + '\n\n' }}"
        "{% else %}{{ 'Assistant: ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
    ),
    "problem-solution": (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}"
        "{{ 'Solution: ' + m['content'] + eos_token }}"
        "{% else %}{{ 'Problem: ' + m['content'] + '\n\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Solution:' }}{% endif %}"
    ),
    "llama-base": (
        "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'"
        " + m['content'] + eos_token + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
}


@dataclass(frozen=True)
class Segment:
    """A stretch of rendered text; only `supervised` ones are learned."""

    text: str
    supervised: bool


def load_tokenizer(
    directory: str,
    chat_template: str | None = None,
    fallback: Callable[[Any], str | None] = lambda tokenizer: None,
    option: str = "--model",
) -> Any:
    """The tokenizer of a model directory, with a chat template for sure: a named plain one, a file's, or its own.

    `fallback` may name a plain template for a tokenizer that has none. Raises UserError naming `option`.
    """
    from transformers import AutoTokenizer

    logging.getLogger("transformers.tokenization_utils_base").setLevel(logging.ERROR)
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    except Exception as error:
        raise UserError(f"{option}: no tokenizer could be loaded from {directory}: {_first_line(error)}") from None
    if chat_template is None and not tokenizer.chat_template:
        chat_template = fallback(tokenizer)
    if chat_template in PLAIN_TEMPLATES:
        tokenizer.chat_template = PLAIN_TEMPLATES[chat_template]
    elif chat_template is not None:
        path = Path(chat_template)
        if not path.is_file():
            hint = nearest(chat_template, PLAIN_TEMPLATES)
            raise UserError(f"--chat-template: {chat_template!r} is neither a file nor a named template{hint}")
        tokenizer.chat_template = path.read_text(encoding="utf-8")
    if not tokenizer.chat_template:
        raise UserError(
            f"{option}: the tokenizer of {directory} has no chat template; choose one with --chat-template"
            f" {'|'.join(PLAIN_TEMPLATES)} or a Jinja file"
        )
    if tokenizer.eos_token_id is None:
        raise UserError(f"{option}: the tokenizer of {directory} has no end-of-sequence token: answers could not end")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # labels are marked explicitly, so padding never masks an end token
    return tokenizer


def render(tokenizer: Any, messages: Sequence[dict[str, str]], *, prompt: bool) -> str:
    """The template's text; with `prompt`, up to where the assistant's answer begins."""
    try:
        return tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt)
    except Exception as error:
        raise UserError(f"the chat template refuses these messages: {_first_line(error)}") from None


def segments(tokenizer: Any, messages: Sequence[dict[str, str]], where: str) -> list[Segment]:
    """The conversation cut into prompt and answer stretches, one pair for every assistant turn."""
    if messages and not any(turn["role"] == "assistant" for turn in messages):
        raise UserError(f"{where}: no assistant turn to learn from")
    found: list[Segment] = []
    done = ""
    for index, turn in enumerate(messages):
        if turn["role"] != "assistant":
            continue
        before = render(tokenizer, messages[:index], prompt=True)
        after = render(tokenizer, messages[: index + 1], prompt=False)
        if not before.startswith(done) or not after.startswith(before):
            raise UserError(
                f"{where}: the chat template renders a turn differently once more turns follow, so the answer cannot be"
                " told from the prompt; give another with --chat-template"
            )
        answer = _through_end_token(after[len(before) :], turn["content"], tokenizer)
        found += [Segment(before[len(done) :], False), Segment(answer, True)]
        done = before + answer
        if not after.startswith(done):  # the template closes turns without an end token: ours stands in its place
            done = after
    return found


def _through_end_token(rendered: str, content: str, tokenizer: Any) -> str:
    """The answer cut just after its end-of-turn token (templates may add a newline); added where there is none."""
    start = rendered.find(content.strip())
    if start < 0:
        raise UserError(
            "the chat template alters the answer, so its tokens cannot be told; give another --chat-template"
        )
    end_of_content = start + len(content.strip())
    ends = [(rendered.find(token, end_of_content), token) for token in tokenizer.all_special_tokens]
    found = min(((position, token) for position, token in ends if position >= 0), default=None)
    return rendered[: found[0] + len(found[1])] if found else rendered.rstrip("\n") + tokenizer.eos_token


def end_token(tokenizer: Any) -> str:
    """The token that closes an assistant's turn under this chat template; what sampling must stop at."""
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    return segments(tokenizer, turns, "the chat template")[-1].text.rpartition("!")[2]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
