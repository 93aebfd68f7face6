"""dftcore: Dynamic Fine-Tuning (arXiv 2508.05629) and its family.

    from dftcore import linear_cross_entropy
    loss = linear_cross_entropy(hidden, lm_head.weight, targets, objective="dft")

Names are imported on first use, so `import dftcore.grading` loads no torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "Objective": "dftcore.objectives",
    "linear_cross_entropy": "dftcore.losses",
    "linear_token_logprobs": "dftcore.losses",
}
__all__ = ["Objective", "__version__", "linear_cross_entropy", "linear_token_logprobs"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'dftcore' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
