"""The whole of the loss benchmark on a GPU, in stages that can be cut short and gone on with.

    python benchmarks/loss.py --full [--stage tune --stage check ...] [--results DIR] [--seconds 540]

tune     the tiles of every kernel are chosen on this device, printed, and written to kernels/tuned.json
check    at every head: error against fp64 beside the yardstick, bit-for-bit repetition under other work, no host sync,
         extra memory
heads    every implementation at every head, calibrated inputs, and one head with random-normal ones
real     the same on a real model's states (--model and --data, or --states)
sweeps   cost against the error budget and against N
profile  where the time of ours goes, phase by phase

DIR/loss_gpu.json holds what is done, and the same command goes on after it; DIR/loss_gpu_table.json, loss_gpu.md,
loss_gpu.png and tuned.json are written at the end of every call. Exit status 1 while something is left. A row or unit
that takes longer than --limit is given up, and the process starts anew without it.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import loss
import loss_inputs
import loss_profile
import loss_rows
import loss_tune
import torch
from harness import RESULTS, environment, peak_extra_bytes, table
from stages import Broken, OutOfTime, Stages

from dftcore.files import write_json, write_text
from dftcore.kernels.config import as_json, tuned

STAGES = ("tune", "check", "heads", "real", "sweeps", "profile")
TUNED_ON = ("Llama-3.1-8B", "Qwen2.5-Math-1.5B")
NAME = "loss_gpu"
EXACT = "ours, exact"
OURS = "ours, default budget"
REPEATS = 5  # of the bit-for-bit check


def run(options: argparse.Namespace, device: torch.device) -> int:
    results = Path(options.results or RESULTS)
    stages = Stages(results / f"{NAME}.json", options.seconds, functools.partial(healthy, device), limit=options.limit)
    if found := stages.done.get("tune/table"):
        loss_tune.install(found)
    rows = options.rows or 8192
    dtype = loss.DTYPES[(options.dtype or ["bfloat16"])[0]]

    @functools.lru_cache(maxsize=2)
    def inputs(name: str) -> loss_inputs.Inputs:
        if name == "real":
            return real_inputs(options, rows).to(device, dtype)
        make = loss_inputs.normal if name.startswith("normal ") else loss_inputs.calibrated
        return make(rows, *loss.HEADS[name.removeprefix("normal ")], device).to(device, dtype)

    calls: dict[str, Callable[[], None]] = {
        "tune": lambda: tune(stages, inputs, options.repeats, device),
        "check": lambda: check(stages, inputs, options.objective or ("sft", "dft")),
        "heads": lambda: heads(stages, inputs, options),
        "real": lambda: compare(stages, "real", inputs, options),
        "sweeps": lambda: sweeps(stages, inputs, options.repeats),
        "profile": lambda: profile(stages, inputs),
    }
    left = None
    stages.done["environment"] = environment(device)
    try:
        for name in options.stage or STAGES:
            if name == "real" and not (options.model or options.states):
                print("== real: left out, it needs --model and --data, or --states", flush=True)
                continue
            print(f"== {name}", flush=True)
            calls[name]()
    except OutOfTime as stopped:
        left = str(stopped)
    except Broken as broken:
        print(f"{broken}: the device is of no more use to this process; it starts anew", flush=True)
        stages.restart()
    report(stages, results)
    if left is not None:
        print(f"stopped after {options.seconds:.0f} s before {left}; the same command goes on from there")
    return 0 if left is None else 1


def healthy(device: torch.device) -> bool:
    try:
        return float(torch.ones(2, device=device).sum()) == 2.0
    except Exception:  # whatever the driver says, nothing runs any more
        return False


def real_inputs(options: argparse.Namespace, rows: int) -> loss_inputs.Inputs:
    if options.states:
        return loss_inputs.saved(options.states).first(rows)
    return loss_inputs.real(options.model, options.data, rows)


def tune(stages: Stages, inputs: Callable[[str], loss_inputs.Inputs], repeats: int, device: torch.device) -> None:
    on = {name: functools.partial(inputs, name) for name in TUNED_ON if name in loss.HEADS}
    if "tune/table" not in stages.done:
        stages.finish("tune/table", loss_tune.tune(stages, on, repeats, device))
    loss_tune.install(stages.done["tune/table"])
    print(json.dumps(stages.done["tune/table"]), flush=True)


def check(stages: Stages, inputs: Callable[[str], loss_inputs.Inputs], objectives: Any) -> None:
    for head in loss.HEADS:
        for objective in objectives:
            found = stages.run(f"check/{head}/{objective}", lambda h=head, o=objective: checked(inputs(h), o))
            print(f"  {head} {objective}: {found}", flush=True)


def checked(inputs: loss_inputs.Inputs, objective: str) -> dict[str, Any]:
    """Errors, a quarter of the yardstick's, extra memory, whether results repeat and no step waits for the device."""
    device = inputs.hidden.device
    exact, yardstick = loss_rows.exact_gradients(inputs.hidden, inputs.weight, inputs.targets, objective)
    found: dict[str, Any] = loss.held_against(exact, yardstick, inputs.hidden.dtype)
    logits = 4 * inputs.hidden.shape[0] * inputs.weight.shape[0]
    for mode in (OURS, EXACT):
        row = loss.Row(loss_rows.ROWS[mode], inputs, objective)
        first = row.step()
        label = mode.removeprefix("ours, ")
        errors = [loss_rows.relative_error(g, e) for g, e in zip(first, exact, strict=True)]
        found |= {f"{label}: dH": errors[0], f"{label}: dW": errors[1]}
        found[f"{label}: extra"] = peak_extra_bytes(row.step, device) / logits
        found[f"{label}: repeats"] = all(_same_under_load(row, first, device) for _ in range(REPEATS))
        found[f"{label}: no sync"] = _without_sync(row, device)
    return found


