"""Every kernel against fp64, with the error of the unfused computation in the same type as the measure.

Without a CUDA device this runs the interpreter, in fp32 and fp16.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from dftcore.kernels.budget import DEFAULT_ERROR_BUDGET
from dftcore.losses import reference

fused = pytest.importorskip("dftcore.kernels.token_logprobs").token_logprobs
from dftcore.kernels import launch  # noqa: E402
from dftcore.kernels.config import Tiles, trying  # noqa: E402
from dftcore.kernels.launch import fits_boxes  # noqa: E402


@dataclass
class Case:
    """Random inputs of one type; the upstream gradient has both signs and is 0 nowhere."""

    rows: int = 37
    dim: int = 72
    vocab: int = 515
    dtype: torch.dtype = torch.float32
    scale: float = 0.5
    ignored: tuple[int, ...] = ()
    with_bias: bool = False
    options: dict[str, float] = field(default_factory=dict)
    device: str = "cpu"

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.rows + self.dim)

        def draw(*shape: int) -> Tensor:
            return (torch.randn(*shape, generator=generator) * self.scale).to(self.device, self.dtype).requires_grad_()

        self.hidden, self.weight = draw(self.rows, self.dim), draw(self.vocab, self.dim)
        self.bias = draw(self.vocab) if self.with_bias else None
        self.targets = torch.randint(0, self.vocab, (self.rows,), generator=generator).to(self.device)
        self.targets[list(self.ignored)] = -100
        self.upstream = torch.linspace(-1.0, 1.3, self.rows, device=self.device)

    @property
    def inputs(self) -> list[Tensor]:
        return [self.hidden, self.weight, *([] if self.bias is None else [self.bias])]

    def ours(self, error_budget: float = 0.0) -> list[Tensor]:
        """logprob, entropy, sum_p2, top1, then the gradients."""
        logprob, entropy, top1, sum_p2 = fused(
            self.hidden, self.weight, self.targets, bias=self.bias, error_budget=error_budget, moments=True, top1=True,
            **self.options,
        )  # fmt: skip
        gradients = torch.autograd.grad((logprob * self.upstream).sum(), self.inputs)
        return [logprob, entropy, sum_p2, top1, *gradients]

    def unfused(self, dtype: torch.dtype) -> list[Tensor]:
        """The same in `dtype`: logits and their gradient rounded to it, softmax in fp32 (fp64 for fp64)."""
        hidden, weight, *bias = (t.detach().to(dtype).requires_grad_() for t in self.inputs)
        valid = (self.targets != -100).nonzero().squeeze(-1)
        targets = self.targets[valid]
        logits = hidden[valid] @ weight.T + (bias[0] if bias else 0)
        wide = reference.transform_logits(
            logits if dtype == torch.float64 else logits.float(),
            self.options.get("softcap"),
            self.options.get("temperature", 1.0),
        )
        lse = wide.logsumexp(-1)
        logprob = wide.gather(-1, targets[:, None]).squeeze(-1) - lse
        found = reference.statistics_of(wide.detach(), lse.detach(), targets, ("entropy", "sum_p2", "top1"))
        upstream = self.upstream[valid].to(logprob.dtype)
        gradients = torch.autograd.grad((logprob * upstream).sum(), [hidden, weight, *bias])
        values = (logprob, found["entropy"], found["sum_p2"], found["top1"])
        return [
            *(torch.zeros(self.rows, dtype=v.dtype, device=v.device).index_put((valid,), v) for v in values),
            *gradients,
        ]


def errors(values: list[Tensor], exact: list[Tensor]) -> Iterator[float]:
    for value, true in zip(values, exact, strict=True):
        assert value.isfinite().all()
        yield float((value.double() - true).norm() / true.norm().clamp_min(1e-30))


# dtype, and what we may err: a factor of the unfused path's own error, over a floor for where that happens to be 0
TOLERANCES = [(torch.float32, 4.0, 1e-6), (torch.float16, 1.0, 5e-4)]


@pytest.mark.parametrize(("dtype", "factor", "floor"), TOLERANCES)
@pytest.mark.parametrize(
    "case",
    [
        {},
        {"rows": 1},
        {"ignored": (0, 5, 36), "with_bias": True},
        {"rows": 9, "options": {"softcap": 5.0, "temperature": 0.7}, "with_bias": True},
        {"rows": 130, "dim": 16, "vocab": 257},  # two row tiles, a last block of one column
        {"rows": 3, "dim": 3, "vocab": 5},
    ],
    ids=["plain", "one row", "ignored+bias", "softcap+temperature+bias", "two tiles", "tiny"],
)
def test_exact_mode_is_as_accurate_as_the_unfused_path(device, case, dtype, factor, floor):
    case = Case(dtype=dtype, device=device, **case)
    exact = case.unfused(torch.float64)
    for ours, unfused in zip(errors(case.ours(), exact), errors(case.unfused(dtype), exact), strict=True):
        assert ours <= factor * unfused + floor


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("scale", [2.0, 4.0], ids=["logits of 30", "logits of 500"])
def test_probabilities_near_0_and_1_and_large_logits(device, dtype, scale):
    """The largest softmax is 1 and the smallest 0 in fp32; half the targets are the mode."""
    case = Case(rows=20, dtype=dtype, scale=scale, device=device)
    with torch.no_grad():
        case.targets[::2] = (case.hidden @ case.weight.T).argmax(-1)[::2]
    exact = case.unfused(torch.float64)
    ours = case.ours()
    tolerance = 2e-6 if dtype == torch.float32 else 1e-3
    assert exact[0].max() > -1e-6
    assert exact[0].min() < -100
    torch.testing.assert_close(ours[0].double(), exact[0], rtol=1e-5, atol=1e-4)
    assert torch.equal(ours[3].double(), exact[3])
    for gradient, true in zip(ours[4:], exact[4:], strict=True):
        assert (gradient.double() - true).norm() <= tolerance * scale**2 * true.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("vocab", [515, 512, 129])
def test_large_tiles_and_the_copy_engine_give_what_small_ones_do(device, dtype, vocab, monkeypatch):
    """Two blocks to a tile, in one loop or two; the last tile reaches past V, the last box past D and past N.

    The copy engine takes the vocabulary as it lies, so the others do so too.
    """
    if device == "cuda" and torch.cuda.get_device_capability() < (9, 0):
        pytest.skip("needs compute capability 9")
    case = Case(vocab=vocab, dtype=dtype, ignored=(0, 5, 36), device=device)
    monkeypatch.setattr(launch, "vocabulary_order", lambda *_: torch.arange(vocab, device=device))
    usual = case.ours(DEFAULT_ERROR_BUDGET)
    for tma, flatten in ((0, 0), (1, 0), (1, 1)):
        tiles = Tiles({"BM": 64, "BV": 256, "BK": 64, "GROUP": 2, "RUN": 2, "TMA": tma, "FLATTEN": flatten}, 4, 2)
        with trying(forward=tiles):
            for ours, theirs in zip(case.ours(DEFAULT_ERROR_BUDGET), usual, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.detach().abs().max()))


def test_only_aligned_contiguous_rows_are_left_to_the_copy_engine(device):
    capable = device == "cpu" or torch.cuda.get_device_capability() >= (9, 0)
    whole = torch.zeros(9, 72, dtype=torch.float16, device=device)
    assert fits_boxes(whole) == capable
    assert fits_boxes(whole[:, :40]) == capable
    assert not fits_boxes(whole[:, 1:41])  # starts on 2 bytes
    assert not fits_boxes(whole.T)
    assert not fits_boxes(whole[:1].expand(9, 72))
    assert not fits_boxes(torch.zeros(9, 73, dtype=torch.float16, device=device))


def test_one_minus_p_keeps_its_relative_precision(device):
    """1 - p = 2e-7 is below the resolution of fp32 at the logits' own size."""
    weight = torch.tensor([[1.0], [0.0], [0.0]], device=device)
    hidden = torch.tensor([[16.0]], device=device)
    logprob, *_ = fused(hidden, weight, torch.tensor([0], device=device), error_budget=0.0)
    expected = -torch.log1p(2 * torch.exp(torch.tensor(-16.0, dtype=torch.float64)))
    torch.testing.assert_close(logprob.double().cpu(), expected[None], rtol=1e-5, atol=0)


