"""The policy of some steps ago, which proximal objectives compare the present one with.

Every `every` steps the policy's own log-probabilities of all the examples of the next `every` steps are taken, before
any of these steps: no second model is held. They are written beside the checkpoints, so that a run that resumes
between two such points goes on with the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from dftcore import checkpoint
from dftcore.data.batching import members
from dftcore.data.documents import Documents
from dftcore.distributed import World, barrier
from dftcore.errors import UserError
from dftcore.files import replacing
from dftcore.models import LanguageModelLoss
from dftcore.scoring import token_logprobs


@dataclass
class OldPolicy:
    """Keeps `documents.reference` filled for the examples of the present group of steps."""

    every: int
    documents: Documents
    directory: Path  # of the checkpoints
    pad_token_id: int
    world: World
    start: int | None = None  # the step from which the present group began

    def before_step(self, step: int, module: LanguageModelLoss, examples: Callable[[int], Sequence[int]]) -> None:
        """Call before every step, on all ranks; `examples` are those of a step, [] past the last."""
        start = step - step % self.every
        if self.start == start:
            return
        chosen = sorted({index for later in range(start, start + self.every) for index in examples(later)})
        indices = members(self.documents, chosen)
        path = self.directory / f"old-policy-{start:08d}.safetensors"
        if step == start:
            found = token_logprobs(module, self.documents, indices, self.pad_token_id, self.world)
            if self.world.is_first:
                with replacing(path) as temporary:
                    save_file({"logprob": found}, temporary)
                self._prune()
            barrier()
        else:
            found = self._read(path)
        self._fill(indices, found, path)
        self.start = start

    def _fill(self, indices: Sequence[int], found: np.ndarray, path: Path) -> None:
        reference = self.documents.reference
        assert reference is not None  # `supply` made it
        lengths = self.documents.lengths[indices]
        if len(found) != lengths.sum():
            raise UserError(f"{path} does not belong to these examples; remove the run's newest checkpoint")
        for index, piece in zip(indices, np.split(found, np.cumsum(lengths)[:-1]), strict=True):
            reference[self.documents.span(index)] = piece

    def _read(self, path: Path) -> np.ndarray:
        try:
            return load_file(path)["logprob"]
        except (OSError, SafetensorError, KeyError):
            raise UserError(
                f"{path} is missing or damaged; remove the run's newest checkpoints down to step"
                f" {path.stem.removeprefix('old-policy-').lstrip('0') or 0}, from which it is computed again"
            ) from None

    def _prune(self) -> None:
        """Remove what no checkpoint that is left would need."""
        saved = checkpoint.complete(self.directory)
        oldest = checkpoint.step_of(saved[0]) if saved else 0
        for path in self.directory.glob("old-policy-*.safetensors"):
            if int(path.stem.removeprefix("old-policy-")) + self.every <= oldest:
                path.unlink(missing_ok=True)
