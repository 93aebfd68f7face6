"""Compile every shipped configuration ahead of time, without a device, and report what it uses.

    python aot.py 80 90 100 [--subset]      -> one JSON object a line

--subset leaves out the rarer flags. Shared memory is the compiler's figure; registers and stack (which shows spills)
are read from the machine code by the cuobjdump that comes with Triton.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dftcore.kernels.budget import BINS, BINS_PER_OCTAVE, BLOCK
from dftcore.kernels.config import tiles
from dftcore.kernels.epilogue import epilogue_kernel
from dftcore.kernels.forward import forward_kernel
from dftcore.kernels.hidden_gradient import hidden_gradient_kernel
from dftcore.kernels.hidden_scatter import hidden_scatter_kernel
from dftcore.kernels.histogram import histogram_kernel
from dftcore.kernels.lists import lists_kernel
from dftcore.kernels.logit_gradient import logit_gradient_kernel
from dftcore.kernels.weight_gradient import weight_gradient_kernel

INT32 = {"p_rows", "p_count", "p_counts", "p_lists", "p_tile_block", "p_tile_start", "p_group", "p_cutoff", "p_fixed"}
INT64 = {"p_target", "p_slots"}
INPUT = {"p_hidden", "p_weight", "p_bias", "p_g", "p_share", "p_out", "p_out_bias"}  # in the inputs' type; others fp32
TYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
LOGITS = {"HAS_BIAS": False, "SOFTCAP": False, "EVEN_D": True}
BINNING = {"BLOCK": BLOCK, "BINS": BINS, "PER_OCTAVE": BINS_PER_OCTAVE}

# kernel, function, flags of the usual case, and the rarer ones
KERNELS = {
    "forward": (
        forward_kernel,
        {**LOGITS, "MOMENTS": False},
        [{"MOMENTS": True}, {"HAS_BIAS": True, "SOFTCAP": True}, {"EVEN_D": False}],
    ),
    "epilogue": (epilogue_kernel, {"MOMENTS": False, "TOP1": False}, [{"MOMENTS": True, "TOP1": True}]),
    "histogram": (histogram_kernel, BINNING, []),
    "lists": (lists_kernel, BINNING, []),
    "logit_gradient": (logit_gradient_kernel, LOGITS, [{"HAS_BIAS": True, "SOFTCAP": True}, {"EVEN_D": False}]),
    "weight_gradient": (
        weight_gradient_kernel,
        {"SPREAD": True, "HAS_BIAS": False},
        [{"SPREAD": False}, {"HAS_BIAS": True}],
    ),
    "hidden_scatter": (hidden_scatter_kernel, {}, []),
    "hidden_gradient": (hidden_gradient_kernel, {"FINISH": True}, [{"FINISH": False}]),
}


def cases(subset: bool) -> Iterator[tuple[str, torch.dtype, dict[str, int | bool]]]:
    for name, (_, usual, rarer) in KERNELS.items():
        vector = not any(key in usual for key in ("EVEN_D", "SPREAD", "FINISH")) and name != "hidden_scatter"
        for dtype in (torch.bfloat16,) if vector or subset else TYPES:
            yield name, dtype, dict(usual)
            for flags in () if subset else rarer:
                yield name, dtype, {**usual, **flags}


def compile_case(name: str, dtype: torch.dtype, flags: dict[str, int | bool], arch: int) -> dict[str, object]:
    function, chosen = KERNELS[name][0], tiles(name, dtype)
    constants: dict[str, int | bool] = {**chosen.constexprs, **flags}
    signature, attributes = {}, {}
    for index, argument in enumerate(function.arg_names):
        if argument in constants:
            signature[argument] = "constexpr"
            continue
        if argument.startswith("p_"):
            kind = "i32" if argument in INT32 else "i64" if argument in INT64 else None
            if argument == "p_out" and name == "hidden_gradient" and not flags["FINISH"]:
                kind = "fp32"
            signature[argument] = "*" + (kind or (TYPES[dtype] if argument in INPUT else "fp32"))
        else:
            signature[argument] = "fp32" if argument in ("softcap", "inv_temperature") else "i32"
        if argument in ("stride_hd", "stride_wd", "stride_od"):  # contiguous rows: the launcher makes a 1 a constant
            signature[argument], constants[argument] = "constexpr", 1
        elif argument not in ("V", "splits", "blocks", "softcap", "inv_temperature", "p_group"):
            attributes[(index,)] = [["tt.divisibility", 16]]
    options = {"num_warps": chosen.warps, "num_stages": chosen.stages}
    compiled = triton.compile(
        ASTSource(function, signature=signature, constexprs=constants, attrs=attributes),
        target=GPUTarget("cuda", arch, 32),
        options=options,
    )
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(compiled.asm["cubin"])
        cubin.flush()
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        usage = subprocess.run([tool, "-res-usage", cubin.name], capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"\b(REG|STACK):(\d+)", usage))
    ir = compiled.asm["ttgir"]
    return {
        "kernel": name,
        "dtype": TYPES[dtype],
        "arch": arch,
        "flags": sorted(key for key, value in flags.items() if value is True),
        "shared": compiled.metadata.shared,
        "registers": int(found["REG"]),
        "stack": int(found["STACK"]),
        "tf32": "inputPrecision = tf32" in ir,
        "wgmma": "warp_group_dot" in ir,
    }


if __name__ == "__main__":
    subset = "--subset" in sys.argv
    for arch in [int(word) for word in sys.argv[1:] if word.isdigit()]:
        for case in cases(subset):
            print(json.dumps(compile_case(*case, arch)), flush=True)
