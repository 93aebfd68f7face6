"""Tensors in safetensors files: one that cannot be written or read is named, with the system's reason."""

from __future__ import annotations

import os
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from dftcore.files import sync


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write contiguous CPU tensors and return when they are on disk; holds no second copy. Raises OSError."""
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:  # carries the system's error as text, without the file
        number = re.search(r"\(os error (\d+)\)", str(error))
        raise (OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else error) from None
    sync(path)
