"""What the loss is measured on: hidden states of a real model, synthetic ones with its statistics, or random normal.

The statistics that decide the cost of a routed backward are those of the softmax, so `statistics` stands beside each
figure: quantiles of the target's probability, and the share of (row, block of 128) pairs with mass above a threshold.

    python benchmarks/loss_inputs.py --model DIR --data FILE.jsonl --rows 4096 --output A --output B     saved states
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from dftcore.kernels.budget import BLOCK
from dftcore.kernels.order import vocabulary_order

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
PROBABILITIES = (0.003, 0.021, 0.18, 0.69, 0.95, 0.991, 0.9975)  # of SmolLM2-135M-Instruct on worked GSM8K answers
CANDIDATES = 48  # tokens a row that carry the mass outside the target
DECAY = 2.2  # of their masses, k^-DECAY
USUAL, REST = 2.05, 2.5  # deviations of the other logits: between tokens, and within one between rows


@dataclass
class Inputs:
    """hidden [N, D], weight [V, D], targets [N]; `source` says where they come from."""

    hidden: Tensor
    weight: Tensor
    targets: Tensor
    source: str

    def to(self, device: torch.device, dtype: torch.dtype) -> Inputs:
        moved = (self.hidden.to(device, dtype), self.weight.to(device, dtype), self.targets.to(device))
        return Inputs(*moved, self.source)

    def first(self, rows: int) -> Inputs:
        return Inputs(self.hidden[:rows], self.weight, self.targets[:rows], self.source)


def real(model_directory: str, data_file: str, rows: int) -> Inputs:
    """Last hidden states at the tokens of each JSONL line's `solution`, its `problem` being the user's turn."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_directory, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_directory)
    hidden: list[Tensor] = []
    targets: list[Tensor] = []
    with Path(data_file).open(encoding="utf-8") as lines, torch.no_grad():
        for line in lines:
            example = json.loads(line)
            prompt = f"Question: {example['problem']}\nAnswer: "  # for a base model
            if tokenizer.chat_template:
                turn = [{"role": "user", "content": example["problem"]}]
                prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
            before = tokenizer(prompt, add_special_tokens=False).input_ids
            after = tokenizer(example["solution"] + tokenizer.eos_token, add_special_tokens=False).input_ids
            tokens = torch.tensor([before + after])
            hidden.append(model.base_model(tokens).last_hidden_state[0, len(before) - 1 : -1].clone())
            targets.append(tokens[0, len(before) :])
            if sum(len(t) for t in targets) >= rows:
                break
    found = torch.cat(targets)[:rows]
    if len(found) < rows:
        raise SystemExit(f"{data_file}: only {len(found)} answer tokens; ask for fewer rows than {rows}")
    name = f"hidden states of {Path(model_directory).name} on {Path(data_file).parent.name}/{Path(data_file).name}"
    return Inputs(torch.cat(hidden)[:rows], model.lm_head.weight.detach().clone(), found, name)


def save_states(inputs: Inputs, paths: Sequence[str]) -> None:
    """In bf16, the weight in as many parts as there are files: for a machine that takes neither the model nor all."""
    parts = inputs.weight.bfloat16().chunk(len(paths))
    for index, (path, part) in enumerate(zip(paths, parts, strict=True)):
        tensors = {f"weight.{index}": part.contiguous()}
        if index == 0:
            tensors |= {"hidden": inputs.hidden.bfloat16().contiguous(), "targets": inputs.targets.contiguous()}
        save_file(tensors, path, metadata={"source": inputs.source})


def saved(paths: Sequence[str]) -> Inputs:
    tensors: dict[str, Tensor] = {}
    for path in paths:
        tensors |= load_file(path)
    with safe_open(paths[0], framework="pt") as file:
        source = file.metadata()["source"]
    weight = torch.cat([tensors[name] for name in sorted(n for n in tensors if n.startswith("weight."))])
    return Inputs(tensors["hidden"], weight, tensors["targets"], source)


