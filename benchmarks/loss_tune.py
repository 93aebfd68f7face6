"""Choose the kernels' tiles on this device: time every candidate of every kernel on real shapes, keep the fastest.

A candidate counts by its time summed over the heads, each in units of the default's. It must give what the default
gives, and may fail: to compile, to fit, to run. The winners are the table `kernels/tuned.json`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import loss_inputs
import torch
from harness import measure
from stages import Stages
from torch import Tensor

from dftcore.files import write_text
from dftcore.kernels import config, routes
from dftcore.kernels.backward import Fixed, Steps, gradients
from dftcore.kernels.budget import default_error_budget
from dftcore.kernels.config import Tiles, trying
from dftcore.kernels.launch import Head, Scan, scan
from dftcore.kernels.order import pays
from dftcore.kernels.plan import make_plan

ORDER = ("forward", "logit_gradient", "weight_gradient", "hidden_scatter", "hidden_finish", "hidden_gradient")
LARGEST_ERROR = 1.25  # of a forward's gradients at the default budget, in units of the default tiles'
AGREEMENT = 2e-2  # relative difference that rounding G and dH to half precision in another order may make


@dataclass
class Prepared:
    """Everything one kernel needs before it, on one head."""

    inputs: Head
    head: Head  # with its vocabulary in the scan's order
    found: Scan
    up: routes.Upstream
    cut: Tensor

    @classmethod
    def of(cls, states: loss_inputs.Inputs) -> Prepared:
        inputs = Head(states.hidden, states.weight, None, states.targets, None, 1.0)
        found = scan(inputs, -100, masses=True, moments=False, top1=False)
        up = routes.upstream(inputs, found, found.logprob.exp(), -100)
        head = inputs.ordered(found.order)
        return cls(inputs, head, found, up, routes.cut_of(head, found, up, _default_budget(head)))

    def call(self, kernel: str) -> Callable[[], object]:
        """A function that runs `kernel` as often as one loss does, and little else; for the forward, the whole loss.

        Tiles for the copy engine do without the vocabulary's order, for which the backward pays.
        """
        head, found, up = self.head, self.found, self.up
        if kernel == "forward":
            return self.whole
        step, exact = Steps(head, found, up), kernel == "hidden_gradient"
        counts = torch.zeros(head.blocks, dtype=torch.int32, device=head.hidden.device)
        shares = routes.shares_of(head, found, up, self.cut, counts)
        if kernel == "hidden_finish":
            fixed = Fixed(step)
            return lambda: step.finish_hidden(shares, fixed)
        if exact:
            plan = make_plan(found.rows, found.count.expand(head.blocks).contiguous(), step.rows, step.tile_rows,
                             step.slots(exact=True))  # fmt: skip
        else:
            plan = make_plan(None, counts, step.rows, step.tile_rows, step.slots(exact=False))
        workspace = step.workspace(plan, exact).normal_(std=1e-3)
        out, low = torch.zeros_like(head.hidden), torch.zeros_like(head.hidden)
        spread, fixed, grad_weight = step.spread(shares), Fixed(step), torch.empty_like(head.weight)

        def run() -> None:
            for group in plan.groups:
                if exact:
                    step.add_hidden(group[2:], workspace, out, low, last=False)
                    continue
                step.fill(plan, group[2:], self.cut)
                if kernel == "logit_gradient":
                    step.logit_gradient(plan, group, workspace)
                elif kernel == "weight_gradient":
                    step.weight_gradient(plan, group[2:], workspace, spread, up.scale, grad_weight, None, head.order)
                else:
                    step.scatter_hidden(plan, group, workspace, fixed)

        return run

    def whole(self, budget: float | None = None) -> list[Tensor]:
        """logprob, dH and dW, the forward run anew; the budget is the default of the tiles at hand."""
        budget = _default_budget(self.inputs) if budget is None else budget
        found = scan(self.inputs, -100, masses=budget > 0.0, moments=False, top1=False)
        head = self.inputs.ordered(found.order) if budget > 0.0 else self.inputs
        grads = gradients(head, found, self.up, budget, need_hidden=True, need_weight=True)
        return [found.logprob, *(gradient for gradient in grads if gradient is not None)]

    def result(self, kernel: str) -> list[Tensor]:
        """What the choice may change: logprobs and gradients of the routed, and for one kernel of the exact, mode."""
        return self.whole(0.0 if kernel == "hidden_gradient" else None)


def tune(
    stages: Stages, heads: dict[str, Callable[[], loss_inputs.Inputs]], repeats: int, device: torch.device
) -> dict[str, Any]:
    """The table {architecture: {kernel: tiles}} as JSON values; every timing stays in `stages`."""
    prepared = cache(lambda name: Prepared.of(heads[name]()))
    chosen: dict[str, Tiles] = {}
    architecture = config.architecture(device)
    for kernel in ORDER:
        timed, default = [], config.half(architecture)[kernel]
        for index, tiles in enumerate((default, *config.candidates(kernel, architecture))):
            with trying(**chosen, **{kernel: tiles}):
                figures = {head: _timed(stages, kernel, index, head, prepared, repeats) for head in heads}
            score, why = _score(stages, kernel, figures)
            print(f"  {kernel} {index}: {why or format(score, '.3f')} {tiles.launch}", flush=True)
            if not why:
                timed.append((score, index, tiles))
        chosen[kernel] = _first_that_agrees(stages, kernel, default, timed, chosen, prepared, next(iter(heads)))
        if kernel == "forward":  # with it the routes, which the order of the vocabulary decides
            prepared.cache_clear()
    return {architecture: {kernel: asdict(tiles) for kernel, tiles in chosen.items()}}


def _timed(
    stages: Stages, kernel: str, index: int, head: str, prepared: Callable[[str], Prepared], repeats: int
) -> dict[str, Any]:
    key = f"tune/{kernel}/{index}/{head}"
    return stages.run(key, lambda: _figure(prepared(head), kernel, repeats))


def _score(stages: Stages, kernel: str, figures: dict[str, dict[str, Any]]) -> tuple[float, str]:
    """Mean time in units of the default's, or why there is none."""
    ratios = []
    for head, found in figures.items():
        base = stages.done[f"tune/{kernel}/0/{head}"]
        if why := found.get("failed") or (base.get("failed") and "the default failed"):
            return 0.0, why
        ratios.append(found["ms"] / base["ms"])
    return sum(ratios) / len(ratios), ""


