"""One way to measure: warm-up, median and quantiles, peak memory beyond the outputs; results with their circumstances.

timing = measure(lambda: step(), device)            # Timing(median_ms, low_ms, high_ms)
extra  = peak_extra_bytes(lambda: step(), device)   # beyond what the call returns
save("loss", rows, environment(device), markdown)   # benchmarks/results/loss.{json,md}
"""

from __future__ import annotations

import ctypes
import datetime
import gc
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import checkout
import torch
from torch import Tensor

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Timing:
    """Milliseconds: the median of the repeats, their 10 % and 90 % quantiles, and the median processor time.

    Processor time, summed over threads, hardly depends on what else the machine does; on CUDA it is not taken.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    processor_ms: float | None = None


LEAD_CYCLES = 40_000_000  # some 20 ms: longer than it takes to launch what is measured


def measure(
    call: Callable[[], object], device: torch.device, repeats: int = 5, warmup: int = 1, lead: bool = False
) -> Timing:
    """Wall time of `call`; on CUDA between events on the stream, with the level-2 cache flushed before each repeat.

    With `lead` the device waits before each repeat, so that launches do not count: for kernels one by one.
    """
    return measure_in_turn([call], device, repeats, warmup, lead)[0]


def measure_in_turn(
    calls: Sequence[Callable[[], object]], device: torch.device, repeats: int = 5, warmup: int = 1, lead: bool = False
) -> list[Timing]:
    """`measure` of each call, one repeat of all after another, so that a busy minute falls on all of them."""
    for call in calls:
        for _ in range(warmup):
            call()
    flush = torch.empty(256 << 20, dtype=torch.int8, device=device) if device.type == "cuda" else None
    times: list[list[float]] = [[] for _ in calls]
    processor: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for index, call in enumerate(calls):
            if flush is not None:
                flush.zero_()
                if lead:
                    torch.cuda._sleep(LEAD_CYCLES)
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                call()
                end.record()
                torch.cuda.synchronize(device)
                times[index].append(start.elapsed_time(end))
            else:
                began, busy = time.perf_counter(), time.process_time()
                call()
                times[index].append((time.perf_counter() - began) * 1e3)
                processor[index].append((time.process_time() - busy) * 1e3)
    return [_timing(wall, busy) for wall, busy in zip(times, processor, strict=True)]


def _timing(wall: list[float], busy: list[float]) -> Timing:
    low, median, high = torch.tensor(wall).quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
    return Timing(median, low, high, float(torch.tensor(busy).median()) if busy else None)


def peak_extra_bytes(call: Callable[[], Sequence[Tensor]], device: torch.device) -> int:
    """Peak memory during `call`, less what was held before it and what it returns.

    On CUDA the allocator's own count. On Linux the kernel's high-water mark of this process, reset before the call.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        outputs = call()
        peak = torch.cuda.max_memory_allocated(device)
    else:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        reset_peak_bytes(device)
        before = _status_bytes("VmRSS")
        outputs = call()
        peak = peak_bytes(device)
    return max(0, peak - before - sum(t.numel() * t.element_size() for t in outputs))


def reset_peak_bytes(device: torch.device) -> None:
    """Let `peak_bytes` count from now on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> int:
    """The most that this process has held: allocated on a GPU, resident on a CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _status_bytes("VmHWM")


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) << 10
    raise RuntimeError(f"/proc/self/status has no {field}")


LOSS_PACKAGES = ("torch", "triton", "liger-kernel", "cut-cross-entropy", "quack-kernels", "trl")


def environment(device: torch.device, packages: Sequence[str] = LOSS_PACKAGES) -> dict[str, Any]:
    """Device, versions of `packages`, commit and date: what a figure means nothing without."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"CPU, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "absent"
    return {
        "device": name,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": versions,
        "commit": checkout.commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def table(rows: Sequence[dict[str, Any]], columns: dict[str, str]) -> str:
    """Markdown; `columns` maps a key to its heading. A missing value is an empty cell."""
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(key)) for key in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.1e}" if value and abs(value) < 0.01 else f"{value:.3g}" if abs(value) < 1e3 else f"{value:.0f}"
    return str(value)


def save(name: str, result: dict[str, Any], markdown: str, directory: Path = RESULTS) -> tuple[Path, Path]:
    """Write <directory>/<name>.json and .md; returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    data, text = directory / f"{name}.json", directory / f"{name}.md"
    data.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text.write_text(markdown + "\n", encoding="utf-8")
    return data, text
