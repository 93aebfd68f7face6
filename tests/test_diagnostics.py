"""What is observed of tokens: sums equal to their definition, classes by what a token is for, shares over any ranks."""

import numpy as np
import pytest
import torch
from support import make_tokenizer

from dftcore.data import chat, classes
from dftcore.data.documents import IGNORE, encode_conversations
from dftcore.diagnostics import BINS, Observed, observe
from dftcore.losses.api import LossStatistics


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(directory)
    return chat.load_tokenizer(str(directory))


@pytest.mark.parametrize(
    ("solution", "text", "formats", "answer"),
    [
        (r"So 2 + 3 = 5, hence \boxed{\frac{5}{1}}.", "So 2 + 3 = 5, hence .", r"\boxed{}", r"\frac{5}{1}"),
        (r"\boxed{4}? No: \boxed{5}", r"\boxed{4}? No: ", r"\boxed{}", "5"),
        ("2 + 3 = 5\n#### 5", "2 + 3 = 5\n", "####", " 5"),
        ("The answer is 44.\nDone.", "The.\nDone.", " answer is", " 44"),
        (r"Cut off: \boxed{5", "Cut off: ", r"\boxed{", "5"),
        ("2 + 3 = 5", "2 + 3 = 5", "", ""),
    ],
)
def test_tokens_are_classed_by_what_they_are_for(tokenizer, solution, text, formats, answer):
    turns = [{"role": "user", "content": "The answer is 7?"}, {"role": "assistant", "content": solution}]
    documents = encode_conversations(tokenizer, [turns])
    learned = documents.targets != IGNORE
    spelled = {
        name: tokenizer.decode(documents.targets[learned & (documents.classes == index)])
        for index, name in enumerate(classes.CLASSES)
    }
    assert spelled == {"text": text, "format": formats, "answer": answer, "end": "<|im_end|>"}


def test_what_is_observed_is_its_definition():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 9, (3, 50))
    targets[:, ::4] = IGNORE
    kinds = rng.integers(0, 4, targets.shape)
    p = np.clip(rng.random(targets.shape) ** 6, 1e-6, 1.0)
    p[targets < 0] = 1.0  # as the loss leaves it: log-probability 0
    p[0, 1:3] = (1.0, 1e-5)  # 1 belongs to the last bin
    valid = targets >= 0
    logprob = torch.from_numpy(np.log(p)).float()
    p = logprob.exp().double().numpy()
    statistics = LossStatistics(
        logprob, torch.from_numpy(p**2 * valid), -logprob, top1=torch.from_numpy(valid & (p > 0.5))
    )
    vector = observe(statistics, torch.from_numpy(targets), torch.from_numpy(kinds))
    found = Observed((vector + vector).tolist())  # as over two passes
    means = found.means()
    q, w = p[valid], p[valid] ** 2
    assert means["nll"] == pytest.approx(-np.log(q).mean())
    assert means["mean_prob"] == pytest.approx(q.mean())
    assert means["loss"] == pytest.approx((w * -np.log(q)).mean())
    assert means["effective_targets"] == pytest.approx(2 * w.sum() ** 2 / (w**2).sum())
    assert means["top1"] == pytest.approx((q > 0.5).mean())
    assert "entropy" not in means
    by_class = found.probabilities()
    assert list(by_class) == ["all", *classes.CLASSES]
    for name, value in by_class.items():
        chosen = p[valid if name == "all" else valid & (kinds == classes.CLASSES.index(name))]
        edges = np.array(BINS, np.float32).astype(float)
        assert value["histogram"] == (2 * np.histogram(chosen, edges)[0]).tolist(), name
        assert value["mean_prob"] == pytest.approx(chosen.mean())


def test_nothing_observed_is_null_not_nan():
    found = Observed([0.0] * len(observe_nothing()))
    assert found.means()["nll"] is None
    assert found.probabilities() == {"all": {"tokens": 0, "mean_prob": None, "histogram": [0] * (len(BINS) - 1)}}


def observe_nothing() -> list[float]:
    zeros = torch.zeros(1, 1)
    statistics = LossStatistics(zeros, zeros, zeros, top1=zeros)
    return observe(statistics, torch.full((1, 1), IGNORE), torch.zeros(1, 1, dtype=torch.int64)).tolist()
