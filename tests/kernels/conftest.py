"""Without a CUDA device the kernels run under Triton's interpreter, which must be chosen before they are imported."""

from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="session")
def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def require_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device: bf16 arithmetic and real concurrency cannot be interpreted")