def _same_under_load(row: loss.Row, first: tuple[torch.Tensor, ...], device: torch.device) -> bool:
    """Again, while another stream keeps some of the processors busy, so that programs run in another order."""
    if device.type == "cuda":
        other = torch.cuda.Stream(device)
        with torch.cuda.stream(other):
            noise = torch.randn(4096, 4096, device=device)
            for _ in range(20):
                noise = (noise @ noise).clamp_(-1.0, 1.0)
    same = all(torch.equal(a, b) for a, b in zip(first, row.step(), strict=True))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return same


def _without_sync(row: loss.Row, device: torch.device) -> bool | str:
    if device.type != "cuda":
        return "not on this device"
    torch.cuda.set_sync_debug_mode("error")
    try:
        row.step()
    except RuntimeError as error:
        return str(error).splitlines()[0][:120]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return True


def heads(stages: Stages, inputs: Callable[[str], loss_inputs.Inputs], options: argparse.Namespace) -> None:
    for name in [*loss.HEADS, "normal Llama-3.2-3B"]:
        if name.removeprefix("normal ") in loss.HEADS:
            compare(stages, name, inputs, options)


def compare(
    stages: Stages, name: str, inputs: Callable[[str], loss_inputs.Inputs], options: argparse.Namespace
) -> None:
    for objective in options.objective or ("sft", "dft"):
        key = f"cases/{name}/{objective}"

        def case(key: str = key, objective: str = objective) -> dict[str, Any]:
            guard = Guard(stages, key)
            rows = {row: guard(row, call) for row, call in loss.chosen_rows(options.only).items()}
            found = loss.compare(inputs(name), objective, options.repeats, rows)
            guard.end()
            return found

        print(f"{name} {objective}", flush=True)
        found = stages.run(key, case)
        if "failed" in found:
            print(f"  failed: {found['failed']}", flush=True)


class Guard:
    """Notes which row is being run, so that one that ends the process, spoils the device or takes too long is absent
    from then on, in all cases. case: the unit of which the rows are a part; once they begin, they answer for
    themselves, and it answers again for the end of a process in which they are run in turn.
    """

    def __init__(self, stages: Stages, case: str) -> None:
        self.stages, self.case, self.current = stages, case, ""
        self.seen: set[str] = set()

    def __call__(self, name: str, row: loss_rows.Loss) -> loss_rows.Loss:
        key = f"rows/{name}"

        def guarded(*arguments: Any) -> torch.Tensor:
            if key not in self.seen and key not in self.stages.done:
                self.end()
                self.seen.add(key)
                self.current = key
                self.stages.forget(self.case)
                self.stages.begin(key)
                if self.stages.ended_the_process(key):
                    self.stages.finish(key, {"failed": "ended the process"})
            elif key in self.seen and self.current not in (key, self.case):
                self.end()
                self.current = self.case
                self.stages.begin(self.case)
            if key in self.stages.done:
                raise loss_rows.Absent(self.stages.done[key]["failed"])
            self.stages.at(key)
            return row(*arguments)

        return guarded

    def end(self) -> None:
        if not self.stages.healthy():
            raise Broken(self.current)
        self.stages.forget(self.current)


