"""The peers in the loss benchmark are called as they mean to be called: run where they run on CPU, else bound."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
loss_rows = importlib.import_module("loss_rows")


def problem() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(40, 24, generator=generator), torch.randn(300, 24, generator=generator) * 0.5
    return hidden.requires_grad_(), weight.requires_grad_(), torch.randint(0, 300, (40,), generator=generator)


@pytest.mark.parametrize("objective", ["sft", "dft"])
@pytest.mark.parametrize("row", ["ours, default budget", "ours, exact", "F.linear_cross_entropy, chunked", "TRL"])
def test_rows_that_run_on_cpu_compute_the_same_loss_and_gradients(row, objective):
    if row == "TRL":
        pytest.importorskip("trl", reason="TRL is not installed")
    if row.startswith("F.") and not hasattr(torch.nn.functional, "linear_cross_entropy"):
        pytest.skip("this PyTorch has no F.linear_cross_entropy")
    hidden, weight, targets = problem()
    results = []
    for loss in (loss_rows.ROWS[row], loss_rows.eager):
        value = loss(hidden, weight, targets, objective)
        results.append((value, *torch.autograd.grad(value, (hidden, weight))))
    for ours, reference in zip(*results, strict=True):
        assert (ours - reference).norm() <= 0.02 * reference.norm()


def signature(module: str, name: str) -> inspect.Signature:
    """Read from the source, since a peer may need a device, or packages of its own, to be imported."""
    package, _, rest = module.partition(".")
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    source = Path(next(iter(found.submodule_search_locations)), *rest.split("."))
    text = (source.with_suffix(".py") if source.with_suffix(".py").is_file() else source / "__init__.py").read_text()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef) and node.name == name]
    assert functions, f"{module} has no {name}"
    arguments = functions[-1].args
    required = len(arguments.args) - len(arguments.defaults)
    return inspect.Signature(
        [
            inspect.Parameter(
                argument.arg,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=inspect.Parameter.empty if index < required else None,
            )
            for index, argument in enumerate(arguments.args)
        ]
    )


def bound(expected: inspect.Signature, name: str, called: list[str]) -> object:
    """A stand-in of the same signature, which refuses what the original would refuse."""

    def call(*arguments: object, **options: object) -> object:
        expected.bind(*arguments, **options)
        called.append(name)
        if name == "scaled_exp_lce_supported":
            return True
        return arguments[0].sum(-1) if options.get("reduction") == "none" else arguments[0].sum()

    return call


@pytest.mark.parametrize(
    ("row", "module", "defined", "names"),
    [
        ("Liger, chunk constant 16", "liger_kernel.transformers.functional", "", ["liger_fused_linear_cross_entropy"]),
        ("cut-cross-entropy", "cut_cross_entropy", ".linear_cross_entropy", ["linear_cross_entropy"]),
        ("QuACK", "quack.linear_cross_entropy", "", ["chunked_linear_cross_entropy", "scaled_exp_lce_supported"]),
        (
            "QuACK, scaled_exp",
            "quack.linear_cross_entropy",
            "",
            ["chunked_linear_cross_entropy", "scaled_exp_lce_supported"],
        ),
    ],
)
def test_peers_kernels_are_called_by_their_own_signatures(row, module, defined, names, monkeypatch):
    called: list[str] = []
    stand_in = {name: bound(signature(module + defined, name), name, called) for name in names}
    for parent in (module.rpartition(".")[0], module):
        if parent:
            monkeypatch.setitem(sys.modules, parent, SimpleNamespace(**stand_in, __path__=[]))
    hidden, weight, targets = problem()
    loss_rows.ROWS[row](hidden, weight, targets, "sft")
    assert names[0] in called


def test_rows_a_peer_does_not_offer_say_so():
    hidden, weight, targets = problem()
    with pytest.raises(loss_rows.Absent, match="no per-token weight"):
        loss_rows.ROWS["QuACK"](hidden, weight, targets, "dft")
