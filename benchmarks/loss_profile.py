"""Where the time of one loss and its gradients goes on a GPU, phase by phase, from the device's own timeline."""

from __future__ import annotations

from typing import Any

import loss_inputs
import loss_rows
import torch
from harness import measure, table

PHASES = {  # a part of the kernel's name -> phase
    "forward_kernel": "forward",
    "target_logit_kernel": "forward",
    "epilogue_kernel": "forward",
    "power_loss_kernel": "forward",
    "histogram_kernel": "routing",
    "shares_kernel": "routing",
    "fill_kernel": "routing",
    "block_sums_kernel": "routing",
    "logit_gradient_kernel": "logit gradient",
    "weight_gradient_kernel": "dW",
    "hidden_scatter_kernel": "dH, scattered",
    "hidden_gradient_kernel": "dH, dense part",
}
STEPS = 3


def phase(kernel: str) -> str:
    return next((name for part, name in PHASES.items() if part in kernel), "other")


def phases(row: loss_rows.Loss, inputs: loss_inputs.Inputs, objective: str) -> dict[str, Any]:
    """{"phases": [{phase, ms, launches, gemms}], "total_ms", "gemm_ms"}, a step; "idle" is what the host left empty."""
    device = inputs.hidden.device
    if device.type != "cuda":
        return {"failed": "needs a CUDA device"}
    operands = tuple(t.detach().requires_grad_() for t in (inputs.hidden, inputs.weight))

    def step() -> object:
        return torch.autograd.grad(row(*operands, inputs.targets, objective), operands)

    total = measure(step, device, warmup=3).median_ms
    gemm = measure(lambda: inputs.hidden @ inputs.weight.T, device).median_ms
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as found:
        for _ in range(STEPS):
            step()
        torch.cuda.synchronize(device)
    sums: dict[str, list[float]] = {}
    for event in found.key_averages():
        time = getattr(event, "self_device_time_total", 0.0) / 1e3 / STEPS  # microseconds
        if time > 0.0:
            entry = sums.setdefault(phase(event.key), [0.0, 0.0])
            entry[0] += time
            entry[1] += event.count / STEPS
    rows = [{"phase": name, "ms": ms, "launches": round(count)} for name, (ms, count) in sums.items()]
    rows.append({"phase": "idle", "ms": max(0.0, total - sum(ms for ms, _ in sums.values())), "launches": None})
    for entry in rows:
        entry["gemms"] = entry["ms"] / gemm
    return {"phases": rows, "total_ms": total, "gemm_ms": gemm}


def render(title: str, found: dict[str, Any]) -> str:
    if "failed" in found:
        return f"## Phases of {title}\n\n{found['failed']}"
    about = f"{found['total_ms']:.4g} ms a step; bare lm_head product {found['gemm_ms']:.4g} ms."
    columns = {"phase": "phase", "ms": "ms", "launches": "launches", "gemms": "in bare products"}
    return f"## Phases of {title}\n\n{about}\n\n{table(found['phases'], columns)}"
