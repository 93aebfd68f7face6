"""Sampling with noise of its own, resumable evaluation, and the statistics it reports."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from support import ROOT, torchrun

from dftcore.data import chat
from dftcore.files import read_log
from dftcore.sampling import HuggingFaceSampler, Request, _Draw, sample_seed
from dftcore.statistics import average_accuracy, wilson

QUICK = {"dtype": "float32", "samples": 2, "max_new_tokens": 12, "sampling_batch_size": 4, "prompt": "problem"}


def evaluate_options(model, problems, output, /, **changes):
    return {"model": model, "benchmarks": problems / "test.jsonl", "output": output, **QUICK, **changes}


def sampler(directory, **changes):
    tokenizer = chat.load_tokenizer(str(directory))
    options = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 12, **changes}
    stop = [tokenizer.eos_token_id]
    return HuggingFaceSampler(directory, tokenizer, stop, device=torch.device("cpu"), dtype=torch.float32, **options)


REQUESTS = [
    Request(f"<|im_start|>user\n{text}<|im_end|>\n", seed) for seed, text in enumerate(["Ada", "Ben has 3", "?"])
]


def test_a_sample_does_not_depend_on_its_batch(tiny_model):
    model = sampler(tiny_model)
    together = model.sample(REQUESTS)
    alone = [model.sample([request])[0] for request in REQUESTS]
    assert together == alone
    assert len({generation.completion for generation in together}) == 3


def test_another_seed_another_sample_and_temperature_zero_ignores_it(tiny_model):
    one, other = (Request(REQUESTS[0].prompt, seed) for seed in (1, 2))
    warm, cold = sampler(tiny_model), sampler(tiny_model, temperature=0.0)
    assert warm.sample([one]) != warm.sample([other])
    assert cold.sample([one]) == cold.sample([other])


def test_tokens_are_drawn_from_the_softmax():
    """200,000 draws against the distribution at temperature 0.7, by the chi-square statistic of 5 classes."""
    scores = torch.tensor([[0.0, 1.0, -1.0, 2.0, 0.5]])
    count = 200_000
    uniforms = torch.from_numpy(np.random.default_rng(0).random((1, count)))
    picked = _Draw(uniforms, 0, 0.7, 1.0)(torch.zeros(count, 0), scores.expand(count, -1)).argmax(-1)
    expected = torch.softmax(scores[0] / 0.7, -1) * count
    chi_square = ((torch.bincount(picked, minlength=5) - expected) ** 2 / expected).sum()
    assert chi_square < 18.5  # 99.9 % of chi-square with 4 degrees of freedom


def test_a_token_of_probability_zero_is_never_drawn():
    scores = torch.tensor([[0.0, 0.0, -torch.inf, -torch.inf]])
    almost_one = torch.tensor([[1.0 - 2**-53]], dtype=torch.float64)
    assert _Draw(almost_one, 0, 1.0, 1.0)(torch.zeros(1, 0), scores).argmax(-1).item() == 1


def test_the_models_own_penalties_do_not_change_the_distribution(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "model")
    settings = {"eos_token_id": 2, "repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "min_new_tokens": 9}
    (tmp_path / "model/generation_config.json").write_text(json.dumps(settings))
    assert sampler(tmp_path / "model").sample(REQUESTS) == sampler(tiny_model).sample(REQUESTS)


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    scores = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    uniforms = torch.linspace(0, 0.999, 400, dtype=torch.float64)[None]
    picked = _Draw(uniforms, 0, 1.0, 0.7)(torch.zeros(400, 0), scores.expand(400, -1)).argmax(-1)
    assert set(picked.tolist()) == {0, 1}


def test_seeds_are_stable_digests():
    assert sample_seed(0, "gsm8k", "7", 3) == sample_seed(0, "gsm8k", "7", 3) == 9955804223533797803
    assert len({sample_seed(0, "gsm8k", str(q), s) for q in range(50) for s in range(20)}) == 1000


def test_average_accuracy_by_hand():
    found = average_accuracy([[True, False], [True, True], [False, False]])
    assert found.value == pytest.approx(0.5)
    assert (found.questions, found.samples) == (3, 6)
    assert found.sampling_error == pytest.approx((0.25 / 1) ** 0.5 / 3)
    effective = 0.25 / (0.25 / 3)
    assert (found.low, found.high) == pytest.approx(wilson(0.5, effective))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """1,000 simulated evaluations, 60 questions of differing difficulty x 4 samples: about 95 % coverage."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        difficulty = rng.beta(0.6, 1.4, 60)
        found = average_accuracy((rng.random((60, 4)) < difficulty[:, None]).tolist())
        covered += found.low <= 0.6 / 2.0 <= found.high
    assert 0.925 <= covered / 1000 <= 0.975


