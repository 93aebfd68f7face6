"""Two hundred training steps of the routed loss beside the reference, from the same start.

    python benchmarks/curve.py --model DIR --data FILE.jsonl

What is trained, by AdamW on DFT in fp32, is the head of a real model and a square map of its last hidden states, so
that both gradients of the loss steer the run; minibatches of 128 tokens are drawn in the same order for all. AdamW
divides a gradient by its size, so rounding of small gradients grows: the unfused bf16 path on the same fp32 weights
shows how far a run is carried by the rounding that everyone accepts. Writes results/curve.{json,md,png}: the negative
log-likelihood of each step's tokens, computed alike for all, and how far each run is from the reference.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import loss_inputs
import loss_rows
import torch
import torch.nn.functional as F
from harness import environment, save, table
from torch import Tensor

from dftcore import linear_cross_entropy

STEPS, TOKENS, ROWS, LEARNING_RATE = 200, 128, 2048, 2e-4
REFERENCE = "reference: all logits, fp32"


def _unfused_bf16(hidden: Tensor, weight: Tensor, targets: Tensor, objective: str) -> Tensor:
    return loss_rows.eager(hidden.bfloat16(), weight.bfloat16(), targets, objective)


def _reference(hidden: Tensor, weight: Tensor, targets: Tensor, objective: str) -> Tensor:
    return linear_cross_entropy(hidden, weight, targets, objective, reduction="sum", backend="reference")


RUNS: dict[str, loss_rows.Loss] = {
    REFERENCE: _reference,
    "ours, exact": loss_rows.ROWS["ours, exact"],
    "ours, default budget": loss_rows.ROWS["ours, default budget"],
    "unfused bf16": _unfused_bf16,
}


def train(inputs: loss_inputs.Inputs, loss_of: loss_rows.Loss, objective: str) -> list[float]:
    """The mean NLL of each step's minibatch before its update."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.eye(inputs.hidden.shape[1]).requires_grad_()
    weight = inputs.weight.clone().requires_grad_()
    optimizer = torch.optim.AdamW((mix, weight), lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    curve = []
    for _ in range(STEPS):
        rows = torch.randint(0, len(inputs.targets), (TOKENS,), generator=generator)
        hidden, targets = inputs.hidden[rows] @ mix, inputs.targets[rows]
        with torch.no_grad():
            curve.append(float(F.cross_entropy(hidden @ weight.T, targets)))
        optimizer.zero_grad()
        (loss_of(hidden, weight, targets, objective) / TOKENS).backward()
        optimizer.step()
    return curve


def apart(result: dict[str, Any]) -> dict[str, list[float]]:
    reference = result["curves"][REFERENCE]
    return {
        name: [abs(a - b) for a, b in zip(curve, reference, strict=True)]
        for name, curve in result["curves"].items()
        if name != REFERENCE
    }


def render(result: dict[str, Any]) -> str:
    first, last = (sum(part) / 20 for part in (result["curves"][REFERENCE][:20], result["curves"][REFERENCE][-20:]))
    rows = [
        {"run": name, "mean": sum(steps) / STEPS, "largest": max(steps), "last": sum(result["curves"][name][-20:]) / 20}
        for name, steps in apart(result).items()
    ]
    columns = {
        "run": "run",
        "mean": "mean difference",
        "largest": "largest difference",
        "last": "NLL of the last 20 steps",
    }
    return "\n\n".join(
        (
            "# Training curve of the routed loss",
            f"{result['environment']['device']}; torch {result['environment']['versions']['torch']}; commit"
            f" {result['environment']['commit']}; {result['environment']['date']}. {result['source']}.",
            f"{STEPS} steps of {result['objective'].upper()}, {TOKENS} tokens each: the reference's NLL is {first:.4f}"
            f" in the first 20, {last:.4f} in the last 20. Differences from it, in the NLL of a step's tokens:",
            table(rows, columns),
        )
    )


def plot(result: dict[str, Any], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (curves, differences) = pyplot.subplots(
        2, 1, figsize=(7, 6), sharex=True, height_ratios=(2, 1), layout="constrained"
    )
    curves.plot(result["curves"][REFERENCE], label=REFERENCE, color="silver", linewidth=4)
    for colour, (name, steps) in enumerate(apart(result).items()):
        curves.plot(result["curves"][name], label=name, color=f"C{colour}", linewidth=1)
        differences.plot(steps, color=f"C{colour}", linewidth=1)
    curves.set_ylabel("NLL of the step's tokens")
    curves.set_title(f"{result['objective'].upper()}: {result['source']}", fontsize=9)
    curves.legend()
    differences.set_yscale("log")
    differences.set_ylabel("from the reference")
    differences.set_xlabel("step")
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = {name: os.environ.get(f"DFTCORE_{name.upper()}") for name in ("model", "data")}
    for name, value in given.items():
        parser.add_argument(f"--{name}", default=value, required=not value)
    parser.add_argument("--objective", choices=("sft", "dft"), default="dft")
    options = parser.parse_args()
    inputs = loss_inputs.real(options.model, options.data, ROWS)
    result: dict[str, Any] = {
        "environment": environment(torch.device("cpu")),
        "source": inputs.source,
        "objective": options.objective,
        "curves": {name: train(inputs, loss_of, options.objective) for name, loss_of in RUNS.items()},
    }
    paths = save("curve", result, render(result))
    plot(result, str(paths[0].with_suffix(".png")))
    print(render(result))


if __name__ == "__main__":
    main()
