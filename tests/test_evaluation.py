"""Resumable evaluation on any number of ranks: samples, grades, and the report of them."""

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from support import ROOT, torchrun

from dftcore.errors import UserError
from dftcore.evaluation.summary import is_repetitive, summarise
from dftcore.evaluation.votes import ballots
from dftcore.files import alone_in, read_log
from dftcore.grading import check
from dftcore.questions import NAMED, load_questions

QUICK = {"dtype": "float32", "samples": 2, "max_new_tokens": 12, "sampling_batch_size": 4, "prompt": "problem"}


def evaluate_options(model, problems, output, /, **changes):
    return {"model": model, "benchmarks": problems / "test.jsonl", "output": output, **QUICK, **changes}


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
    assert sorted(p.name for p in unbroken.iterdir()) == sorted(
        ["config.yaml", "results.json", "results.md", "results.png", "samples.jsonl"]
    )
    records = read_log(unbroken / "samples.jsonl")
    assert len(records) == 24
    wanted = {"run", "dataset", "id", "sample", "seed", "completion", "tokens", "finish", "extracted", "correct"}
    wanted |= {"gold", "found_by", "check_status"}
    assert wanted <= records[0].keys()
    assert {record["backend"] for record in records} == {"hf"}
    found = json.loads((unbroken / "results.json").read_text())["benchmarks"]["test"]
    assert (found["questions"], found["samples"]) == (12, 24)
    assert found["truncation_rate"] == sum(record["finish"] == "length" for record in records) / 24
    assert (unbroken / "results.png").read_bytes().startswith(b"\x89PNG")
    assert "| pass@2 | maj@2 |" in (unbroken / "results.md").read_text()
    assert "maj@2 breaks a tie evenly at random" in (unbroken / "results.md").read_text()


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
    monkeypatch.setattr("dftcore.sampling.run.load_sampler", None)
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