def test_padding_columns_do_not_enter_the_maximum(device):
    """V = 129 leaves 127 padded columns, whose logit of 0 would win over logits that are all near -50."""
    hidden = torch.full((2, 16), 1.0, device=device)
    weight = torch.full((129, 16), -50.0 / 16, device=device)
    logprob, entropy, _, _ = fused(
        hidden, weight, torch.tensor([3, 128], device=device), error_budget=0.0, moments=True
    )
    expected = torch.log(torch.tensor(129.0)).expand(2)
    torch.testing.assert_close(-logprob.cpu(), expected)
    torch.testing.assert_close(entropy.cpu(), expected)


@pytest.mark.gpu
@pytest.mark.usefixtures("require_gpu")
@pytest.mark.parametrize("objective_power", [0.0, 1.0], ids=["sft", "dft"])
def test_bf16_error_is_at_most_a_quarter_of_the_unfused_path(device, objective_power):
    """On peaked inputs with the logits of a pretrained model, which lie near 25."""
    case = Case(rows=2048, dim=512, vocab=32768, dtype=torch.bfloat16, device=device)
    with torch.no_grad():
        likely = torch.randint(0, case.vocab, (case.rows,), device=device)
        case.hidden.copy_(case.weight[likely] * 0.12 * torch.rand(case.rows, 1, device=device))
        case.hidden[:, 0], case.weight[:, 0] = 25.0, 1.0
        logits = case.hidden.float() @ case.weight.float().T
        case.targets = torch.multinomial(logits.softmax(-1), 1).squeeze(-1)
        case.upstream = (objective_power * logits.log_softmax(-1).gather(-1, case.targets[:, None])).exp().squeeze(-1)
    exact = case.unfused(torch.float64)
    ours, theirs = (
        list(errors(case.ours(DEFAULT_ERROR_BUDGET), exact)),
        list(errors(case.unfused(torch.bfloat16), exact)),
    )
    for mine, unfused in zip(ours[4:], theirs[4:], strict=True):
        assert mine <= 0.25 * unfused
