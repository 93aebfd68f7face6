"""Responses sampled, verified and trained on: what becomes data, what does not, what is refused."""

import json

import pytest
import yaml

from dftcore.files import read_log, write_json_lines

QUESTIONS = [
    {"id": "a", "answer": "4", "level": "1", "messages": [{"role": "user", "content": "2+2?"}]},
    {"id": "b", "answer": "9", "level": "2", "messages": [{"role": "user", "content": "3*3?"}]},
    {"id": "c", "answer": "5", "level": "2", "messages": [{"role": "user", "content": "2+3?"}]},
]


def response(question, sample, completion, finish="stop"):
    return {"dataset": "train", "id": question, "sample": sample, "completion": completion, "finish": finish}


@pytest.fixture
def sampled(tmp_path):
    """A directory as `sample` leaves it: a is solved twice alike and once cut off, b sometimes, c never."""
    samples = [
        response("a", 0, "So it is \\boxed{4}."),
        response("a", 1, "So it  is\n\\boxed{4}."),
        response("a", 2, "Thus \\boxed{4}, and further", finish="length"),
        response("b", 0, "\\boxed{9}"),
        response("b", 1, "The answer is 8."),
        response("b", 2, "The answer is 9."),
        response("c", 0, "\\boxed{6}"),
        response("c", 1, ""),
    ]
    write_json_lines(tmp_path / "samples/questions.jsonl", QUESTIONS)
    write_json_lines(tmp_path / "samples/samples.jsonl", samples)
    return tmp_path / "samples"


def test_only_right_responses_that_ended_become_data_and_each_once(program, sampled):
    done = program("verify", input=sampled)
    assert done.status == 0, done.err
    rows = read_log(sampled / "verified.jsonl")
    assert [row["id"] for row in rows] == ["a/0", "b/0", "b/2"]
    assert rows[0]["messages"] == [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "So it is \\boxed{4}."},
    ]
    found = json.loads((sampled / "verified.json").read_text())
    assert found["by_level"] == {"1": {"responses": 3, "accepted": 3}, "2": {"responses": 5, "accepted": 2}}
    assert found["questions_by_times_solved"] == {"0": 1, "2": 1, "3": 1}
    assert (found["accepted"], found["duplicates"], found["cut_off"], found["without_answer"]) == (5, 1, 1, 1)
    assert "| 2     | 5         | 2     | 40.0%" in done.out
    graded = read_log(sampled / "samples.jsonl")
    assert [record["correct"] for record in graded] == [True, True, True, True, False, True, False, False]


def test_pairs_share_a_prompt_and_differ_in_their_verdict(program, sampled, tmp_path):
    assert program("verify", input=sampled, output=tmp_path / "out", pairs_per_question=5).status == 0
    (pair,) = read_log(tmp_path / "out/pairs.jsonl")
    assert pair["prompt"] == QUESTIONS[1]["messages"]
    assert pair["chosen"] in ("\\boxed{9}", "The answer is 9.")
    assert pair["rejected"] == "The answer is 8."
    kept = read_log(tmp_path / "out/verified.jsonl")
    assert program("verify", input=sampled, output=tmp_path / "out", keep_per_question=1, seed=1).status == 0
    assert len(read_log(tmp_path / "out/verified.jsonl")) == 2 < len(kept)


def test_nothing_right_and_nothing_sampled_are_refused(program, sampled, tmp_path):
    assert "holds no sampled responses" in program("verify", input=tmp_path).refusal
    assert program("verify", input=sampled).status == 0
    write_json_lines(sampled / "samples.jsonl", [response("c", 0, "\\boxed{6}")])
    assert "none of 1 responses is right" in program("verify", input=sampled).refusal
    assert not (sampled / "verified.jsonl").exists(), "the data of earlier responses"
    assert not (sampled / "pairs.jsonl").exists()


def options(model, problems):
    return {"model": str(model), "data": str(problems / "train.jsonl"), "max_questions": 3, "samples": 2}


def test_one_command_goes_from_questions_to_the_report(program, tiny_model, problems, tmp_path):
    """A random model solves nothing: its responses are replaced by right ones between two calls of the same command."""
    plan = {
        "sample": {**options(tiny_model, problems), "max_new_tokens": 4, "dtype": "float32"},
        "train": {"max_steps": 1, "batch_size": 2, "dtype": "float32", "packing": False},
        "grid": {"objective": ["rft", "dft"]},
        "evaluate": {
            "benchmarks": str(problems / "test.jsonl"),
            "limit": 2,
            "samples": 1,
            "max_new_tokens": 4,
            "dtype": "float32",
        },
    }
    path, output = tmp_path / "plan.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(plan))
    first = program("pipeline", plan=path, output=output, ranks=1)
    assert first.status == 1
    assert "none of 6 responses is right" in first.err
    assert "verify ended with status 1" in first.err
    answers = {question["id"]: question["answer"] for question in read_log(output / "samples/questions.jsonl")}
    samples = [
        {**record, "completion": f"\\boxed{{{answers[record['id']]}}}", "finish": "stop"}
        for record in read_log(output / "samples/samples.jsonl")
    ]
    write_json_lines(output / "samples/samples.jsonl", samples)
    fewer = {**plan["evaluate"], "limit": 1, "model": tiny_model, "output": output / "base"}
    assert program("evaluate.py", **fewer).status == 0
    done = program("pipeline", plan=path, output=output, ranks=1)
    assert done.status == 0, done.err
    base = json.loads((output / "base/results.json").read_text())
    assert base["benchmarks"]["test"]["questions"] == 2, "the start model is evaluated as the runs are"
    assert len(read_log(output / "samples/verified.jsonl")) == 3  # two responses to a question are the same
    for name in ("objective=rft", "objective=dft"):
        assert (output / "runs" / name / "final/model.safetensors").is_file()
        assert (output / "runs" / name / "eval/results.json").is_file()
    page = (output / "report.html").read_text()
    assert "<td>objective=rft</td>" in page
    assert "<td>base</td>" in page


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"columns": "problem=question"}, "no text in column 'question'"),
        ({"samples": 0}, "--samples: 0 is out of range"),
        ({"dta": "x"}, "unknown option --dta; did you mean --data?"),
    ],
    ids=str,
)
def test_wrong_options_of_sample_are_one_line(program, tiny_model, problems, tmp_path, change, line):
    refusal = program("sample", **{**options(tiny_model, problems), "output": tmp_path / "s", **change}).refusal
    assert line in refusal
    assert not (tmp_path / "s").exists()