def _default_budget(head: Head) -> float:
    ordered = config.in_order(head.hidden.dtype, head.hidden.device, bare=True)
    return default_error_budget(head.weight.shape[0], ordered and pays(head.hidden.shape[0]))


def _figure(prepared: Prepared, kernel: str, repeats: int) -> dict[str, float]:
    timing = measure(prepared.call(kernel), prepared.head.hidden.device, repeats, warmup=2, lead=True)
    return {"ms": timing.median_ms}


def _first_that_agrees(
    stages: Stages,
    kernel: str,
    default: Tiles,
    timed: list[tuple[float, int, Tiles]],
    chosen: dict[str, Tiles],
    prepared: Callable[[str], Prepared],
    head: str,
) -> Tiles:
    """The fastest whose results are the default's to rounding."""

    def agrees(tiles: Tiles) -> dict[str, Any]:
        with trying(**chosen, **{kernel: default}):
            expected = prepared(head).result(kernel)
            exact = prepared(head).whole(0.0) if kernel == "forward" else None
        with trying(**chosen, **{kernel: tiles}):
            found = prepared(head).result(kernel)
        figures = {"difference": max(_difference(f, e) for f, e in zip(found, expected, strict=True))}
        if exact:  # tiles without the vocabulary's order drop other pairs
            pairs = [(_difference(f, t), _difference(e, t)) for f, e, t in zip(found, expected, exact, strict=True)]
            figures["error_ratio"] = max(mine / max(usual, 1e-4) for mine, usual in pairs)
        return figures

    for _, index, tiles in sorted(timed, key=lambda entry: entry[:2]):
        if index == 0:
            break
        found = stages.run(f"tune/{kernel}/{index}/agrees", lambda tiles=tiles: agrees(tiles))
        if found.get("difference", 1.0) <= AGREEMENT and found.get("error_ratio", 0.0) <= LARGEST_ERROR:
            return tiles
        print(f"  {kernel} {index} is refused: {found}", flush=True)
    return default


def _difference(found: Tensor, expected: Tensor) -> float:
    """Relative; 1 where anything is not finite."""
    if not bool(found.isfinite().all()):
        return 1.0
    return float((found.float() - expected.float()).norm() / expected.float().norm().clamp_min(1e-30))


def install(table: dict[str, Any]) -> None:
    """Write `kernels/tuned.json`, other architectures' entries kept, and use it from here on."""
    held = {arch: {k: asdict(t) for k, t in row.items()} for arch, row in config.tuned().items()}
    rows = {arch: {k: Tiles(**t) for k, t in row.items()} for arch, row in {**held, **table}.items()}
    write_text(config.TABLE, config.as_json(rows))
    config.tuned.cache_clear()
