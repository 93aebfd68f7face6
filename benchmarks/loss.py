"""The loss against its peers: time, memory and error of loss + both gradients, on a trained model's states.

    python benchmarks/loss.py                                   small shapes, any device
    python benchmarks/loss.py --model DIR --data FILE.jsonl     on a real model's states
    python benchmarks/loss.py --full                            every head and length: one GPU, one call

The environment variables DFTCORE_MODEL and DFTCORE_DATA stand in for --model and --data.
TFLOP/s counts the 6 N D V of a dense loss and its gradients, whatever was computed. "x GEMM" is the time over that of
the bare lm_head product, 2 N D V. "extra" is peak memory beyond dH and dW, also as a share of the logits in fp32.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import Any

import loss_inputs
import loss_rows
import torch
from harness import environment, measure, peak_extra_bytes, save, table
from torch import Tensor

HEADS = {
    "Qwen2.5-Math-1.5B": (1536, 151936),
    "Qwen2.5-Math-7B": (3584, 152064),
    "Llama-3.1-8B": (4096, 128256),
    "Llama-3.2-3B": (3072, 128256),
    "DeepSeekMath-7B": (4096, 102400),
    "Gemma-3-270M": (640, 262144),
}
SMALL = (1024, 1024, 16384)
LENGTHS = (2048, 4096, 8192, 16384, 32768, 65536)
BUDGETS = (0.0, 2.0**-10, 2.0**-9, 2.0**-8, 2.0**-7, 2.0**-6)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
COLUMNS = {
    "row": "implementation",
    "objective": "objective",
    "forward_ms": "forward ms",
    "total_ms": "loss + grad ms",
    "spread": "10-90 %",
    "tflops": "TFLOP/s",
    "gemm_ratio": "x GEMM",
    "eager_ratio": "x eager",
    "processor_ms": "processor ms",
    "processor_ratio": "x eager, processor",
    "extra_mib": "extra MiB",
    "extra_share": "of fp32 logits",
    "error_hidden": "error dH",
    "error_weight": "error dW",
    "absent": "absent",
}


def measure_row(
    loss: loss_rows.Loss, inputs: loss_inputs.Inputs, objective: str, exact: tuple[Tensor, Tensor] | None, repeats: int
) -> dict[str, Any]:
    """One row's figures, or {"absent": why}."""
    device = inputs.hidden.device
    hidden, weight = (t.detach().requires_grad_() for t in (inputs.hidden, inputs.weight))

    def step() -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss(hidden, weight, inputs.targets, objective), (hidden, weight))

    try:
        gradients = step()
    except Exception as error:  # a peer may fail in ways of its own; its row says how
        first_line = (str(error).strip() or "no message").splitlines()[0][:120]
        return {
            "absent": first_line if isinstance(error, loss_rows.Absent) else f"{type(error).__name__}: {first_line}"
        }
    row: dict[str, Any] = {}
    if exact is not None:
        row["error_hidden"], row["error_weight"] = (
            loss_rows.relative_error(g, e) for g, e in zip(gradients, exact, strict=True)
        )
    del gradients
    extra = peak_extra_bytes(step, device)
    warmup = 2 if device.type == "cuda" else 0  # the two calls above were warm-up enough for a CPU
    forward = measure(lambda: loss(hidden, weight, inputs.targets, objective), device, repeats, warmup)
    total = measure(step, device, repeats, warmup)
    (rows, dim), vocab = hidden.shape, weight.shape[0]
    return row | {
        "forward_ms": forward.median_ms,
        "total_ms": total.median_ms,
        "processor_ms": total.processor_ms,
        "spread": f"{total.low_ms:.3g}-{total.high_ms:.3g}",
        "tflops": 6 * rows * dim * vocab / total.median_ms / 1e9,
        "extra_mib": extra / 2**20,
        "extra_share": extra / (4 * rows * vocab),
    }


