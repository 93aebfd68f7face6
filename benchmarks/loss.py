"""The loss against its peers: time, memory and error of loss + both gradients, on a trained model's states.

    python benchmarks/loss.py                                   small shapes, any device
    python benchmarks/loss.py --model DIR --data FILE.jsonl     on a real model's states
    python benchmarks/loss.py --full                            tune, check and measure all of it on a GPU: `loss_full`

The environment variables DFTCORE_MODEL and DFTCORE_DATA stand in for --model and --data.
TFLOP/s counts the 6 N D V of a dense loss and its gradients, whatever was computed. "x GEMM" is the time over that of
the bare lm_head product, 2 N D V. "extra" is peak memory beyond dH and dW, also as a share of the logits in fp32.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import checkout  # noqa: F401
import loss_inputs
import loss_rows
import torch
from harness import Timing, environment, measure, measure_in_turn, peak_extra_bytes, save, table
from torch import Tensor

from dftcore.kernels.budget import DEFAULT_ERROR_BUDGET

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
BUDGETS = (0.0, 0.001, DEFAULT_ERROR_BUDGET, 0.006, 0.012, 0.024)
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
REAL_LENGTHS = (1024, 2048, 4096, 8192)
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


class Row:
    """One implementation on one set of inputs: its errors and memory at once, its times when its turn comes."""

    def __init__(self, loss: loss_rows.Loss, inputs: loss_inputs.Inputs, objective: str) -> None:
        self.loss, self.inputs, self.objective = loss, inputs, objective
        self.operands = tuple(t.detach().requires_grad_() for t in (inputs.hidden, inputs.weight))
        self.figures: dict[str, Any] = {}

    def forward(self) -> Tensor:
        return self.loss(*self.operands, self.inputs.targets, self.objective)

    def step(self) -> tuple[Tensor, ...]:
        return torch.autograd.grad(self.forward(), self.operands)

    def attempt(self, call: Callable[[], object]) -> None:
        """Unless it is absent; it is from now on, {"absent": why}, if the call fails, as a peer may in its own ways."""
        if "absent" in self.figures:
            return
        try:
            call()
        except Exception as error:
            first_line = (str(error).strip() or "no message").splitlines()[0][:120]
            known = isinstance(error, loss_rows.Absent)
            self.figures = {"absent": first_line if known else f"{type(error).__name__}: {first_line}"}

    def probe(self, exact: tuple[Tensor, Tensor] | None) -> None:
        """Errors and extra memory."""
        gradients = self.step()
        if exact is not None:
            for name, gradient, true in zip(("error_hidden", "error_weight"), gradients, exact, strict=True):
                self.figures[name] = loss_rows.relative_error(gradient, true)
        del gradients
        extra = peak_extra_bytes(self.step, self.inputs.hidden.device)
        logits = 4 * self.inputs.hidden.shape[0] * self.inputs.weight.shape[0]
        self.figures |= {"extra_mib": extra / 2**20, "extra_share": extra / logits}

    def timed(self, forward: Timing, total: Timing) -> None:
        (rows, dim), vocab = self.inputs.hidden.shape, self.inputs.weight.shape[0]
        self.figures |= {
            "forward_ms": forward.median_ms,
            "total_ms": total.median_ms,
            "processor_ms": total.processor_ms,
            "spread": f"{total.low_ms:.3g}-{total.high_ms:.3g}",
            "tflops": 6 * rows * dim * vocab / total.median_ms / 1e9,
        }


def measure_rows(rows: list[Row], exact: tuple[Tensor, Tensor] | None, repeats: int) -> None:
    torch.compiler.reset()  # so many shapes in one process would end in an uncompiled row
    for row in rows:
        row.attempt(partial(row.probe, exact))
    present = [row for row in rows if "absent" not in row.figures]
    if not present:
        return
    device = present[0].inputs.hidden.device
    warmup = 2 if device.type == "cuda" else 0  # the probes were warm-up enough for a CPU
    forwards = measure_in_turn([partial(row.attempt, row.forward) for row in present], device, repeats, warmup)
    totals = measure_in_turn([partial(row.attempt, row.step) for row in present], device, repeats, warmup)
    for row, forward, total in zip(present, forwards, totals, strict=True):
        row.attempt(partial(row.timed, forward, total))


def chosen_rows(only: Sequence[str]) -> dict[str, loss_rows.Loss]:
    return {name: row for name, row in loss_rows.ROWS.items() if not only or any(word in name for word in only)}


def compare(
    inputs: loss_inputs.Inputs, objective: str, repeats: int, chosen: dict[str, loss_rows.Loss]
) -> dict[str, Any]:
    """The implementations on one set of inputs, next to the bare lm_head product."""
    hidden, weight, device = inputs.hidden, inputs.weight, inputs.hidden.device
    exact, yardstick = loss_rows.exact_gradients(hidden, weight, inputs.targets, objective)
    gemm = measure(lambda: hidden @ weight.T, device, repeats).median_ms
    measured = [Row(row, inputs, objective) for row in chosen.values()]
    measure_rows(measured, exact, repeats)
    rows = [{"row": n, "objective": objective, **row.figures} for n, row in zip(chosen, measured, strict=True)]
    eager = next((row for row in rows if row["row"].startswith("eager")), {})
    for row in rows:
        print(f"  {row['row']}: {row.get('absent') or format(row['total_ms'], '.4g') + ' ms'}", flush=True)
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
        **held_against(exact, yardstick, hidden.dtype),
        "rows": rows,
    }


def held_against(exact: Sequence[Tensor], yardstick: Sequence[float], dtype: torch.dtype) -> dict[str, float]:
    """What errors are to be held against: a quarter of the yardstick, and rounding the exact gradients to `dtype`."""
    found = {}
    for name, gradient, error in zip(("hidden", "weight"), exact, yardstick, strict=True):
        found[f"limit_{name}"] = error / 4
        found[f"rounding_{name}"] = loss_rows.relative_error(gradient.to(dtype), gradient)
    return found


def against_budget(inputs: loss_inputs.Inputs, objective: str, repeats: int) -> list[dict[str, Any]]:
    exact, yardstick = loss_rows.exact_gradients(inputs.hidden, inputs.weight, inputs.targets, objective)
    rows = [Row(loss_rows.ours_at(budget), inputs, objective) for budget in BUDGETS]
    measure_rows(rows, exact, repeats)
    limits = held_against(exact, yardstick, inputs.hidden.dtype)
    return [{"budget": budget, **row.figures, **limits} for budget, row in zip(BUDGETS, rows, strict=True)]


def against_length(
    inputs: loss_inputs.Inputs, lengths: Sequence[int], objective: str, repeats: int
) -> list[dict[str, Any]]:
    """Ours and the unfused loss on the first N rows; errors on a CPU only, where fp64 is as fast as need be."""
    found = []
    for length in lengths:
        part = inputs.first(length)
        exact, limits = None, {}
        if inputs.hidden.device.type == "cpu":
            exact, yardstick = loss_rows.exact_gradients(part.hidden, part.weight, part.targets, objective)
            limits = held_against(exact, yardstick, part.hidden.dtype)
        ours = Row(loss_rows.ROWS["ours, default budget"], part, objective)
        eager = Row(loss_rows.eager, part, objective)
        measure_rows([ours, eager], exact, repeats)
        beside = {"eager_ms": eager.figures.get("total_ms"), "eager_mib": eager.figures.get("extra_mib")}
        found.append({"rows": length, **ours.figures, **beside, **limits})
        if "total_ms" in ours.figures:
            found[-1]["ms_per_1024"] = ours.figures["total_ms"] * 1024 / length
        told = ours.figures.get("absent") or f"{ours.figures['total_ms']:.4g} ms"
        print(f"  N={length}: {told}", flush=True)
    return found


def cases(
    options: argparse.Namespace, device: torch.device, real: loss_inputs.Inputs | None
) -> Iterator[loss_inputs.Inputs]:
    if real is not None:
        yield real.first(options.rows or 4096)
    else:
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
            f"pairs with mass above 2^-8/-10/-12/-14: {case['statistics']['pairs_percent']} %, "
            f"in the order of the loss {case['statistics']['pairs_percent_ordered']} %. "
            f"Bare lm_head product: {case['gemm_ms']:.4g} ms."
        )
        error_hidden, error_weight = case["yardstick"]
        parts.append(
            f"Error of the unfused bf16 path (the yardstick): dH {error_hidden:.1e}, dW {error_weight:.1e}. Of the "
            f"exact gradients rounded to {case['dtype']}: {case['rounding_hidden']:.1e}, {case['rounding_weight']:.1e}."
        )
        parts.append(table(case["rows"], COLUMNS))
    errors = {k: COLUMNS[k] for k in ("error_hidden", "error_weight")}
    errors |= {"limit_hidden": "a quarter of the yardstick, dH", "limit_weight": "dW"}
    errors |= {"rounding_hidden": "rounding the exact gradient, dH", "rounding_weight": "dW"}
    cost = {k: COLUMNS[k] for k in ("forward_ms", "total_ms", "extra_mib")}
    if result["budgets"]:
        chosen = {"budget": "error budget"} | cost | errors
        parts += ["## Cost and error against the error budget (DFT, first case)", table(result["budgets"], chosen)]
    for sweep in result["lengths"]:
        beside = {"ms_per_1024": "ms per 1,024 rows", "eager_ms": "unfused ms", "eager_mib": "unfused extra MiB"}
        chosen = {"rows": "N"} | cost | beside | errors | {"absent": "absent"}
        parts += [f"## Cost against N (DFT, {sweep['inputs']})", table(sweep["rows"], chosen)]
    return "\n\n".join(parts)


def plot(result: dict[str, Any], path: str) -> None:
    """Up to four cases as bars, then error against the budget and cost against N."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = result["cases"][:4]
    columns = (len(shown) + 1) // 2
    swept = 1 if result["budgets"] or result["lengths"] else 0
    figure, axes = pyplot.subplots(
        2, columns + swept, figsize=(6.2 * (columns + swept), 8), layout="constrained", squeeze=False
    )
    for axis, case in zip(axes[:, :columns].T.flat, shown, strict=False):
        _bars(axis, case)
    for axis in list(axes[:, :columns].T.flat)[len(shown) :]:
        axis.set_axis_off()
    if swept:
        _budget_curve(axes[0][-1], result["budgets"])
        _length_curve(axes[1][-1], result["lengths"])
    figure.savefig(path, dpi=130)