def sweeps(stages: Stages, inputs: Callable[[str], loss_inputs.Inputs], repeats: int) -> None:
    head = "Llama-3.2-3B" if "Llama-3.2-3B" in loss.HEADS else next(iter(loss.HEADS))
    stages.run("sweeps/budgets", lambda: {"rows": loss.against_budget(inputs(head), "dft", repeats)})
    for length in loss.LENGTHS:

        def at(length: int = length) -> dict[str, Any]:
            given = inputs(head)
            part = loss_inputs.calibrated(length, *given.weight.shape[::-1], given.hidden.device)
            typed = part.to(given.hidden.device, given.hidden.dtype)
            return {"rows": loss.against_length(typed, (length,), "dft", repeats)}

        stages.run(f"sweeps/lengths/{length}", at)


def profile(stages: Stages, inputs: Callable[[str], loss_inputs.Inputs]) -> None:
    for head in loss.HEADS:
        for mode in (OURS, EXACT):
            row = loss_rows.ROWS[mode]
            stages.run(f"profile/{head}/{mode}", lambda h=head, r=row: loss_profile.phases(r, inputs(h), "dft"))


def report(stages: Stages, results: Path) -> None:
    """loss_gpu.md, loss_gpu.png and tuned.json from what is done so far."""
    cases = {key: value for key, value in stages.under("cases/").items() if "failed" not in value}
    lengths = [row for unit in stages.under("sweeps/lengths/").values() for row in unit.get("rows", [])]
    result = {
        "environment": stages.done["environment"],
        "cases": list(cases.values()),
        "budgets": stages.done.get("sweeps/budgets", {}).get("rows", []),
        "lengths": [{"inputs": "calibrated synthetic, Llama-3.2-3B", "rows": lengths}] if lengths else [],
    }
    parts = [loss.render(result)]
    if verdicts := [verdict(key.split("/")[1], case) for key, case in cases.items()]:
        parts += ["## Against the bars", table(verdicts, {key: key for key in verdicts[0]})]
    checks = [{"head": key.removeprefix("check/"), **found} for key, found in stages.under("check/").items()]
    if checks:
        columns = list(dict.fromkeys(column for row in checks for column in row))
        parts += ["## Checks", table(checks, {column: column for column in columns})]
    parts += [
        loss_profile.render(key.removeprefix("profile/"), found) for key, found in stages.under("profile/").items()
    ]
    failed = [f"- {key}: {value['failed']}" for key, value in stages.done.items() if "failed" in value]
    if failed:
        parts += ["## Units without a result", "\n".join(failed)]
    text = "\n\n".join(parts)
    write_text(results / f"{NAME}.md", text + "\n")
    write_text(results / "tuned.json", as_json(tuned()))
    write_json(results / f"{NAME}_table.json", result)
    if cases:
        try:
            loss.plot(result, str(results / f"{NAME}.png"))
        except ImportError:
            print("matplotlib is not installed: no plot")
    print(text, flush=True)


def verdict(head: str, case: dict[str, Any]) -> dict[str, Any]:
    """The bars of one head and objective: what is asked, what was found."""
    rows = {row["row"]: row for row in case["rows"]}
    peers = {name: row["total_ms"] for name, row in rows.items() if "total_ms" in row and not name.startswith("ours")}
    ours, exact = rows.get(OURS, {}), rows.get(EXACT, {})
    fastest = min(peers, key=lambda name: peers[name]) if peers else None
    time, exact_time = ours.get("total_ms"), exact.get("total_ms")
    limits = [case["limit_hidden"], case["limit_weight"]]
    errors = [ours.get("error_hidden"), ours.get("error_weight")]
    return {
        "head": head,
        "objective": ours.get("objective"),
        "x GEMM (at most 1.5)": time and time / case["gemm_ms"],
        "fastest peer": fastest,
        "x fastest peer (at most 0.5)": time and fastest and time / peers[fastest],
        "exact x fastest peer (at most 1.5)": exact_time and fastest and exact_time / peers[fastest],
        "extra, of fp32 logits (at most 0.05)": ours.get("extra_share"),
        "error, of a quarter of the yardstick (at most 1)": None
        if None in errors
        else max(error / limit for error, limit in zip(errors, limits, strict=True)),
    }
