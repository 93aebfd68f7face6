"""Every objective as one detached weight per token on the cross-entropy.

For any differentiable f, the loss f(p) of a token's probability p = exp(logprob) has the logit gradient
w (softmax - onehot) with w = -p f'(p). Each function below is that w; the loss is

    sum_t stop_gradient(w_t) * (-logprob_t) / normalizer

so the detach lives in one place (`losses/api.py`) and an objective cannot forget it.

    @objective(parameters={"beta": 2.0}, formula="p^beta", source="mine")
    def mine(logprob: Tensor, statistics: TokenStatistics, *, beta: float) -> Tensor:
        return (beta * logprob).exp()
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dftcore.errors import UserError, nearest


@dataclass(frozen=True)
class TokenStatistics:
    """What the loss knows of each token, detached, shaped like `targets`; None where no back-end was asked for it.

    logprob: log-probability of the target. entropy: of the softmax, in nats. top1: 1 where the target is the mode.
    sum_p2: sum of squared probabilities. vocab_size: V.
    """

    logprob: Tensor
    vocab_size: int
    entropy: Tensor | None = None
    top1: Tensor | None = None
    sum_p2: Tensor | None = None


WeightFunction = Callable[..., Tensor]  # (logprob, statistics, **parameters) -> weight


@dataclass(frozen=True)
class Definition:
    """One objective: its weight, default parameters (None: must be given), formula, source, statistics it reads."""

    weight: WeightFunction
    parameters: Mapping[str, float | None]
    formula: str
    source: str
    needs: tuple[str, ...] = ()


OBJECTIVES: dict[str, Definition] = {}

# Names of the contract whose machinery (references, pairs, rollouts) is not built; each refusal says what is missing.
UNAVAILABLE: dict[str, str] = {
    "talr": "it needs the median token loss of the previous optimizer step",
    "iw_sft": "it needs reference log-probabilities",
    "psft": "it needs old log-probabilities",
    "asft": "it needs a reference model",
    "dpo": "it needs preference pairs",
    "ppo": "it needs the online loop",
    "grpo": "it needs the online loop",
}


def objective(
    name: str | None = None,
    *,
    parameters: Mapping[str, float | None] | None = None,
    formula: str,
    source: str,
    needs: tuple[str, ...] = (),
) -> Callable[[WeightFunction], WeightFunction]:
    """Register a weight function under `name` (default: the function's own name)."""

    def register(weight: WeightFunction) -> WeightFunction:
        key: str = name or weight.__name__
        OBJECTIVES[key] = Definition(weight, dict(parameters or {}), formula, source, needs)
        return weight

    return register


class Objective:
    """A named objective with its parameters: `Objective("power", alpha=0.5)`. UserError for a wrong name or value."""

    def __init__(self, name: str, **parameters: float) -> None:
        if name in UNAVAILABLE:
            raise UserError(
                f"objective {name!r} is not available yet: {UNAVAILABLE[name]}; use one of {', '.join(OBJECTIVES)}"
            )
        if name not in OBJECTIVES:
            raise UserError(f"unknown objective {name!r}{nearest(name, OBJECTIVES)}")
        self.name = name
        self.definition = OBJECTIVES[name]
        known = self.definition.parameters
        for key, value in parameters.items():
            if key not in known:
                hint = nearest(key, known) if known else "; it takes none"
                raise UserError(f"objective {name!r} has no parameter {key!r}{hint}")
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise UserError(f"objective {name!r}: parameter {key}={value!r} is not a finite number")
        merged = {**known, **parameters}
        missing = [key for key, value in merged.items() if value is None]
        if missing:
            raise UserError(f"objective {name!r} needs a value for {', '.join(missing)}")
        self.parameters: dict[str, float] = {key: float(value) for key, value in merged.items() if value is not None}

    @classmethod
    def parse(cls, name: str, arguments: Iterable[str]) -> Objective:
        """From the command line's `name=value` words."""
        parameters: dict[str, float] = {}
        for word in arguments:
            key, equals, text = word.partition("=")
            try:
                parameters[key.strip()] = float(text)
            except ValueError:
                equals = ""
            if not equals:
                raise UserError(f"--objective-args: {word!r} is not of the form name=number, such as alpha=0.5")
        return cls(name, **parameters)

    def weight(self, logprob: Tensor, statistics: TokenStatistics) -> Tensor:
        """w_t, detached, shaped and typed like `logprob`."""
        with torch.no_grad():
            return self.definition.weight(logprob.detach(), statistics, **self.parameters)

    def __repr__(self) -> str:
        arguments = "".join(f", {key}={value:g}" for key, value in self.parameters.items())
        return f"Objective({self.name!r}{arguments})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objective) and (self.name, self.parameters) == (other.name, other.parameters)

    def __hash__(self) -> int:
        return hash((self.name, *sorted(self.parameters.items())))


def as_objective(value: str | Objective) -> Objective:
    return value if isinstance(value, Objective) else Objective(value)


def _one_minus_p(logprob: Tensor) -> Tensor:
    """1 - p without cancellation near p = 1, kept off 0 so that a negative power of it stays finite."""
    return (-torch.expm1(logprob)).clamp_min(torch.finfo(logprob.dtype).eps)


@objective(formula="1", source="maximum likelihood")
def sft(logprob: Tensor, statistics: TokenStatistics) -> Tensor:
    return torch.ones_like(logprob)


@objective(formula="1 on verified samples", source="Yuan et al. 2023, arXiv 2308.01825")
def rft(logprob: Tensor, statistics: TokenStatistics) -> Tensor:
    return torch.ones_like(logprob)


@objective(formula="p", source="arXiv 2508.05629, eq. 9")
def dft(logprob: Tensor, statistics: TokenStatistics) -> Tensor:
    return logprob.exp()


@objective(parameters={"alpha": None}, formula="p^alpha", source="arXiv 2510.00526")
def power(logprob: Tensor, statistics: TokenStatistics, *, alpha: float) -> Tensor:
    return (alpha * logprob).exp()


@objective(parameters={"q": 0.2}, formula="1[p >= q], divided by all valid tokens", source="arXiv 2601.09195")
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


@objective(formula="-p / (1 - p); mark the tokens with token_weight", source="Welleck et al. 2019, arXiv 1908.04319")
def unlikelihood(logprob: Tensor, statistics: TokenStatistics) -> Tensor:
    return -logprob.exp() / _one_minus_p(logprob)