def test_grading_again_does_not_ascribe_samples_to_another_model(unbroken, program, tied_model, problems, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    options = evaluate_options(tied_model, problems, tmp_path / "run")
    assert "holds samples drawn with" in program("evaluate.py", "--grade-only", **options).refusal
    assert (tmp_path / "run/results.json").read_bytes() == (unbroken / "results.json").read_bytes()


def test_grading_nothing_leaves_nothing(program, tiny_model, problems, tmp_path):
    options = evaluate_options(tiny_model, problems, tmp_path / "run")
    assert "holds no samples" in program("evaluate.py", "--grade-only", **options).refusal
    assert not (tmp_path / "run").exists()


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


def test_a_benchmark_without_a_sample_is_named(unbroken, program, tiny_model, problems, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    shutil.copy(problems / "test.jsonl", tmp_path / "more.jsonl")
    both = f"{problems / 'test.jsonl'},{tmp_path / 'more.jsonl'}"
    done = program(
        "evaluate.py", "--grade-only", **evaluate_options(tiny_model, problems, tmp_path / "run", benchmarks=both)
    )
    assert done.status == 0, done.err
    assert "No sample yet: more." in done.out


def test_no_verdict_of_an_earlier_grading_is_left(unbroken, program, tiny_model, problems, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    options = evaluate_options(tiny_model, problems, tmp_path / "run", samples=1)
    assert program("evaluate.py", "--grade-only", **options).status == 0
    graded = [record for record in read_log(tmp_path / "run/samples.jsonl") if "correct" in record]
    assert len(graded) == 12
    assert {record["sample"] for record in graded} == {0}


def test_grading_takes_the_policy_and_the_report_tells_it(unbroken, program, tiny_model, problems, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    records = read_log(tmp_path / "run/samples.jsonl")
    answers = {row["id"]: row["answer"] for row in read_log(problems / "test.jsonl")}
    for record in records:  # right within 1e-4, as that grader judges, and no decimal of the answer
        record["completion"] = f"\\boxed{{{answers[record['id']]}.00001}}"
    (tmp_path / "run/samples.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    rates = {}
    for policy in ("strict", "qwen-compatible"):
        options = evaluate_options(tiny_model, problems, tmp_path / "run", grading_policy=policy)
        done = program("evaluate.py", "--grade-only", **options)
        assert ("Graded qwen-compatible" in done.out) == (policy != "strict")
        rates[policy] = json.loads((tmp_path / "run/results.json").read_text())["benchmarks"]["test"]["value"]
    assert rates == {"strict": 0.0, "qwen-compatible": 1.0}


def test_results_tell_where_the_questions_come_from(unbroken, problems):
    found = json.loads((unbroken / "results.json").read_text())["questions"]["test"]
    assert (found["source"], found["questions"]) == (str(problems / "test.jsonl"), 12)
    assert len(found["digest"]) == 16


def test_two_processes_are_never_at_work_in_one_directory(unbroken, program, tiny_model, problems, tmp_path):
    """Else the end of one would remove the log that the other writes."""
    shutil.copytree(unbroken, tmp_path / "run")
    options = evaluate_options(tiny_model, problems, tmp_path / "run")
    with alone_in(tmp_path / "run"):
        for words in ((), ("--grade-only",)):
            assert "--output: another process is at work in" in program("evaluate.py", *words, **options).refusal
    assert program("evaluate.py", "--grade-only", **options).status == 0


HUB_ROWS = {
    "math500": {"problem": "1+1?", "solution": "It is 2.", "answer": "2", "unique_id": "test/algebra/1.json"},
    "minerva_math": {"question": "1+1?", "answer": "2"},
    "olympiadbench": {"id": 7, "question": "1+1?", "final_answer": ["2"], "solution": ["It is", "2."]},
    "aime24": {"id": 60, "problem": "1+1?", "solution": "It is 2.", "answer": "2"},
    "amc23": {"id": 0, "question": "1+1?", "answer": 2.0},
    "gsm8k": {"question": "1+1?", "answer": "It is 2.\n#### 2"},
}


@pytest.mark.parametrize("name", NAMED)
def test_a_benchmark_of_the_hub_is_read_by_its_columns(name, monkeypatch):
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: [HUB_ROWS[name]])
    (question,) = load_questions(name, None, None)
    assert (question.dataset, question.problem) == (name, "1+1?")
    assert check(question.answer, "2")
    assert "####" not in question.answer


def test_a_directory_of_benchmarks_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"--data-dir: .* is not a directory"):
        load_questions("gsm8k", tmp_path / "typo", None)


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
        pytest.param(
            {"backend": "vllm"},
            "--backend: vllm is not installed",
            marks=pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed"),
        ),
        ({"prompt": "quen"}, "--prompt: 'quen' is not one of auto, qwen, llama-base, deepseek, boxed, base, problem"),
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


def graded(*answers, dataset="test", question="q", gold="4"):
    """Records of one question as grading leaves them; None is a sample without an answer."""
    common = {"dataset": dataset, "id": question, "gold": gold, "check_status": "ok", "finish": "stop", "tokens": 3}
    common["found_by"] = "box"
    return [
        {**common, "sample": n, "completion": f"{text}", "extracted": text, "correct": text == gold, "seconds": 0.5}
        for n, text in enumerate(answers)
    ]


def test_answers_are_grouped_by_equality_with_no_call_of_the_checker_too_many():
    calls = []

    def equal(pairs):
        calls.extend(pairs)
        return [type("Verdict", (), {"verdict": float(a) == float(b)}) for a, b in pairs]

    questions = [
        graded("4", "5", "5.0", "6", "5", None),  # 5 against 5.0 and 6
        graded("7", "8", "9"),  # no vote can win it
        graded("4", "4", "4"),
        graded("4", "5", "5"),  # one wrong text
    ]
    found = ballots(questions, equal)
    assert [(b.right, b.wrong, b.silent) for b in found] == [
        (1, (3, 1), 1), (0, (1, 1, 1), 0), (3, (), 0), (1, (2,), 0),
    ]  # fmt: skip
    assert calls == [("5", "5.0"), ("5", "6")]


def test_the_checker_itself_groups_the_votes():
    (found,) = ballots([graded("4", "1/2", "0.5", "\\frac{2}{4}", "3")])
    assert (found.right, found.wrong) == (1, (3, 1))


def test_the_summary_of_two_benchmarks_by_hand():
    records = [
        *graded("4", "4", "5", "6", question="a"),
        *graded("5", None, "5", "5", question="b"),
        *graded("4", "4", "4", "4", dataset="other"),
    ]
    found = summarise(records, {"test": 10, "other": 4}, seed=0)
    one = found["benchmarks"]["test"]
    assert (one["value"], one["questions"], one["samples"], one["missing_samples"]) == (0.25, 2, 8, 2)
    assert one["pass_at_k"] == pytest.approx({"1": 0.25, "2": (1 - 1 / 6) / 2, "4": 0.5})
    assert one["majority_at_k"] == pytest.approx({"1": 0.25, "2": (1 / 6 + 4 / 6 / 2) / 2, "4": 0.5})
    assert (one["extraction_rate"], one["stated_rate"], one["tokens_per_second"]) == (7 / 8, 7 / 8, 6.0)
    assert found["average"]["value"] == (0.25 + 1.0) / 2


def test_repetition_is_going_round_in_circles():
    looped = "So 3 apples and 4 apples make 7 apples. " * 20
    counting = "".join(f"Step {n}: the answer is {n}. " for n in range(60))
    solved = (ROOT / "dftcore/data/problems.py").read_text()[:1500]
    assert [is_repetitive(text) for text in (looped, solved + looped * 2, counting)] == [True, True, True]
    assert [is_repetitive(text) for text in (solved, "no. " * 20, "")] == [False, False, False]