def compare(inputs: loss_inputs.Inputs, objective: str, repeats: int, only: list[str]) -> dict[str, Any]:
    """Every implementation on one set of inputs, next to the bare lm_head product."""
    hidden, weight, device = inputs.hidden, inputs.weight, inputs.hidden.device
    exact, yardstick = loss_rows.exact_gradients(hidden, weight, inputs.targets, objective)
    gemm = measure(lambda: hidden @ weight.T, device, repeats).median_ms
    rows = []
    for name, loss in loss_rows.ROWS.items():
        if only and not any(word in name for word in only):
            continue
        found = measure_row(loss, inputs, objective, exact, repeats)
        rows.append({"row": name, "objective": objective, **found})
        print(f"  {name}: {found.get('absent') or format(found['total_ms'], '.4g') + ' ms'}", flush=True)
    eager = next((row for row in rows if row["row"].startswith("eager")), {})
    for row in rows:
        if "total_ms" in row:
            row["gemm_ratio"] = row["total_ms"] / gemm
            for ratio, key in (("eager_ratio", "total_ms"), ("processor_ratio", "processor_ms")):
                row[ratio] = row[key] / eager[key] if row[key] and eager.get(key) else None
    return {
        "shape": [*hidden.shape, weight.shape[0]],
        "dtype": str(hidden.dtype).removeprefix("torch."),
        "source": inputs.source,
        "statistics": loss_inputs.statistics(inputs),
        "gemm_ms": gemm,
        "yardstick": yardstick,
        "rows": rows,
    }


def against_budget(inputs: loss_inputs.Inputs, objective: str, repeats: int) -> list[dict[str, Any]]:
    exact, _ = loss_rows.exact_gradients(inputs.hidden, inputs.weight, inputs.targets, objective)
    return [
        {"budget": budget, **measure_row(loss_rows.ours_at(budget), inputs, objective, exact, repeats)}
        for budget in BUDGETS
    ]


def against_length(
    dim: int, vocab: int, device: torch.device, dtype: torch.dtype, lengths: tuple[int, ...], repeats: int
) -> list[dict[str, Any]]:
    rows = []
    for length in lengths:
        inputs = loss_inputs.calibrated(length, dim, vocab, device).to(device, dtype)
        rows.append({"rows": length, **measure_row(loss_rows.ours_at(2.0**-8), inputs, "dft", None, repeats)})
    return rows


def cases(options: argparse.Namespace, device: torch.device) -> Iterator[loss_inputs.Inputs]:
    if options.model and options.data:
        yield loss_inputs.real(options.model, options.data, options.rows or 4096)
    if options.full:
        for dim, vocab in HEADS.values():
            yield loss_inputs.calibrated(options.rows or 8192, dim, vocab, device)
        yield loss_inputs.normal(options.rows or 8192, *HEADS["Llama-3.2-3B"], device)
    elif not (options.model and options.data):
        rows, dim, vocab = SMALL
        yield loss_inputs.calibrated(options.rows or rows, dim, vocab, device)


