"""Compile every shipped configuration ahead of time, without a device, and report what it uses.

    python aot.py 80 90 100 [--usual] [--candidates]      -> one JSON object a line

--usual: the defaults with the usual flags and bf16 only; --candidates: what the tuner may choose, bf16 only.
Shared memory is the compiler's figure; registers and stack (which shows spills) are read from the machine code by the
cuobjdump that comes with Triton.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dftcore.kernels.block_sums import block_sums_kernel
from dftcore.kernels.budget import BINS, BINS_PER_OCTAVE, BLOCK
from dftcore.kernels.config import CANDIDATES, SINGLE, VECTOR, Tiles, half
from dftcore.kernels.config import candidates as listed
from dftcore.kernels.config import tuned as table
from dftcore.kernels.epilogue import epilogue_kernel
from dftcore.kernels.fill import fill_kernel
from dftcore.kernels.forward import forward_kernel
from dftcore.kernels.hidden_gradient import hidden_gradient_kernel
from dftcore.kernels.hidden_scatter import hidden_scatter_kernel
from dftcore.kernels.histogram import histogram_kernel
from dftcore.kernels.logit_gradient import logit_gradient_kernel
from dftcore.kernels.power_loss import power_loss_kernel
from dftcore.kernels.shares import shares_kernel
from dftcore.kernels.target_logit import target_logit_kernel
from dftcore.kernels.weight_gradient import weight_gradient_kernel

INT32 = {"p_rows", "p_count", "p_counts", "p_lists", "p_slot_rows", "p_tile_block", "p_tile_start", "p_group"}
INT32 |= {"p_largest", "p_order"}
INT64 = {"p_target", "p_slots", "p_list_starts", "p_fixed"}
INPUT = {"p_hidden", "p_weight", "p_bias", "p_g", "p_share", "p_out", "p_low", "p_out_bias", "p_sums"}  # inputs' type
INPUT |= {"p_spread", "p_spread_bias"}
TYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
LOGITS = {"HAS_BIAS": False, "SOFTCAP": False, "EVEN_D": True, "ORDER": True}
TENSOR_CORES = {90: "wgmma.mma_async", 100: "tcgen05.mma", 103: "tcgen05.mma"}
SCALARS = ("softcap", "inv_temperature", "exponent")
CONTIGUOUS = ("stride_hd", "stride_wd", "stride_od")  # the launcher makes a 1 a constant
ODD = ("V", "splits", "blocks", *SCALARS, "p_group")  # nothing is known of their divisibility

# kernel, function, flags of the usual case, and the rarer ones
KERNELS = {
    "forward": (
        forward_kernel,
        {**LOGITS, "MASSES": True, "MOMENTS": False, "BLOCK": BLOCK},
        [{"HAS_BIAS": True, "SOFTCAP": True}, {"EVEN_D": False}, {"MASSES": False, "ORDER": False}],
    ),
    "forward_moments": (
        forward_kernel,
        {**LOGITS, "MASSES": True, "MOMENTS": True, "BLOCK": BLOCK},
        [{"HAS_BIAS": True, "SOFTCAP": True}, {"EVEN_D": False}, {"MASSES": False, "ORDER": False}],
    ),
    "target_logit": (
        target_logit_kernel,
        {"HAS_BIAS": False, "SOFTCAP": False},
        [{"HAS_BIAS": True, "SOFTCAP": True}],
    ),
    "epilogue": (epilogue_kernel, {"MOMENTS": False, "TOP1": False, "SPLITS": 64}, [{"MOMENTS": True, "TOP1": True}]),
    "power_loss": (power_loss_kernel, {"HAS_FACTOR": False}, [{"HAS_FACTOR": True}]),
    "histogram": (histogram_kernel, {"BLOCK": BLOCK, "BINS": BINS, "PER_OCTAVE": BINS_PER_OCTAVE}, []),
    "shares": (shares_kernel, {"COUNT": True, "BLOCK": BLOCK}, [{"COUNT": False}]),
    "fill": (fill_kernel, {"BLOCK": BLOCK}, []),
    "block_sums": (block_sums_kernel, {"BLOCK": BLOCK}, []),
    "logit_gradient": (
        logit_gradient_kernel,
        LOGITS,
        [{"HAS_BIAS": True, "SOFTCAP": True}, {"EVEN_D": False}, {"ORDER": False}],
    ),
    "weight_gradient": (
        weight_gradient_kernel,
        {"SPREAD": True, "HAS_BIAS": False, "ORDER": True},
        [{"SPREAD": False, "ORDER": False}, {"HAS_BIAS": True}],
    ),
    "hidden_scatter": (hidden_scatter_kernel, {}, []),
    "hidden_gradient": (
        hidden_gradient_kernel,
        {"FINISH": False, "LOW": True, "LAST": False},
        [{"LAST": True}, {"LOW": False}],
    ),
    "hidden_finish": (hidden_gradient_kernel, {"FINISH": True, "LOW": False, "LAST": True}, []),
}


@dataclass(frozen=True)
class Case:
    kernel: str
    dtype: torch.dtype
    tiles: Tiles
    flags: dict[str, int | bool] = field(default_factory=dict)


def usual(arch: int) -> Iterator[Case]:
    for name, (_, flags, _) in KERNELS.items():
        yield Case(name, torch.bfloat16, {**half(f"sm_{arch}"), **VECTOR}[name], flags)


def everything(arch: int) -> Iterator[Case]:
    defaults = half(f"sm_{arch}")
    chosen = table().get(f"sm_{arch}", {})
    for name, (_, flags, rarer) in KERNELS.items():
        for dtype in TYPES:
            if name in ("epilogue", "power_loss", "histogram", "fill") and dtype != torch.bfloat16:
                continue  # none of their arguments has the inputs' type
            tiles = {**(SINGLE if dtype == torch.float32 else defaults), **VECTOR}[name]
            for more in ({}, *rarer):
                yield Case(name, dtype, tiles, {**flags, **more})
                if name in chosen and dtype != torch.float32:
                    yield Case(name, dtype, chosen[name], _chosen({**flags, **more}, chosen[name]))


def _chosen(flags: dict[str, int | bool], tiles: Tiles) -> dict[str, int | bool]:
    """The flags with which tiles run that the tuner may choose: logits with a bias or a soft-cap are left to the
    defaults, and the copy engine takes the vocabulary as it lies."""
    never = {"HAS_BIAS", "SOFTCAP"} if "SOFTCAP" in flags else set()
    never |= {"ORDER"} if tiles.constexprs.get("TMA") else set()
    return {**flags, **dict.fromkeys(never, False)}


def candidates(arch: int) -> Iterator[Case]:
    for name in CANDIDATES:
        _, flags, rarer = KERNELS[name]
        for tiles in listed(name, f"sm_{arch}"):
            for more in ({}, *rarer):
                yield Case(name, torch.bfloat16, tiles, _chosen({**flags, **more}, tiles))


def spills_in_loop(sass: str) -> int:
    """Local-memory instructions inside the innermost loops that hold tensor-core or fused multiply-add instructions."""
    lines = [(int(at, 16), text) for at, text in re.findall(r"/\*([0-9a-f]{4,})\*/\s+(.*?);", sass)]
    jumps = [(int(to.group(1), 16), at) for at, text in lines if (to := re.search(r"\bBRA\b.*?0x([0-9a-f]+)", text))]
    loops = [(start, end) for start, end in jumps if start < end]
    inner = [(a, b) for a, b in loops if not any(a <= c and d <= b and (a, b) != (c, d) for c, d in loops)]
    found = 0
    for start, end in inner:
        body = [text for at, text in lines if start <= at <= end]
        if any(re.search(r"\b(U?\w*MMA|FFMA)\b", text) for text in body):
            found += sum(bool(re.search(r"\b(LDL|STL)\b", text)) for text in body)
    return found


def compile_case(case: Case, arch: int) -> tuple[triton.compiler.CompiledKernel, dict[str, object]]:
    function = KERNELS[case.kernel][0]
    constants: dict[str, int | bool] = {**case.tiles.constexprs, **case.flags}
    if case.kernel == "hidden_scatter":
        halves = {**half(f"sm_{arch}"), **table().get(f"sm_{arch}", {})}
        constants["BM"] = (SINGLE if case.dtype == torch.float32 else halves)["logit_gradient"].constexprs["BM"]
    signature, attributes = {}, {}
    for index, argument in enumerate(function.arg_names):
        if argument in constants:
            signature[argument] = "constexpr"
            continue
        if argument in ("p_hidden", "p_weight") and constants.get("TMA"):
            rows = constants["BM" if argument == "p_hidden" else "BV"]
            signature[argument] = f"tensordesc<{TYPES[case.dtype]}[{rows},{constants['BK']}]>"
            continue
        if argument.startswith("p_"):
            kind = "i32" if argument in INT32 or (case.kernel, argument) == ("histogram", "p_counts") else None
            kind = "i64" if argument in INT64 else "fp16" if argument == "p_log_mass" else kind
            signature[argument] = "*" + (kind or (TYPES[case.dtype] if argument in INPUT else "fp32"))
        else:
            signature[argument] = "fp32" if argument in SCALARS else "i32"
        if argument in CONTIGUOUS:
            signature[argument], constants[argument] = "constexpr", 1
        elif argument not in ODD:
            attributes[(index,)] = [["tt.divisibility", 16]]
    compiled = triton.compile(
        ASTSource(function, signature=signature, constexprs=constants, attrs=attributes),
        target=GPUTarget("cuda", arch, 32),
        options={key: value for key, value in case.tiles.launch.items() if key not in constants},
    )
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(compiled.asm["cubin"])
        cubin.flush()
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        usage = subprocess.run([tool, "-res-usage", cubin.name], capture_output=True, text=True, check=True).stdout
        sass = subprocess.run([tool, "-sass", cubin.name], capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"\b(REG|STACK):(\d+)", usage))
    ir, ptx = compiled.asm["ttgir"], compiled.asm["ptx"]
    return compiled, {
        "kernel": case.kernel,
        "dtype": TYPES[case.dtype],
        "arch": arch,
        "tiles": {**case.tiles.launch},
        "flags": sorted(key for key, value in case.flags.items() if value is True),
        "shared": compiled.metadata.shared,
        "registers": int(found["REG"]),
        "stack": int(found["STACK"]),
        "spills_in_loop": spills_in_loop(sass),
        "ieee": "inputPrecision = tf32" not in ir,
        "tensor_cores": TENSOR_CORES.get(arch, "mma.sync") in ptx,
        "tma": "cp.async.bulk.tensor" in ptx,
        "async": "cp.async.cg" in ptx,
        "vector": bool(re.search(r"ld\.global\S*\.v4\.", ptx)),
    }


if __name__ == "__main__":
    for arch in [int(word) for word in sys.argv[1:] if word.isdigit()]:
        chosen = (
            usual(arch)
            if "--usual" in sys.argv
            else candidates(arch)
            if "--candidates" in sys.argv
            else everything(arch)
        )
        for case in chosen:
            print(json.dumps(compile_case(case, arch)[1]), flush=True)
