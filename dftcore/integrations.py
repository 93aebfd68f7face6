"""The fused loss inside other trainers: one line gives a Hugging Face causal language model the loss of an objective.

    model = fuse_loss(AutoModelForCausalLM.from_pretrained(...), "dft")
    Trainer(model=model, ...).train()

A model called with `labels` then returns the loss of `linear_cross_entropy` and no logits, because none are made;
`num_items_in_batch` divides it, as the transformers Trainer asks for exact gradient accumulation. Called without
labels, for generation, the model is as it was.
"""

from __future__ import annotations

import functools
import inspect
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dftcore.errors import UserError
from dftcore.losses import Backend, linear_cross_entropy
from dftcore.losses.reference import transform_logits
from dftcore.models import head_transform
from dftcore.objectives import Objective, as_objective

IGNORED = -100  # the label that Hugging Face collators give to what does not count
PROBE_TOKENS = 4

Model = TypeVar("Model", bound=nn.Module)


def fuse_loss(
    model: Model,
    objective: str | Objective = "dft",
    *,
    error_budget: float | None = None,
    backend: Backend = "auto",
) -> Model:
    """Make `model(labels=...)` return the loss of `objective`, computed without logits; returns the same model.

    model is a transformers causal language model, whole and on its device; wrap it in peft, DDP or FSDP afterwards.
    `error_budget` and `backend` are those of `linear_cross_entropy`. The output holds `loss`, and of the other fields
    what the base model returns; `logits` is None. Raises UserError for a model whose logits are not
    its head's product with the last hidden states (but for soft-cap and scale), for quantized, sharded or meta weights,
    and for an objective that needs more than a token's own statistics.
    """
    chosen = _usable(as_objective(objective))
    _refuse(model)
    softcap, temperature = head_transform(model.config)
    dense = type(model).forward  # not the bound method: a copy of the model must call its own
    _check_head(model, dense, softcap, temperature)
    parameters = inspect.signature(dense)

    @functools.wraps(dense)  # the Trainer reads the signature to choose columns and to pass num_items_in_batch
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = parameters.bind(self, *args, **kwargs).arguments
        given.update(given.pop("kwargs", {}))
        del given["self"]
        labels, shifted = given.pop("labels", None), given.pop("shift_labels", None)
        if labels is None and shifted is None:
            if self.training and torch.is_grad_enabled():
                raise UserError(
                    f"a model fused with the objective {chosen.name!r} was called for training without labels, so"
                    " another loss would be trained; leave out label_smoothing_factor and compute_loss_func"
                )
            return dense(self, *args, **kwargs)
        normalizer = given.pop("num_items_in_batch", None)
        given.pop("logits_to_keep", None)
        as_tuple = given.pop("return_dict", None) is False
        output = self.base_model(**given)
        head = self.get_output_embeddings()
        targets = nn.functional.pad(labels, (0, 1), value=IGNORED)[..., 1:] if shifted is None else shifted
        hidden, weight, bias = _operands(output.last_hidden_state, head)
        loss = linear_cross_entropy(
            hidden, weight, targets.to(hidden.device), chosen, bias=bias, softcap=softcap, temperature=temperature,
            ignore_index=IGNORED, error_budget=error_budget, backend=backend,
            normalizer=None if normalizer is None else torch.as_tensor(normalizer, device=hidden.device).clamp_min(1),
        )  # fmt: skip
        return (loss,) if as_tuple else _output(loss, output)

    forward.fused_by_dftcore = True  # type: ignore[attr-defined]
    model.forward = MethodType(forward, model)
    return model


def _operands(hidden: Tensor, head: nn.Linear) -> tuple[Tensor, Tensor, Tensor | None]:
    """The head's operands, in the type that autocast, where it is on, would multiply them in."""
    if type(head) is not nn.Linear:  # peft, for instance, may have put an adapter there since
        raise UserError(f"the output head has become a {type(head).__name__}; leave the head out of what is adapted")
    weight, bias = head.weight, head.bias
    if hasattr(weight, "ds_id"):
        raise UserError("DeepSpeed ZeRO-3 keeps the head's weight in shards: use stage 2, FSDP, or dftcore's train.py")
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    return hidden, weight, bias


def _output(loss: Tensor, output: Any) -> Any:
    from transformers.modeling_outputs import CausalLMOutputWithPast

    names = ("past_key_values", "hidden_states", "attentions")
    return CausalLMOutputWithPast(loss=loss, **{name: getattr(output, name, None) for name in names})


def _usable(objective: Objective) -> Objective:
    if objective.definition.context:
        wanted = ", ".join(objective.definition.context)
        raise UserError(f"objective {objective.name!r} needs {wanted}, which only dftcore's train.py supplies")
    if objective.denominator != "tokens":
        raise UserError(
            f"objective {objective.name!r} divides by {objective.denominator!r}, but a Trainer divides by its number of"
            " labels; use dftcore's train.py"
        )
    return objective


def _refuse(model: Any) -> None:
    """What the loss cannot be taken of, told before anything is computed."""
    name = type(model).__name__
    if not callable(getattr(model, "get_output_embeddings", None)) or not hasattr(model, "base_model"):
        raise UserError(
            f"{name} is no transformers causal language model; give the model that from_pretrained returned"
        )
    if not getattr(vars(model).get("forward", model.forward), "fused_by_dftcore", "forward" not in vars(model)):
        raise UserError(f"the forward of {name} was replaced already; call fuse_loss first, without device_map")
    head = model.get_output_embeddings()
    if getattr(model, "is_quantized", False) or getattr(model.config, "quantization_config", None) is not None:
        raise UserError(f"{name} is quantized; load it in bfloat16 or float32 to train with this loss")
    if type(head) is not nn.Linear:
        raise UserError(
            f"the output head of {name} is a {type(head).__name__}, not a torch.nn.Linear; it cannot be fused"
        )
    if any(hasattr(parameter, "device_mesh") for parameter in model.parameters()):
        raise UserError(f"the weights of {name} are sharded already; call fuse_loss before sharding")
    if len({parameter.device for parameter in model.parameters()}) > 1:
        raise UserError(f"the weights of {name} lie on several devices; load it without device_map")
    if head.weight.is_meta:
        raise UserError(f"the weights of {name} are on the meta device; load them first")
    if getattr(model.config, "output_router_logits", False):
        raise UserError(f"{name} adds a router loss to its own; set config.output_router_logits = False to do without")


@torch.no_grad()
def _check_head(model: Any, dense: Any, softcap: float | None, temperature: float) -> None:
    """Compare a few tokens' logits with those of the head, so that no architecture is fused on trust."""
    head, training = model.get_output_embeddings(), model.training
    tokens = torch.arange(PROBE_TOKENS, device=head.weight.device)[None]
    model.eval()
    try:
        expected = dense(model, input_ids=tokens, use_cache=False).logits.float()
        hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
        found = transform_logits(nn.functional.linear(hidden, head.weight, head.bias).float(), softcap, temperature)
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{type(model).__name__} cannot be fused: its parts do not fit together ({error})") from None
    finally:
        model.train(training)
    if not torch.allclose(found, expected, rtol=0.0, atol=0.02 * float(expected.abs().max())):
        raise UserError(
            f"the logits of {type(model).__name__} are not its head's product with its last hidden states, so the loss"
            " would be another; this architecture is not supported"
        )