def render(result: dict[str, Any]) -> str:
    """The whole result as Markdown."""
    around = result["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in around["versions"].items())
    parts = ["# Fused loss", f"{around['device']}; {versions}; commit {around['commit']}; {around['date']}."]
    for case in result["cases"]:
        rows, dim, vocab = case["shape"]
        parts.append(f"## {case['source']}: N={rows}, D={dim}, V={vocab}, {case['dtype']}")
        parts.append(
            f"p_t at the 5/10/25/50/75/90/95 % quantiles: {case['statistics']['p_quantiles']}; "
            f"pairs with mass above 2^-8/-10/-12/-14: {case['statistics']['pairs_percent']} %. "
            f"Bare lm_head product: {case['gemm_ms']:.4g} ms."
        )
        error_hidden, error_weight = case["yardstick"]
        parts.append(f"Error of the unfused bf16 path (the yardstick): dH {error_hidden:.1e}, dW {error_weight:.1e}.")
        parts.append(table(case["rows"], COLUMNS))
    if result["budgets"]:
        chosen = {"budget": "error budget"} | {k: COLUMNS[k] for k in ("total_ms", "error_hidden", "error_weight")}
        parts += ["## Cost and error against the error budget (DFT, first case)", table(result["budgets"], chosen)]
    if result["lengths"]:
        chosen = {"rows": "N"} | {
            k: COLUMNS[k] for k in ("forward_ms", "total_ms", "extra_mib", "extra_share", "absent")
        }
        dim, vocab = result["length_shape"]
        parts += [f"## Cost against N (DFT, calibrated, D={dim}, V={vocab})", table(result["lengths"], chosen)]
    return "\n\n".join(parts)


def plot(result: dict[str, Any], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = 2 if result["budgets"] else 1
    figure, axes = pyplot.subplots(1, panels, figsize=(6 * panels, 4.5), layout="constrained", squeeze=False)
    bars = axes[0][0]
    shown = [(row, case) for case in result["cases"] for row in case["rows"] if "total_ms" in row]
    labels = [f"{row['row']}\n{row['objective']}, {case['dtype']}" for row, case in shown]
    bars.barh(range(len(shown)), [row["total_ms"] for row, _ in shown])
    bars.set_yticks(range(len(shown)), labels, fontsize=7)
    bars.invert_yaxis()
    bars.set_xlabel("loss + both gradients, ms")
    rows, dim, vocab = result["cases"][0]["shape"]
    bars.set_title(f"{result['cases'][0]['source']}\nN={rows} D={dim} V={vocab}", fontsize=9)
    if result["budgets"]:
        curve = axes[0][1]
        points = [row for row in result["budgets"] if row.get("total_ms") and row["budget"]]
        for key, label in (("error_hidden", "dH"), ("error_weight", "dW")):
            curve.plot([row["budget"] for row in points], [row[key] for row in points], marker="o", label=label)
        curve.set_xscale("log", base=2)
        curve.set_yscale("log")
        curve.set_xlabel("error budget")
        curve.set_ylabel("relative error against fp64 (DFT)")
        curve.legend()
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=os.environ.get("DFTCORE_MODEL"), help="Hugging Face directory")
    parser.add_argument("--data", default=os.environ.get("DFTCORE_DATA"), help="JSONL with problem and solution")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--dtype", choices=DTYPES, action="append", help="repeatable; default bfloat16 on a GPU, both else"
    )
    parser.add_argument("--rows", type=int, help="N; default 8192 with --full, 4096 on a model's states, else 1024")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--objective", choices=("sft", "dft"), action="append", help="repeatable; default both")
    parser.add_argument("--only", action="append", default=[], help="rows whose name holds this; repeatable")
    parser.add_argument(
        "--sweeps", action=argparse.BooleanOptionalAction, default=True, help="cost against budget and N"
    )
    parser.add_argument("--full", action="store_true", help="every head and length; meant for a GPU")
    parser.add_argument("--name", default="loss", help="of the result files")
    options = parser.parse_args()
    if bool(options.model) != bool(options.data):
        parser.error("--model and --data go together")
    device = torch.device(options.device)
    dtypes = options.dtype or (["bfloat16"] if device.type == "cuda" else ["float32", "bfloat16"])

    result: dict[str, Any] = {"environment": environment(device), "cases": [], "budgets": [], "lengths": []}
    for inputs in cases(options, device):
        for name in dtypes:
            typed = inputs.to(device, DTYPES[name])
            for objective in options.objective or ("sft", "dft"):
                print(
                    f"{typed.source} {tuple(typed.hidden.shape)} x {typed.weight.shape[0]} {name} {objective}",
                    flush=True,
                )
                result["cases"].append(compare(typed, objective, options.repeats, options.only))
            if options.sweeps and not result["budgets"]:
                result["budgets"] = against_budget(typed, "dft", options.repeats)
    dim, vocab = HEADS["Llama-3.2-3B"] if options.full else SMALL[1:]
    lengths = LENGTHS if options.full else (512, 1024, 2048)
    result["length_shape"] = [dim, vocab]
    if options.sweeps:
        result["lengths"] = against_length(dim, vocab, device, DTYPES[dtypes[0]], lengths, options.repeats)

    markdown = render(result)
    paths = [*save(options.name, result, markdown)]
    try:
        picture = paths[0].with_suffix(".png")
        plot(result, str(picture))
        paths.append(picture)
    except ImportError:
        print("matplotlib is not installed: no plot")
    print(markdown, "wrote " + ", ".join(str(path) for path in paths), sep="\n\n")


if __name__ == "__main__":
    main()
