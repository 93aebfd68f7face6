"""Two hundred training steps of the routed loss at its default budget, beside the reference, from the same start.

    python benchmarks/curve.py --model DIR --data FILE.jsonl

What is trained, by AdamW on DFT in fp32, is the head of a real model and a square map of its last hidden states, so
that both gradients of the loss steer the run; minibatches of 128 tokens are drawn in the same order for both. Writes
results/curve.{json,md,png}: negative log-likelihood of each step's tokens, and how far apart the two runs are.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import loss_inputs
import torch
from harness import environment, save

from dftcore import linear_cross_entropy
from dftcore.losses import Backend

STEPS, TOKENS, ROWS, LEARNING_RATE = 200, 128, 2048, 2e-4


def train(inputs: loss_inputs.Inputs, backend: Backend, objective: str) -> list[float]:
    """The mean NLL of each step's minibatch before its update."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.eye(inputs.hidden.shape[1]).requires_grad_()
    weight = inputs.weight.clone().requires_grad_()
    optimizer = torch.optim.AdamW((mix, weight), lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    curve = []
    for _ in range(STEPS):
        rows = torch.randint(0, len(inputs.targets), (TOKENS,), generator=generator)
        loss, stats = linear_cross_entropy(
            inputs.hidden[rows] @ mix, weight, inputs.targets[rows], objective, backend=backend, return_stats=True
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(float(stats.nll.mean()))
    return curve


def render(result: dict[str, Any]) -> str:
    first, last = (sum(part) / 20 for part in (result["reference"][:20], result["routed"][-20:]))
    return "\n\n".join(
        (
            "# Training curve of the routed loss",
            f"{result['environment']['device']}; torch {result['environment']['versions']['torch']}; commit"
            f" {result['environment']['commit']}; {result['environment']['date']}. {result['source']}.",
            f"{STEPS} steps of {result['objective'].upper()}, {TOKENS} tokens each: NLL {first:.3f} in the first 20,"
            f" {last:.3f} in the last 20. The two runs' NLL of a step differs by {result['mean_difference']:.1e} on"
            f" average and by {result['largest_difference']:.1e} at most.",
        )
    )


def plot(result: dict[str, Any], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (curves, apart) = pyplot.subplots(
        2, 1, figsize=(7, 6), sharex=True, height_ratios=(2, 1), layout="constrained"
    )
    curves.plot(result["reference"], label="reference: all logits, fp32", linewidth=3, alpha=0.4)
    curves.plot(result["routed"], label="routed, default error budget", linewidth=1)
    curves.set_ylabel("NLL of the step's tokens")
    curves.set_title(f"{result['objective'].upper()}: {result['source']}", fontsize=9)
    curves.legend()
    apart.plot([abs(a - b) for a, b in zip(result["routed"], result["reference"], strict=True)], color="tab:red")
    apart.set_yscale("log")
    apart.set_ylabel("difference")
    apart.set_xlabel("step")
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
        "reference": train(inputs, "reference", options.objective),
        "routed": train(inputs, "torch", options.objective),
    }
    apart = [abs(a - b) for a, b in zip(result["reference"], result["routed"], strict=True)]
    result |= {"mean_difference": sum(apart) / STEPS, "largest_difference": max(apart)}
    paths = save("curve", result, render(result))
    plot(result, str(paths[0].with_suffix(".png")))
    print(render(result))


if __name__ == "__main__":
    main()