def test_wilson_against_published_values():
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert average_accuracy([[True]] * 5).high == 1.0


@pytest.fixture(scope="module")
def unbroken(tiny_model, problems, tmp_path_factory):
    output = tmp_path_factory.mktemp("evaluations") / "unbroken"
    done = torchrun(1, "evaluate.py", "--label-statistics", **evaluate_options(tiny_model, problems, output))
    assert done.status == 0, done.err
    return output


def drawn(output):
    """What was sampled and how it was graded, without timing and the path of the model."""
    return [{k: v for k, v in r.items() if k not in ("seconds", "run")} for r in read_log(output / "samples.jsonl")]


def test_an_evaluation_leaves_samples_and_results(unbroken):
    assert sorted(p.name for p in unbroken.iterdir()) == ["config.yaml", "results.json", "results.md", "samples.jsonl"]
    records = read_log(unbroken / "samples.jsonl")
    assert len(records) == 24
    wanted = {"run", "dataset", "id", "sample", "seed", "completion", "tokens", "finish", "extracted", "correct"}
    assert wanted <= records[0].keys()
    found = json.loads((unbroken / "results.json").read_text())["benchmarks"]["test"]
    assert (found["questions"], found["samples"]) == (12, 24)
    assert found["truncation_rate"] == sum(record["finish"] == "length" for record in records) / 24


def test_label_statistics_are_the_models_own_probabilities(unbroken, tiny_model, problems):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    nll, count = 0.0, 0
    for row in map(json.loads, (problems / "test.jsonl").read_text().splitlines()):
        user = [{"role": "user", "content": row["problem"]}]
        prompt = tokenizer.apply_chat_template(user, tokenize=False, add_generation_prompt=True)
        ids = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in (prompt, row["solution"] + "<|im_end|>")]
        logprob = model(torch.tensor([ids[0] + ids[1]])).logits[0].log_softmax(-1)
        own = logprob[len(ids[0]) - 1 : -1].gather(-1, torch.tensor(ids[1])[:, None])
        nll, count = nll - own.sum().item(), count + len(ids[1])
    found = json.loads((unbroken / "results.json").read_text())["label_statistics"]
    assert found["tokens"] == count == sum(found["histogram"])
    assert found["nll"] == pytest.approx(nll / count, rel=1e-5)


def test_two_ranks_draw_the_same_samples(unbroken, tiny_model, problems, tmp_path):
    done = torchrun(2, "evaluate.py", **evaluate_options(tiny_model, problems, tmp_path / "run"))
    assert done.status == 0, done.err
    assert drawn(tmp_path / "run") == drawn(unbroken)
    assert "benchmark" in done.out


def test_a_killed_evaluation_resumes_to_the_same_result(unbroken, program, tiny_model, problems, tmp_path):
    output = tmp_path / "run"
    options = evaluate_options(tiny_model, problems, output)
    words = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    process = subprocess.Popen([sys.executable, str(ROOT / "evaluate.py"), *words], stderr=subprocess.DEVNULL)
    part = output / "samples.rank-0.jsonl"
    deadline = time.monotonic() + 120
    while not part.exists() or not part.read_bytes():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with part.open("a") as log:
        log.write('{"dataset": "test", "id": "te')  # as a kill in the middle of a line leaves it
    before = len(read_log(part))
    assert 0 < before < 24
    done = program("evaluate.py", **options)
    assert done.status == 0, done.err
    assert drawn(output) == drawn(unbroken)


