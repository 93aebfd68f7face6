"""Hugging Face causal language models: found, built without memory, filled from safetensors.

directory = find_model("Qwen/Qwen2.5-Math-1.5B")
module = LanguageModelLoss(build(load_config(directory)), objective)     # on the meta device
... shard(module, world, ...) ...
load_weights(module, directory, device)                                   # each rank reads only its rows
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dftcore import attention, diagnostics, lora
from dftcore.data import chat
from dftcore.data.batching import Batch
from dftcore.distributed import local_rows, local_tensor
from dftcore.errors import UserError, one_line
from dftcore.losses import Backend, weighted_cross_entropy
from dftcore.losses.kl import Head, reference_kl
from dftcore.objectives import Objective, document_segments


class LanguageModelLoss(nn.Module):
    """A causal language model whose forward is the loss, so that FSDP gathers the head around it."""

    def __init__(
        self, language_model: Any, objective: Objective, backend: Backend = "auto", error_budget: float | None = None
    ) -> None:
        super().__init__()
        self.language_model = language_model
        self.objective, self.backend, self.error_budget = objective, backend, error_budget
        self.softcap, self.temperature = head_transform(language_model.config)

    @property
    def layers(self) -> list[nn.Module]:
        return list(self.language_model.base_model.layers)

    def _hidden(self, batch: Batch) -> Tensor:
        documents = {
            "cu_seq_lens_q": batch.boundaries,
            "cu_seq_lens_k": batch.boundaries,
            "max_length_q": batch.longest,
            "max_length_k": batch.longest,
        }
        return self.language_model.base_model(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            attention_mask=batch.attention_mask,
            use_cache=False,
            **(documents if batch.boundaries is not None else {}),
        ).last_hidden_state

    def _head_options(self, head: Any) -> dict[str, Any]:
        return {
            "bias": getattr(head, "bias", None),
            "softcap": self.softcap,
            "temperature": self.temperature,
            "backend": self.backend,
            "error_budget": self.error_budget,
        }

    def forward(
        self,
        batch: Batch,
        normalizer: float,
        outputs: Sequence[str] = ("top1",),
        objective: Objective | None = None,
        tau: float | None = None,
        anchor: tuple[Tensor, Head] | None = None,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """(loss [], float64 sums of `diagnostics.observe`, `logprob` [rows, T]) of one pass, but for the loss detached.

        `normalizer` divides the sum of the losses. `outputs` names the statistics to observe beyond those that every
        loss has: top1, entropy. `objective` stands in for the module's own; tau: see `TokenStatistics`. anchor: the
        reference's hidden states and head, for an objective with a `kl_weight`; `kl` [rows, T] is then given back too.
        """
        hidden, head = self._hidden(batch), self.language_model.get_output_embeddings()
        objective = objective or self.objective
        context: dict[str, Any] = {"reference": batch.reference, "tau": tau}
        if "segments" in objective.definition.context:
            context["segments"] = document_segments(batch.position_ids, batch.targets >= 0)
        loss, stats = weighted_cross_entropy(
            hidden,
            head.weight,
            batch.targets,
            objective,
            context,
            normalizer=normalizer,
            stats_outputs=outputs,
            **self._head_options(head),
        )
        tokens = {"logprob": stats.logprob}
        if "anchor" in objective.definition.context:
            assert anchor is not None  # the run supplies it
            share = (batch.targets >= 0) * (objective.parameters["kl_weight"] / normalizer)
            divergence, tokens["kl"] = reference_kl(hidden, self._head(), *anchor, share)
            loss = loss + divergence
        return loss, diagnostics.observe(stats, batch.targets, batch.classes), tokens

    def _head(self) -> Head:
        head = self.language_model.get_output_embeddings()
        return Head(head.weight, getattr(head, "bias", None), self.softcap, self.temperature)


def head_transform(config: Any) -> tuple[float | None, float]:
    """(soft-cap, temperature) between the head's product and the logits: Gemma caps, Granite divides, Cohere scales."""
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    return (
        getattr(config, "final_logit_softcapping", None),
        float(getattr(config, "logits_scaling", None) or 1.0) / scale,
    )


def find_model(name: str, option: str = "--model", weights: bool = True) -> Path:
    """The local directory of a model; a Hub id is downloaded: configuration, tokenizer and, if asked for, weights."""
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(f"{option}: {name} holds no config.json, so it is no Hugging Face model directory")
        return path
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise UserError(f"{option}: no directory {name}; give a model directory or a Hub id such as org/name")
    from huggingface_hub import snapshot_download

    try:
        wanted = ["*.json", "*.jinja", "*.txt", "*.model", *(["*.safetensors"] if weights else [])]
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # the Hub client raises a wide family; all mean that the model is not to be had
        raise UserError(f"{option}: cannot download {name!r} from the Hub: {one_line(error, 200)}") from None


