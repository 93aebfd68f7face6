"""Without a CUDA device the kernels run under Triton's interpreter, which must be chosen before they are imported."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


def _let_old_interpreters_count() -> None:
    """Triton 3.6 makes loop bounds from arrays of one element by int(), which NumPy refuses since 2.4."""
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patched(tensor: Any, *scope: Any) -> None:
        patch(tensor, *scope)
        tensor.__index__ = lambda self: self.handle.data.item()

    interpreter._patch_lang_tensor = patched


if find_spec("triton") is not None:
    _let_old_interpreters_count()


@pytest.fixture(scope="session")
def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def require_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device and `make gpu`: bf16 arithmetic and concurrency cannot be interpreted")


@pytest.fixture(autouse=True)
def _as_if_large(like_large_problems: None) -> None:
    """All of them are small here."""
