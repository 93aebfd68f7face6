"""What torch.compile should ask once, while it traces, and take for a constant."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])


def constant(function: Function) -> Function:
    """torch.compiler.assume_constant_result, without importing the compiler, which takes two seconds."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