def load_config(directory: Path, option: str = "--model") -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    except Exception as error:
        raise UserError(f"{option}: {directory}/config.json: {one_line(error)}") from None
    if getattr(config, "quantization_config", None) is not None:
        raise UserError(f"{option}: {directory} holds quantized weights; give the unquantized model to train")
    return config


def check_vocabulary(tokenizer: Any, config: Any, directory: Path) -> None:
    """A tokenizer may be smaller than the model's padded vocabulary, never larger."""
    largest = max(tokenizer.get_vocab().values())
    if largest >= config.vocab_size:
        raise UserError(
            f"--model: {directory}: the tokenizer has token id {largest}, but the model's vocabulary ends at"
            f" {config.vocab_size - 1}; use the tokenizer that belongs to this model"
        )


def build(config: Any, dtype: torch.dtype = torch.float32, option: str = "--model") -> Any:
    """The model on the meta device, without memory; `load_weights` fills it. Raises UserError naming `option`."""
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(config)  # from_config writes its dtype into the config that it is given
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    except ValueError as error:
        raise UserError(f"{option}: {one_line(error)}") from None
    if not hasattr(model.base_model, "layers"):
        raise UserError(f"{option}: {type(model).__name__} has no list of decoder layers; use a Llama-like model")
    attention.use_documents_attention(model)
    return model


def load_weights(
    module: LanguageModelLoss,
    directory: Path,
    device: torch.device,
    parameter_device: torch.device | None = None,
    option: str = "--model",
) -> None:
    """Materialize `module` on `device`; fill each parameter, or this rank's rows of it, from the safetensors files.

    Parameters may live elsewhere than buffers: on `parameter_device`, the CPU when they are offloaded. Adapters are
    left to `lora.initialize`.
    """
    model = module.language_model
    module.to_empty(device=parameter_device or device)
    model.tie_weights()  # to_empty gives tied parameters memory of their own
    for part in model.modules():
        if any(True for _ in part.buffers(recurse=False)):
            model._init_weights(part)  # rotary frequencies: buffers that no checkpoint holds
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, buffer.to(device))
    with ExitStack() as stack:
        index = _open_safetensors(directory, stack, option)
        for own_name, parameter in model.named_parameters():
            if lora.is_adapter(own_name):
                continue
            name = lora.base_name(own_name)
            if name not in index:
                raise UserError(f"{option}: {directory} has no tensor {name!r}; it is not a {type(model).__name__}")
            source = index[name].get_slice(name)
            if list(source.get_shape()) != list(parameter.shape):
                raise UserError(
                    f"{option}: {directory}: tensor {name!r} has shape {source.get_shape()}, config.json says"
                    f" {list(parameter.shape)}; the two do not belong together"
                )
            start, stop = local_rows(parameter)
            if stop > start:
                with torch.no_grad():
                    local_tensor(parameter).copy_(source[start:stop])


def stored_weights(directory: Path, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of these names, whole, one after the other, as a model directory holds them."""
    with ExitStack() as stack:
        index = _open_safetensors(directory, stack)
        for name in names:
            yield name, index[name].get_tensor(name)


def _open_safetensors(directory: Path, stack: ExitStack, option: str = "--model") -> dict[str, Any]:
    """name -> the open file that holds it."""
    files = sorted(directory.glob("*.safetensors"))
    listed = directory / "model.safetensors.index.json"
    if listed.is_file():
        try:
            files = [directory / name for name in sorted(set(json.loads(listed.read_text())["weight_map"].values()))]
        except (ValueError, KeyError, AttributeError, TypeError):
            raise UserError(f"{option}: {listed} is damaged; download the model again") from None
    if not files:
        raise UserError(f"{option}: {directory} holds no .safetensors file; convert the weights to safetensors first")
    index = {}
    for path in files:
        try:
            opened = stack.enter_context(safe_open(path, framework="pt"))
        except (SafetensorError, OSError) as error:
            raise UserError(f"{option}: {path} is missing or damaged ({error}); download the model again") from None
        index.update(dict.fromkeys(opened.keys(), opened))
    return index


def stop_ids(tokenizer: Any, directory: Path) -> list[int]:
    """Every id that ends an answer: the tokenizer's, the generation config's, and the chat template's end of turn."""
    from transformers import GenerationConfig

    ids = {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(chat.end_token(tokenizer))}
    if (directory / "generation_config.json").is_file():
        configured = GenerationConfig.from_pretrained(directory).eos_token_id
        ids.update(configured if isinstance(configured, list) else [configured])
    return sorted(ids - {None})


def fingerprint(directory: Path, blocks: int = 64, block_size: int = 1 << 16) -> str:
    """A digest of the weights in this directory, from evenly spaced blocks of each file."""
    digest = hashlib.sha256()
    for path in sorted(directory.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for block in range(blocks):
                file.seek(block * max(0, size - block_size) // (blocks - 1))
                digest.update(file.read(block_size))
    return digest.hexdigest()[:16]


def stored_dtype(config: Any) -> torch.dtype:
    """The dtype that the weights of this model are stored in; what training started from, it ends in."""
    return config.dtype or torch.float32
