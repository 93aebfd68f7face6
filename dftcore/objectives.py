"""Every objective as one detached weight per token on the cross-entropy.

For any differentiable f, the loss f(p) of a token's probability p = exp(logprob) has the logit gradient
w (softmax - onehot) with w = -p f'(p). Each function below is that w; the loss is

    sum_t stop_gradient(w_t) * (-logprob_t) / denominator

so the detach lives in one place (`losses/api.py`) and an objective cannot forget it. The denominator is counted over
the whole optimizer step, all ranks and passes: "tokens" (valid ones), and where an objective offers them by
`denominator=...`, "kept" (valid ones of weight other than 0), "weight" (the sum of the weights) or "pairs".

    @objective(parameters={"beta": 2.0}, formula="p^beta", source="mine")
    def mine(logprob: Tensor, statistics: TokenStatistics, *, beta: float) -> Tensor:
        return (beta * logprob).exp()
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from dftcore.errors import UserError, nearest


@dataclass(frozen=True)
class TokenStatistics:
    """What is known of each token, detached, shaped like `targets`; None where nobody was asked for it.

    logprob: log-probability of the target. entropy: of the softmax, in nats. top1: 1 where the target is the mode.
    sum_p2: sum of squared probabilities. top20_entropy: of the softmax over the 20 largest logits. vocab_size: V.
    valid: bool, where there is a target. reference: the reference's (or old policy's) log-probability of the target.
    segments: int64, the number of the token's document among those that have a target; for pairs, 2i is the chosen and
    2i + 1 the rejected answer of pair i. tau: a number that follows the training, see `talr`.
    """

    logprob: Tensor
    vocab_size: int
    entropy: Tensor | None = None
    top1: Tensor | None = None
    sum_p2: Tensor | None = None
    top20_entropy: Tensor | None = None
    valid: Tensor | None = None
    reference: Tensor | None = None
    segments: Tensor | None = None
    tau: float | None = None


Given = TypeVar("Given")
WeightFunction = Callable[..., Tensor]  # (logprob, statistics, **parameters) -> weight


@dataclass(frozen=True)
class Definition:
    """One objective: its weight, default parameters (None: must be given), formula and source.

    needs: statistics that the loss computes for it. context: what only a training run supplies, of "reference",
    "segments", "tau", "pairs" and "anchor" (the reference's whole distribution). denominators: the default first.
    exponent: a, or the parameter that holds it, where the weight is p^a; a kernel computes such losses itself.
    """

    weight: WeightFunction
    parameters: Mapping[str, float | None]
    formula: str
    source: str
    needs: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    denominators: tuple[str, ...] = ("tokens",)
    exponent: float | str | None = None


OBJECTIVES: dict[str, Definition] = {}
_FIELDS = ("reference", "segments", "tau")  # of TokenStatistics, among what `context` may name

# Names of the contract whose machinery is not built; the refusal says what is missing.
_ONLINE = (
    "it needs the online loop of rollouts and rewards; its weight is dftcore.objectives.clipped_policy_gradient, to be"
    " given as token_weight beside linear_token_logprobs"
)
UNAVAILABLE: dict[str, str] = {
    "ppo": _ONLINE,
    "grpo": _ONLINE,
}


def objective(
    name: str | None = None,
    *,
    parameters: Mapping[str, float | None] | None = None,
    formula: str,
    source: str,
    needs: tuple[str, ...] = (),
    context: tuple[str, ...] = (),
    denominators: tuple[str, ...] = ("tokens",),
    exponent: float | str | None = None,
) -> Callable[[WeightFunction], WeightFunction]:
    """Register a weight function under `name` (default: the function's own name)."""

    def register(weight: WeightFunction) -> WeightFunction:
        key: str = name or weight.__name__
        if isinstance(exponent, str) and exponent not in (parameters or {}):
            raise UserError(f"objective {key!r}: exponent {exponent!r} is not one of its parameters")
        OBJECTIVES[key] = Definition(
            weight, dict(parameters or {}), formula, source, needs, context, denominators, exponent
        )
        return weight

    return register


class Objective:
    """A named objective with its parameters: `Objective("power", alpha=0.5)`. UserError for a wrong name or value.

    `denominator` is one of those that the definition offers; the default is its first.
    """

    def __init__(self, name: str, *, denominator: str | None = None, **parameters: float) -> None:
        if name in UNAVAILABLE:
            raise UserError(
                f"objective {name!r} is not available yet: {UNAVAILABLE[name]}; use one of {', '.join(OBJECTIVES)}"
            )
        if name not in OBJECTIVES:
            raise UserError(f"unknown objective {name!r}{nearest(name, OBJECTIVES)}")
        self.name = name
        self.definition = OBJECTIVES[name]
        self.denominator = denominator or self.definition.denominators[0]
        if self.denominator not in self.definition.denominators:
            known = ", ".join(self.definition.denominators)
            raise UserError(f"objective {name!r}: denominator {self.denominator!r} is not one of {known}")
        self.parameters = self._merged(parameters)

    def _merged(self, parameters: Mapping[str, float]) -> dict[str, float]:
        known = self.definition.parameters
        for key, value in parameters.items():
            if key not in known:
                hint = nearest(key, known) if known else "; it takes none"
                raise UserError(f"objective {self.name!r} has no parameter {key!r}{hint}")
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise UserError(f"objective {self.name!r}: parameter {key}={value!r} is not a finite number")
        merged = {**known, **parameters}
        missing = [key for key, value in merged.items() if value is None]
        if missing:
            raise UserError(f"objective {self.name!r} needs a value for {', '.join(missing)}")
        return {key: float(value) for key, value in merged.items() if value is not None}

    @classmethod
    def parse(cls, name: str, arguments: Iterable[str]) -> Objective:
        """From the command line's `name=value` words."""
        parameters: dict[str, float] = {}
        denominator = None
        for word in arguments:
            key, equals, text = word.partition("=")
            try:
                if key.strip() == "denominator":
                    denominator = text.strip()
                else:
                    parameters[key.strip()] = float(text)
            except ValueError:
                equals = ""
            if not equals:
                raise UserError(f"--objective-args: {word!r} is not of the form name=number, such as alpha=0.5")
        return cls(name, denominator=denominator, **parameters)

    def weight(self, logprob: Tensor, statistics: TokenStatistics) -> Tensor:
        """w_t, detached, shaped and typed like `logprob`."""
        missing = [name for name in self.definition.context if name in _FIELDS and getattr(statistics, name) is None]
        if missing:
            raise UserError(f"objective {self.name!r} needs {', '.join(missing)} in TokenStatistics")
        with torch.no_grad():
            return self.definition.weight(logprob.detach(), statistics, **self.parameters)

    @property
    def exponent(self) -> float | None:
        """a, where the weight is known to be p^a."""
        found = self.definition.exponent
        return self.parameters[found] if isinstance(found, str) else found

    @property
    def _key(self) -> tuple[object, ...]:
        return self.name, self.denominator, *sorted(self.parameters.items())

    def __repr__(self) -> str:
        arguments = "".join(f", {key}={value:g}" for key, value in self.parameters.items())
        if self.denominator != self.definition.denominators[0]:
            arguments += f", denominator={self.denominator!r}"
        return f"Objective({self.name!r}{arguments})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objective) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def as_objective(value: str | Objective) -> Objective:
    return value if isinstance(value, Objective) else Objective(value)


def _one_minus_p(logprob: Tensor) -> Tensor:
    """1 - p without cancellation near p = 1, kept off 0 so that a negative power of it stays finite."""
    return (-torch.expm1(logprob)).clamp_min(torch.finfo(logprob.dtype).eps)


@objective(formula="1", source="maximum likelihood", exponent=0.0)
def sft(logprob: Tensor, statistics: TokenStatistics) -> Tensor:
    return torch.ones_like(logprob)


@objective(formula="1 on verified samples", source="Yuan et al. 2023, arXiv 2308.01825", exponent=0.0)
def rft(logprob: Tensor, statistics: TokenStatistics) -> Tensor:
    return torch.ones_like(logprob)


@objective(formula="p", source="arXiv 2508.05629, eq. 9", exponent=1.0)
def dft(logprob: Tensor, statistics: TokenStatistics) -> Tensor:
    return logprob.exp()


@objective(parameters={"alpha": None}, formula="p^alpha", source="arXiv 2510.00526", exponent="alpha")
def power(logprob: Tensor, statistics: TokenStatistics, *, alpha: float) -> Tensor:
    return (alpha * logprob).exp()


@objective(
    parameters={"q": 0.2}, formula="1[p >= q]", source="arXiv 2601.09195, which divides by all valid tokens",
    denominators=("tokens", "kept"),
)  # fmt: skip
def threshold(logprob: Tensor, statistics: TokenStatistics, *, q: float) -> Tensor:
    return (logprob.exp() >= q).to(logprob.dtype)


@objective(parameters={"floor": 0.01}, formula="max(p, floor)", source="keeps end and format tokens learnable")
def clamp(logprob: Tensor, statistics: TokenStatistics, *, floor: float) -> Tensor:
    return logprob.exp().clamp_min(floor)


@objective(parameters={"mix": 0.5}, formula="mix p + 1 - mix", source="between SFT (0) and DFT (1)")
def blend(logprob: Tensor, statistics: TokenStatistics, *, mix: float) -> Tensor:
    return mix * logprob.exp() + (1.0 - mix)


@objective(formula="p (1 - p)", source="arXiv 2508.11408")
def chord(logprob: Tensor, statistics: TokenStatistics) -> Tensor:
    return logprob.exp() * -torch.expm1(logprob)


@objective(
    parameters={"gamma": 2.0},
    formula="(1-p)^gamma - gamma p (1-p)^(gamma-1) log p",
    source="Lin et al. 2017, arXiv 1708.02002",
)
def focal(logprob: Tensor, statistics: TokenStatistics, *, gamma: float) -> Tensor:
    rest = _one_minus_p(logprob)
    return rest**gamma - gamma * logprob.exp() * rest ** (gamma - 1.0) * logprob


@objective(formula="entropy / log V", source="arXiv 2601.02151, over the whole vocabulary", needs=("entropy",))
def eaft(logprob: Tensor, statistics: TokenStatistics) -> Tensor:
    assert statistics.entropy is not None  # `needs` makes the loss supply it
    return (statistics.entropy / math.log(statistics.vocab_size)).to(logprob.dtype)


@objective(
    formula="entropy of the softmax over the 20 largest logits / log 20",
    source="arXiv 2601.02151; one more product of hidden states and head than eaft",
    needs=("top20_entropy",),
)
def eaft_top20(logprob: Tensor, statistics: TokenStatistics) -> Tensor:
    assert statistics.top20_entropy is not None
    return (statistics.top20_entropy / math.log(20.0)).to(logprob.dtype)


@objective(formula="-p / (1 - p); mark the tokens with token_weight", source="Welleck et al. 2019, arXiv 1908.04319")
def unlikelihood(logprob: Tensor, statistics: TokenStatistics) -> Tensor:
    return -logprob.exp() / _one_minus_p(logprob)


@objective(
    parameters={"floor": 0.01},
    formula="max(p^(1/tau), floor), tau the median token loss of the optimizer step before; 1 in the first step",
    source="arXiv 2509.20758, whose tau is the median of the batch's mean losses; its weights on a simplex are"
    " denominator='weight'",
    context=("tau",),
    denominators=("tokens", "weight"),
)
def talr(logprob: Tensor, statistics: TokenStatistics, *, floor: float) -> Tensor:
    tau = _given(statistics.tau)
    return (logprob / max(tau, 1e-6)).exp().clamp_min(floor)


@objective(
    parameters={"cap": 16.0},
    formula="min(exp(mean over the document's valid tokens of log p - log p_ref), cap)",
    source="arXiv 2507.12856 and its public code",
    context=("reference", "segments"),
)
def iw_sft(logprob: Tensor, statistics: TokenStatistics, *, cap: float) -> Tensor:
    segments, valid = _given(statistics.segments), _given(statistics.valid)
    total = document_sums(logprob - _given(statistics.reference), segments, valid)
    count = document_sums(torch.ones_like(logprob), segments, valid)
    return (total / count.clamp_min(1.0)).exp().clamp_max(cap)[segments].to(logprob.dtype)


@objective(
    parameters={"eps": 0.28, "refresh": 8.0},
    formula="r 1[r <= 1 + eps], r = p / p_old; p_old is the policy of `refresh` steps ago at most, 0: the reference's",
    source="arXiv 2508.17784: PPO's clipped surrogate with advantage 1; eps and refresh of its public script",
    context=("reference",),
)
def psft(logprob: Tensor, statistics: TokenStatistics, *, eps: float, refresh: float) -> Tensor:
    ratio = (logprob - _given(statistics.reference)).exp()
    return torch.where(ratio <= 1.0 + eps, ratio, 0.0)


@objective(
    parameters={"kl_weight": 0.05},
    formula="p, and kl_weight KL(reference || policy) over the whole vocabulary is added to each token's loss",
    source="arXiv 2509.23753; the direction is that of its public code",
    context=("anchor",),
)
def asft(logprob: Tensor, statistics: TokenStatistics, *, kl_weight: float) -> Tensor:
    return logprob.exp()


@objective(
    parameters={"beta": 0.1},
    formula="+-beta sigmoid(-beta margin), + on chosen and - on rejected answers; margin is the difference of the two"
    " answers' log p - log p_ref, summed over their tokens; the loss per pair is -log sigmoid(beta margin)",
    source="arXiv 2305.18290, eq. 7",
    context=("pairs", "reference", "segments"),
    denominators=("pairs",),
)
def dpo(logprob: Tensor, statistics: TokenStatistics, *, beta: float) -> Tensor:
    segments = _given(statistics.segments)
    chosen, rejected = dpo_rewards(logprob, statistics, beta)
    pull = beta * torch.sigmoid(rejected - chosen)
    return (pull[segments // 2] * (1 - 2 * (segments % 2))).to(logprob.dtype)


def dpo_rewards(logprob: Tensor, statistics: TokenStatistics, beta: float) -> tuple[Tensor, Tensor]:
    """beta (log p - log p_ref) of the chosen and of the rejected answer of each pair, fp64, 0 past the last pair."""
    segments, valid = _given(statistics.segments), _given(statistics.valid)
    sums = beta * document_sums(logprob - _given(statistics.reference), segments, valid)
    return sums[0::2], sums[1::2]


def document_segments(position_ids: Tensor, valid: Tensor) -> Tensor:
    """int64 [rows, T]: the number of each token's document, in reading order, among those with a valid token.

    Documents begin at position 0, packed or padded; what has no valid token (padding) shares a neighbour's number.
    """
    number = (position_ids == 0).flatten().cumsum(0) - 1
    learned = torch.zeros_like(number).index_add(0, number, valid.flatten().long()) > 0
    return (learned.cumsum(0) - 1).clamp_min(0)[number].reshape(position_ids.shape)


def document_sums(values: Tensor, segments: Tensor, valid: Tensor) -> Tensor:
    """fp64 sums of the valid `values` of each document, an even number of them, 0 past the last document.

    In fp64, so that the order in which a GPU adds does not show in the fp32 weight.
    """
    size = segments.numel() + segments.numel() % 2
    kept = torch.where(valid, values.double(), 0.0)
    return kept.new_zeros(size).index_add(0, segments.flatten(), kept.flatten())


def clipped_policy_gradient(
    logprob: Tensor, old_logprob: Tensor, advantage: Tensor, *, low: float = 0.2, high: float = 0.2
) -> Tensor:
    """A r 1[not clipped], r = p / p_old: the weight of PPO and GRPO (arXiv 1707.06347, eq. 7; 2402.03300, eq. 3).

    All [...]; detached. Clipped: r > 1 + high where A > 0, r < 1 - low where A < 0. For GRPO, A is the group's
    standardised reward. `linear_cross_entropy(..., "sft", token_weight=...)` has the surrogate's gradient with it.
    """
    with torch.no_grad():
        ratio = (logprob - old_logprob).exp()
        clipped = torch.where(advantage > 0, ratio > 1.0 + high, ratio < 1.0 - low)
        return torch.where(clipped, 0.0, advantage * ratio)


def k3_penalty(logprob: Tensor, reference: Tensor) -> Tensor:
    """p_ref / p - 1, detached: the weight of the KL estimate k3 = p_ref / p - 1 - log(p_ref / p) (arXiv 2402.03300)."""
    with torch.no_grad():
        return torch.expm1(reference - logprob)


def _given(value: Given | None) -> Given:
    assert value is not None  # `context` and `Objective.weight` see to it
    return value
