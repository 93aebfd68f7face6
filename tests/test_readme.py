"""What the README shows runs as it stands."""

import re

import torch
from support import ROOT

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_loss_example(tiny_model):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    input_ids = torch.randint(3, 500, (2, 9))
    names = {"model": model, "input_ids": input_ids, "targets": torch.roll(input_ids, -1, 1)}
    exec(next(block for block in BLOCKS if "linear_cross_entropy" in block), names)
    assert names["loss"].isfinite()
    assert model.lm_head.weight.grad.abs().sum() > 0


def test_the_trainer_example(tiny_model, tmp_path):
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments, default_data_collator

    tokens = torch.randint(3, 500, (4, 9))
    names = {
        "AutoModelForCausalLM": AutoModelForCausalLM,
        "Trainer": Trainer,
        "directory": tiny_model,
        "arguments": TrainingArguments(output_dir=str(tmp_path), max_steps=1, report_to=[], use_cpu=True),
        "dataset": [{"input_ids": row, "labels": row} for row in tokens],
        "collator": default_data_collator,
    }
    exec(next(block for block in BLOCKS if "fuse_loss" in block), names)
    assert names["model"](input_ids=tokens, labels=tokens).logits is None


def test_the_checker_example():
    line = next(block for block in BLOCKS if "dftcore.grading" in block)
    names: dict[str, object] = {}
    exec(line.replace("check(r", "verdict = check(r"), names)
    assert names["verdict"] is True


def test_the_example_of_an_objective_of_ones_own():
    from dftcore.objectives import OBJECTIVES, Objective, TokenStatistics

    try:
        exec(next(block for block in BLOCKS if "def mine" in block), {})
        logprob = torch.tensor([-1.0, 0.0])
        assert torch.allclose(
            Objective("mine", beta=3.0).weight(logprob, TokenStatistics(logprob, 9)), (3 * logprob).exp()
        )
    finally:
        OBJECTIVES.pop("mine", None)


def test_every_objective_is_in_the_table():
    from dftcore.objectives import OBJECTIVES, UNAVAILABLE

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in OBJECTIVES)
    assert all(name in text for name in UNAVAILABLE)


def test_the_commands_name_options_that_exist():
    """Every --option of the README's commands is one of the program's."""
    from dftcore.evaluation import CompareOptions, EvaluateOptions, WatchOptions
    from dftcore.options import parse_options
    from dftcore.training import TrainOptions

    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if re.match(r"(torchrun|python) .*(train|evaluate)\.py", line)]
    assert len(lines) >= 3
    for line in lines:
        words = line.partition("#")[0].split()
        script = next(index for index, word in enumerate(words) if word.endswith(".py"))
        modes = {"--compare": CompareOptions, "--watch": WatchOptions}
        mode = next((modes[word] for word in words if word in modes), EvaluateOptions)
        options = TrainOptions if words[script] == "train.py" else mode
        parse_options(options, words[script + 1 :], words[script], "")
