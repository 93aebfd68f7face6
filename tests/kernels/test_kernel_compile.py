"""Every shipped configuration compiles for the supported devices, without spills and within their shared memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
SHARED_MEMORY = {80: 166_912, 89: 101_376, 90: 232_448, 100: 232_448, 103: 232_448, 120: 101_376}
AOT = Path(__file__).with_name("aot.py")
VECTOR = ("target_logit", "epilogue", "power_loss", "histogram", "shares", "fill", "block_sums")
SPILLED = {89: 16, 120: 16}  # bytes of stack, by fp32 tiles, outside their inner loops; nothing anywhere else


def compile_all(*arguments: str) -> list[dict[str, object]]:
    """In a process of its own, because this one may have chosen the interpreter."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    run = subprocess.run(
        [sys.executable, AOT, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return [json.loads(line) for line in run.stdout.splitlines()]


def check(found: list[dict[str, object]]) -> None:
    for case in found:
        assert int(str(case["stack"])) <= SPILLED.get(int(str(case["arch"])), 0), f"spills: {case}"
        assert case["spills_in_loop"] == 0, f"spills where it hurts: {case}"
        assert int(str(case["shared"])) <= SHARED_MEMORY[int(str(case["arch"]))], case
        assert case["ieee"], f"fp32 inputs rounded to tf32: {case}"
        if case["kernel"] in VECTOR:
            continue
        assert case["tensor_cores"] == (case["dtype"] != "fp32"), case
        assert case["async"] or case["tma"] or case["dtype"] == "fp32", f"loads are not pipelined: {case}"
        assert case["tma"] == bool(dict(case["tiles"]).get("TMA")), case


def test_usual_configurations_compile_for_hopper():
    found = compile_all("90", "--usual")
    assert len({case["kernel"] for case in found}) == 14
    check(found)


@pytest.mark.soak
@pytest.mark.parametrize("arch", SHARED_MEMORY)
def test_every_configuration_compiles(arch):
    found = compile_all(str(arch))
    assert {case["dtype"] for case in found} == {"fp32", "fp16", "bf16"}
    check(found)


@pytest.mark.soak
@pytest.mark.parametrize("arch", [80, 90, 100])
def test_every_candidate_of_the_tuner_compiles(arch):
    found = compile_all(str(arch), "--candidates")
    assert len(found) >= 24
    check(found)
