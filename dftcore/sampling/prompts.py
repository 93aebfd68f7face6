"""What a model is asked around a problem, for each family of models, and where its answer ends.

The evaluation protocol of arXiv 2508.05629: Qwen's chat format with a short system message; for base Llama the Llama-3
headers, turns closed by the end-of-text token; for DeepSeekMath "User: ...\\n\\nAssistant:". `auto` tells the family by
what the tokenizer knows, its chat template and special tokens, and by the model type; never by the model's path.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dftcore import models
from dftcore.data import chat
from dftcore.sampling.interface import StopRule

_STEP_BY_STEP = "\nPlease reason step by step, and put your final answer within \\boxed{}."

PromptName = Literal["auto", "qwen", "llama-base", "deepseek", "boxed", "base", "problem"]


@dataclass(frozen=True)
class Prompt:
    """A conversation of one question. template: the plain one for a tokenizer without a chat template of its own.

    stop: what a base model writes when it goes on with a question of its own; its answer ended before that.
    """

    system: str | None = None  # None: the template's own
    after: str = _STEP_BY_STEP
    template: str | None = None
    stop: tuple[str, ...] = ()

    def messages(self, problem: str) -> list[dict[str, str]]:
        user = {"role": "user", "content": problem + self.after}
        return [{"role": "system", "content": self.system}, user] if self.system is not None else [user]


PROMPTS: dict[str, Prompt] = {
    "qwen": Prompt(system="You are a helpful assistant."),
    "llama-base": Prompt(system="You are a helpful assistant.", template="llama-base", stop=("<|start_header_id|>",)),
    "deepseek": Prompt(template="user-assistant", stop=("\n\nUser:",)),
    "boxed": Prompt(),
    "base": Prompt(template="problem-solution", stop=("\n\nProblem:",)),
    "problem": Prompt(after=""),
}
# A special token that only one family has -> its prompt, for tokenizers without a chat template.
_FAMILY_TOKENS = {"<|start_header_id|>": "llama-base", "<｜begin▁of▁sentence｜>": "deepseek"}


def load_tokenizer_and_prompt(directory: Path, chat_template: str | None, name: PromptName) -> tuple[Any, Prompt]:
    """The tokenizer with a chat template for sure, and the prompt `name`; auto is settled by the model's family.

    Raises UserError when a named prompt has no template, the tokenizer has none, and none is given.
    """
    fallback = _family_template if name == "auto" else lambda tokenizer: PROMPTS[name].template
    tokenizer = chat.load_tokenizer(str(directory), chat_template, fallback)
    return tokenizer, PROMPTS[_family(tokenizer, models.load_config(directory)) if name == "auto" else name]


def stop_rule(tokenizer: Any, directory: Path, prompt: Prompt) -> StopRule:
    """The end tokens of tokenizer, chat template and generation config, and what the prompt says: a token of its own
    ends by its id, since completions are read without special tokens.
    """
    added = tokenizer.get_added_vocab()
    ids = [*models.stop_ids(tokenizer, directory), *(added[text] for text in prompt.stop if text in added)]
    return StopRule(tuple(ids), tuple(text for text in prompt.stop if text not in added))


def _family_template(tokenizer: Any) -> str | None:
    vocabulary = tokenizer.get_vocab()
    named = (name for token, name in _FAMILY_TOKENS.items() if token in vocabulary)
    return PROMPTS[next(named, "base")].template


def _family(tokenizer: Any, config: Any) -> str:
    """The prompt of a tokenizer that has its template: one of the plain ones, or a chat model's."""
    for name, prompt in PROMPTS.items():
        if prompt.template and tokenizer.chat_template == chat.PLAIN_TEMPLATES[prompt.template]:
            return name
    is_qwen = config.model_type.startswith("qwen") and "<|im_start|>" in tokenizer.chat_template
    return "qwen" if is_qwen else "boxed"