def _bars(axis: Any, case: dict[str, Any]) -> None:
    rows = [row for row in case["rows"] if "total_ms" in row]
    colours = ["tab:blue" if row["row"].startswith("ours") else "tab:gray" for row in rows]
    bars = axis.barh([row["row"] for row in rows], [row["total_ms"] for row in rows], color=colours)
    axis.bar_label(bars, [f"{row['total_ms']:.0f} ms, {row['extra_mib']:.0f} MiB" for row in rows], padding=3)
    axis.set_xlim(right=1.5 * max((row["total_ms"] for row in rows), default=1.0))
    axis.invert_yaxis()
    axis.set_xlabel("loss + both gradients, ms; label: and extra memory")
    length, dim, vocab = case["shape"]
    about = f"{rows[0]['objective'].upper() if rows else ''}, {case['dtype']}: N={length} D={dim} V={vocab}"
    axis.set_title(f"{about}\n{case['source']}", fontsize=9)


def _budget_curve(axis: Any, budgets: list[dict[str, Any]]) -> None:
    points = [row for row in budgets if row.get("total_ms") and row["budget"]]
    if not points:
        axis.set_axis_off()
        return
    for name, label, colour in (("hidden", "dH", "tab:blue"), ("weight", "dW", "tab:orange")):
        errors = [row[f"error_{name}"] for row in points]
        axis.plot([row["budget"] for row in points], errors, marker="o", label=label, color=colour)
        axis.axhline(
            points[0][f"limit_{name}"], linestyle=":", color=colour, label=f"quarter of the yardstick, {label}"
        )
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xlabel("error budget")
    axis.set_ylabel("relative error against fp64 (DFT)")
    axis.legend(fontsize=8)