def test_grading_again_needs_no_model(unbroken, program, problems, tmp_path, monkeypatch):
    monkeypatch.setattr("dftcore.evaluation.HuggingFaceSampler", None)
    shutil.copytree(unbroken, tmp_path / "run")
    records = read_log(tmp_path / "run/samples.jsonl")
    stripped = [{k: v for k, v in r.items() if k not in ("extracted", "correct", "check_status")} for r in records]
    stripped[0]["completion"] = "The answer is " + json.loads((problems / "test.jsonl").open().readline())["answer"]
    stripped[0]["id"] = json.loads((problems / "test.jsonl").open().readline())["id"]
    (tmp_path / "run/samples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in stripped))
    config = json.loads((unbroken / "results.json").read_text())["options"]
    options = evaluate_options(config["model"], problems, tmp_path / "run")
    done = program("evaluate.py", "--grade-only", **options)
    assert done.status == 0, done.err
    assert sum(r["correct"] for r in read_log(tmp_path / "run/samples.jsonl")) >= 1


def test_new_weights_in_the_same_place_do_not_reuse_old_samples(unbroken, program, tiny_model, problems, tmp_path):
    from safetensors.torch import load_file, save_file

    model, output = tmp_path / "model", tmp_path / "run"
    shutil.copytree(tiny_model, model)
    options = evaluate_options(model, problems, output)
    assert program("evaluate.py", **options).status == 0
    state = {name: tensor + 0.01 for name, tensor in load_file(model / "model.safetensors").items()}
    save_file(state, model / "model.safetensors", metadata={"format": "pt"})
    assert "drawn before the model's weights changed" in program("evaluate.py", **options).refusal
    done = program("evaluate.py", "--no-resume", **options)
    assert done.status == 0, done.err
    assert drawn(output) != drawn(unbroken)
    assert (output / "samples.jsonl.1").is_file(), "the old samples are set aside"


def test_other_questions_of_the_same_name_do_not_reuse_old_samples(unbroken, program, tiny_model, tmp_path):
    from dftcore.data.problems import write_problems

    shutil.copytree(unbroken, tmp_path / "run")
    write_problems(tmp_path / "test.jsonl", "test", 12, (1, 2), seed=4)
    rows = [json.loads(line) for line in (tmp_path / "test.jsonl").read_text().splitlines()]
    rows = [{**row, "id": row["id"].replace("test-4", "test-3")} for row in rows]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = evaluate_options(tiny_model, tmp_path, tmp_path / "run")
    assert "changed; choose another --output" in program("evaluate.py", **options).refusal


def test_an_unfinished_evaluation_says_how_much_is_missing(unbroken, program, tiny_model, problems, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    lines = (tmp_path / "run/samples.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "run/samples.jsonl").write_text("".join(lines[:7]))
    done = program("evaluate.py", "--grade-only", **evaluate_options(tiny_model, problems, tmp_path / "run"))
    assert done.status == 0, done.err
    assert "7 of 24" in done.out
    found = json.loads((tmp_path / "run/results.json").read_text())
    assert found["benchmarks"]["test"]["missing_samples"] == 17
    assert found["label_statistics"]["tokens"] > 0, "measured before, not lost"


def test_samples_of_other_settings_are_never_mixed(unbroken, program, tiny_model, problems):
    options = evaluate_options(tiny_model, problems, unbroken, temperature=0.5)
    assert "holds samples drawn with 1.0, now 0.5" in program("evaluate.py", **options).refusal


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"benchmarks": "maths500"}, "unknown benchmark 'maths500'; did you mean math500?"),
        ({"benchmarks": "no/such.jsonl"}, "--benchmarks: no file or directory no/such.jsonl"),
        ({"benchmarks": "gsm8k"}, "cannot load gsm8k"),
        ({"model": "no/such/model"}, "--model: no directory"),
        ({"backend": "vlm"}, "--backend: 'vlm' is not one of"),
        ({"temperature": -1}, "--temperature: -1 is out of range"),
        ({"temprature": 1}, "unknown option --temprature; did you mean --temperature?"),
        ({"grade_onli": ""}, "did you mean --grade-only?"),
    ],
    ids=str,
)
def test_bad_input_is_one_line(program, tiny_model, problems, tmp_path, change, line):
    assert line in program("evaluate.py", **evaluate_options(tiny_model, problems, tmp_path / "run", **change)).refusal


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"problem": "1+1?", "gold": "2"}, "no column 'answer' among 'problem', 'gold'"),
        ({"question": "1+1?", "answer": "2"}, "no column 'problem'"),
    ],
)
def test_a_benchmark_with_wrong_columns(program, tiny_model, tmp_path, row, line):
    path = tmp_path / "bench.jsonl"
    path.write_text(json.dumps(row) + "\n")
    refusal = program("evaluate.py", model=tiny_model, benchmarks=path, output=tmp_path / "run").refusal
    assert line in refusal
    assert not (tmp_path / "run").exists()