def calibrated(rows: int, dim: int, vocab: int, device: torch.device, seed: int = 0) -> Inputs:
    """Synthetic states with a pretrained model's softmax: solve for the hidden state that gives chosen logits.

    A row's target has a probability drawn from the measured quantiles; CANDIDATES other tokens share the rest with
    masses falling as k^-DECAY. Tokens differ in how usual they are: a usual one is often a candidate (its rank is
    log-uniform), and its logit is higher in every row (deviation USUAL). What is left of a logit is Gaussian (deviation
    REST), around a level about 21 below log-sum-exp. Where a token lies in the vocabulary is drawn.
    From a hidden size of about 1,000 up; below that the candidates' own embeddings make the rest too rough.
    """
    generator = torch.Generator(device).manual_seed(seed)
    weight = torch.randn(vocab, dim, generator=generator, device=device) / dim**0.5
    order = torch.randperm(vocab, generator=generator, device=device)
    weight[:, 0] = 1.0
    weight[order, 1] = torch.randn(vocab, generator=generator, device=device).sort(descending=True).values
    level, top = 8.5, 29.5
    hidden = torch.empty(rows, dim, device=device)
    targets = torch.empty(rows, dtype=torch.int64, device=device)
    masses = torch.arange(1, CANDIDATES + 1, device=device, dtype=torch.float32).pow(-DECAY)
    masses /= masses.sum()
    noise = max(0.0, REST**2 - 95.0**2 / dim) ** 0.5  # what the candidates' embeddings do not already add
    for start in range(0, rows, 256):
        count = min(256, rows - start)
        p = _draw_probabilities(count, generator, device)
        chosen = order[_draw_ranks(count, vocab, generator, device)]
        wanted = torch.cat((p[:, None], (1 - p[:, None]) * masses), -1).log() + top
        rows_of = weight[chosen]
        base = level + USUAL * rows_of[:, :, 1]
        rows_of[:, :, :2] = 0.0
        floor = torch.randn(count, dim, generator=generator, device=device) * noise
        floor[:, :2] = 0.0
        missing = wanted - base - torch.einsum("nkd,nd->nk", rows_of, floor)
        gram = rows_of @ rows_of.transpose(1, 2) + 1e-2 * torch.eye(CANDIDATES + 1, device=device)
        coefficients = torch.linalg.solve(gram, missing)
        part = floor + torch.einsum("nk,nkd->nd", coefficients, rows_of)
        part[:, 0], part[:, 1] = level, USUAL
        hidden[start : start + count], targets[start : start + count] = part, chosen[:, 0]
    return Inputs(hidden, weight, targets, "calibrated synthetic")


def _draw_ranks(count: int, vocab: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """[count, CANDIDATES + 1] different ranks a row, nearly log-uniform, in any order."""
    size = (count, CANDIDATES + 1)
    ranks = (vocab ** torch.rand(size, generator=generator, device=device)).long().sub(1).sort().values
    steps = torch.arange(CANDIDATES + 1, device=device)
    ranks = ((ranks - steps).cummax(1).values + steps).clamp_max(vocab - 1)
    return ranks.gather(1, torch.rand(size, generator=generator, device=device).argsort())


def _draw_probabilities(count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """By linear interpolation of the measured quantiles in log-odds, flat beyond the outermost."""
    at = torch.rand(count, generator=generator, device=device).clamp(QUANTILES[0], QUANTILES[-1])
    levels = torch.tensor(QUANTILES, device=device)
    odds = torch.tensor(PROBABILITIES, device=device).logit()
    above = torch.searchsorted(levels, at).clamp(1, len(QUANTILES) - 1)
    share = (at - levels[above - 1]) / (levels[above] - levels[above - 1])
    return torch.lerp(odds[above - 1], odds[above], share).sigmoid()


def normal(rows: int, dim: int, vocab: int, device: torch.device, seed: int = 0) -> Inputs:
    """Random normal: says nothing about a trained model; kept because others publish it."""
    generator = torch.Generator(device).manual_seed(seed)
    hidden = torch.randn(rows, dim, generator=generator, device=device)
    weight = torch.randn(vocab, dim, generator=generator, device=device) / dim**0.5
    targets = torch.randint(0, vocab, (rows,), generator=generator, device=device)
    return Inputs(hidden, weight, targets, "random normal")


@torch.no_grad()
def statistics(inputs: Inputs, rows: int = 1024) -> dict[str, list[float]]:
    """Of the first `rows` rows: quantiles of p_t, and percentages of pairs with mass above 2^-8, -10, -12, -14, as the
    vocabulary lies and in the order that the loss takes it in."""
    logp = (inputs.hidden[:rows].float() @ inputs.weight.float().T).log_softmax(-1)
    p = logp.gather(-1, inputs.targets[:rows, None]).squeeze(-1).exp()
    whole = logp.shape[1] // BLOCK * BLOCK
    count = len(inputs.targets)
    order = vocabulary_order(inputs.hidden, torch.arange(count, device=p.device), count, inputs.weight, None)
    softmax = logp.exp_()

    def pairs(columns: Tensor | slice) -> list[float]:
        mass = softmax[:, columns].unflatten(-1, (-1, BLOCK)).sum(-1)
        return [round(100 * float((mass > 2.0**-e).float().mean()), 2) for e in (8, 10, 12, 14)]

    return {
        "p_quantiles": [round(v, 4) for v in p.quantile(torch.tensor(QUANTILES, device=p.device)).tolist()],
        "pairs_percent": pairs(slice(whole)),
        "pairs_percent_ordered": pairs(order[:whole]),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Hugging Face directory")
    parser.add_argument("--data", required=True, help="JSONL with problem and solution")
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--output", action="append", required=True, help="repeatable: the weight is spread over them")
    given = parser.parse_args()
    save_states(real(given.model, given.data, given.rows), given.output)
