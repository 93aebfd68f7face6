"""--normalization legacy-verl is the arithmetic of the paper's code: pass means summed, ranks averaged."""

import pytest
import torch
from support import torchrun
from transformers import AutoModelForCausalLM

from dftcore.data import chat, sources
from dftcore.data.batching import examples_of_step
from dftcore.data.documents import tokenise
from dftcore.files import read_log

QUICK = {
    "dtype": "float32",
    "batch_size": 8,
    "max_length": 128,
    "max_steps": 1,
    "micro_batch_size": 2,
    "error_budget": 0,
}


def test_legacy_gradients_are_sums_of_pass_means(program, tiny_model, problems, tmp_path):
    options = {"model": tiny_model, "data": problems / "train.jsonl", **QUICK, "error_budget": 0}
    done = program("train.py", "--no-packing", **options, output=tmp_path / "one", normalization="legacy-verl")
    assert done.status == 0, done.err
    assert "normalized as legacy-verl does" in done.out
    two = torchrun(2, "train.py", "--no-packing", **options, output=tmp_path / "two", normalization="legacy-verl")
    assert two.status == 0, two.err
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    tokenizer = chat.load_tokenizer(str(tiny_model))
    documents = tokenise(sources.find_source(str(problems / "train.jsonl")), tokenizer, {}, 128)
    examples = examples_of_step(len(documents), 8, 1.0, 0, 0)
    for start in range(0, 8, 2):  # passes of two, in the order of the data
        loss, valid = 0.0, 0
        for index in examples[start : start + 2]:
            tokens, targets = (torch.from_numpy(array).long() for array in documents.document(index))
            learned = targets >= 0
            logprob = model(tokens[None]).logits[0].log_softmax(-1)[learned].gather(-1, targets[learned][:, None])
            loss, valid = loss - (logprob.detach().exp() * logprob).sum(), valid + int(learned.sum())
        (loss / valid).backward()
    norm = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).norm().item()
    (one,), (other,) = (read_log(tmp_path / run / "metrics.jsonl") for run in ("one", "two"))
    assert one["grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert other["grad_norm"] == pytest.approx(norm / 2, rel=1e-5), "two ranks share the passes, and average"
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-5), "what is reported stays the mean over tokens"