def _length_curve(axis: Any, sweeps: list[dict[str, Any]]) -> None:
    for sweep in sweeps:
        points = [row for row in sweep["rows"] if row.get("total_ms")]
        lengths = [row["rows"] for row in points]
        axis.plot(lengths, [row["total_ms"] for row in points], marker="o", label=f"ours, {sweep['inputs']}")
        unfused = [(row["rows"], row["eager_ms"]) for row in points if row["eager_ms"]]  # where it fits
        if unfused:
            axis.plot(*zip(*unfused, strict=True), marker="x", linestyle="--", label="unfused")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log", base=2)
    axis.set_xlabel("N")
    axis.set_ylabel("loss + both gradients, ms")
    if axis.lines:
        axis.legend(fontsize=8)


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
    parser.add_argument("--full", action="store_true", help="everything, in stages; meant for a GPU")
    parser.add_argument("--stage", action="append", help="of --full; repeatable; default all")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of --full: begin nothing after so long")
    parser.add_argument("--limit", type=float, default=150.0, help="of --full: seconds that a row or unit may take")
    parser.add_argument("--results", help="of --full: directory of its files; default benchmarks/results")
    parser.add_argument("--states", action="append", help="saved states in place of --model and --data; repeatable")
    parser.add_argument("--name", default="loss", help="of the result files")
    options = parser.parse_args()
    if bool(options.model) != bool(options.data):
        parser.error("--model and --data go together")
    device = torch.device(options.device)
    if options.full:
        import loss_full  # it measures with this file's functions

        unknown = [name for name in options.stage or () if name not in loss_full.STAGES]
        if unknown:
            parser.error(f"--stage: {unknown[0]!r} is not one of {', '.join(loss_full.STAGES)}")
        raise SystemExit(loss_full.run(options, device))
    dtypes = options.dtype or (["bfloat16"] if device.type == "cuda" else ["float32", "bfloat16"])

    rows = options.rows or 4096
    longest = max(REAL_LENGTHS) if options.sweeps else rows
    real = loss_inputs.real(options.model, options.data, max(rows, longest)) if options.model else None
    result: dict[str, Any] = {"environment": environment(device), "cases": [], "budgets": [], "lengths": []}
    for inputs in cases(options, device, real):
        for name in dtypes:
            typed = inputs.to(device, DTYPES[name])
            for objective in options.objective or ("sft", "dft"):
                print(
                    f"{typed.source} {tuple(typed.hidden.shape)} x {typed.weight.shape[0]} {name} {objective}",
                    flush=True,
                )
                result["cases"].append(compare(typed, objective, options.repeats, chosen_rows(options.only)))
            if options.sweeps and not result["budgets"]:
                result["budgets"] = against_budget(typed, "dft", options.repeats)
    if options.sweeps:
        dim, vocab = SMALL[1:]
        lengths = REAL_LENGTHS if real else (512, 1024, 2048)
        for name in dtypes if real else dtypes[:1]:
            inputs = real or loss_inputs.calibrated(max(lengths), dim, vocab, device)
            about = f"{inputs.source}, {name}, D={inputs.hidden.shape[1]}, V={inputs.weight.shape[0]}"
            found = against_length(inputs.to(device, DTYPES[name]), lengths, "dft", options.repeats)
            result["lengths"].append({"inputs": about, "rows": found})

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
