"""The pre-flight reads what the model itself says, and its words follow the published bands."""

import json

import pytest
import torch

from dftcore import preflight
from dftcore.data.classes import CLASSES
from dftcore.diagnostics import BINS, SCALARS, SIZE, Observed


def observed(mean: float, end: float | None = None) -> Observed:
    """90 text tokens of probability `mean`, and 10 end tokens of `end`."""
    end = mean if end is None else end
    scalars = {"nll": 100.0, "prob": 90 * mean + 10 * end, "targets": 100.0, "entropy": 1.0, "entropy_targets": 100.0}
    vector = [scalars.get(name, 0.0) for name in SCALARS] + [0.0] * (SIZE - len(SCALARS))
    for kind, tokens, p in ((CLASSES.index("text"), 90, mean), (CLASSES.index("end"), 10, end)):
        vector[len(SCALARS) + kind] = tokens * p
        place = next(index for index, edge in enumerate(BINS[1:]) if p < edge)
        vector[len(SCALARS) + len(CLASSES) + kind * (len(BINS) - 1) + place] = tokens
    return Observed(vector)


@pytest.mark.parametrize(
    ("mean", "verdict", "words"),
    [
        (0.80, "dft", "use DFT"),
        (0.65, "dft", "use DFT"),
        (0.50, "either", "run both"),
        (0.35, "either", "a tie"),
        (0.20, "sft", "start from SFT"),
        (0.09, "sft", "use SFT: below 0.1"),
        (0.001, "sft", "use SFT: below 0.1"),
    ],
)
def test_the_bands_of_the_recommendation(mean, verdict, words):
    result = preflight.assess(observed(mean), 8)
    assert (result["verdict"], result["mean_prob"]) == (verdict, pytest.approx(mean))
    assert words in result["recommendation"]
    assert any("instruction-tuned" in caution for caution in result["cautions"]) == (verdict == "dft")


def test_end_tokens_that_are_never_written_are_a_caution():
    result = preflight.assess(observed(0.9, end=1e-5), 8)
    (caution,) = [caution for caution in result["cautions"] if "clamp or blend" in caution]
    assert caution.startswith("end tokens")
    assert not any("clamp" in caution for caution in preflight.assess(observed(0.9, end=0.05), 8)["cautions"])
    text = preflight.report(result)
    assert "end tokens have a mean probability below 0.01" in text
    assert "| end          | 10     | 0.000  | 100.0%     |" in text
    assert f"p    0.9 to 1       90.0% {'#' * 45}" in text


def test_the_command_reads_what_the_model_says(program, tiny_model, problems, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options = {"model": tiny_model, "data": problems / "test.jsonl", "dtype": "float32"}
    done = program("preflight", **options, output=tmp_path / "out.json")
    assert done.status == 0, done.err
    found = json.loads((tmp_path / "out.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    p = []
    for row in map(json.loads, (problems / "test.jsonl").read_text().splitlines()):
        user = [{"role": "user", "content": row["problem"]}]
        prompt = tokenizer.apply_chat_template(user, tokenize=False, add_generation_prompt=True)
        ids = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in (prompt, row["solution"] + "<|im_end|>")]
        probability = model(torch.tensor([ids[0] + ids[1]])).logits[0].softmax(-1)[len(ids[0]) - 1 : -1]
        p += probability.gather(-1, torch.tensor(ids[1])[:, None]).flatten().tolist()
    assert found["examples"] == 12
    assert found["mean_prob"] == pytest.approx(sum(p) / len(p), rel=1e-5)
    assert found["probabilities"]["all"]["tokens"] == len(p)
    assert found["probabilities"]["end"]["tokens"] == 12
    assert found["recommendation"] in done.out
    assert done.out.count("\np ") == len(BINS) - 1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"data": "absent.jsonl"}, "--data: no file or directory absent.jsonl"),
        ({"model": "absent/model/x"}, "--model: no directory absent/model/x"),
        ({"examples": 0}, "--examples: 0 is out of range"),
        ({"output": "."}, "--output: . is a directory; give the name of a JSON file"),
        ({"exmples": 3}, "did you mean --examples?"),
    ],
    ids=str,
)
def test_refusals(program, tiny_model, problems, change, line):
    options = {"model": tiny_model, "data": problems / "test.jsonl", **change}
    assert line in program("preflight", **options).refusal
