"""Rows to tokens: labels on the answer and its end token only, no double BOS, counts, cache, clear refusals."""

import json

import numpy as np
import pytest
from support import TEMPLATE, make_tokenizer

from dftcore.data import chat
from dftcore.data.documents import IGNORE, Selection, encode_conversations, tokenise
from dftcore.data.sources import find_source, parse_columns, to_messages
from dftcore.errors import UserError

USER, ANSWER = {"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": "It is 5."}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(directory)
    return chat.load_tokenizer(str(directory))


def supervised_text(tokenizer, turns) -> str:
    """What the targets of one conversation spell."""
    tokens, targets = encode_conversations(tokenizer, [turns]).document(0)
    learned = targets != IGNORE
    assert (targets[:-1][learned[:-1]] == tokens[1:][learned[:-1]]).all(), "a target is the next token"
    assert not learned[-1]
    return tokenizer.decode(targets[learned])


def test_labels_are_the_answer_and_its_end_token(tokenizer):
    assert tokenizer.pad_token == tokenizer.eos_token, "the trap: padding must not mask the end label"
    assert supervised_text(tokenizer, [USER, ANSWER]) == "It is 5.<|im_end|>"


def test_every_assistant_turn_is_learned_and_nothing_else(tokenizer):
    turns = [
        {"role": "system", "content": "Be brief."},
        USER,
        ANSWER,
        USER,
        {"role": "assistant", "content": "Still 5."},
    ]
    assert supervised_text(tokenizer, turns) == "It is 5.<|im_end|>Still 5.<|im_end|>"


def test_the_prompt_of_training_is_the_prompt_of_sampling(tokenizer):
    prompt = tokenizer(chat.render(tokenizer, [USER], prompt=True), add_special_tokens=False)["input_ids"]
    tokens, targets = encode_conversations(tokenizer, [[USER, ANSWER]]).document(0)
    assert tokens[: len(prompt)].tolist() == prompt
    assert (targets[: len(prompt) - 1] == IGNORE).all()
    assert targets[len(prompt) - 1] != IGNORE, "the last prompt token predicts the first of the answer"


@pytest.mark.parametrize("name", sorted(chat.PLAIN_TEMPLATES))
def test_plain_templates_open_with_one_bos_and_end_with_eos(tmp_path, name):
    make_tokenizer(tmp_path, template=None)
    tokenizer = chat.load_tokenizer(str(tmp_path), name)
    tokens, _ = encode_conversations(tokenizer, [[USER, ANSWER]]).document(0)
    assert tokens.tolist().count(tokenizer.bos_token_id) == 1
    assert tokens[-1] == tokenizer.eos_token_id
    space = "" if name == "llama-base" else " "  # after a colon it belongs to the answer
    assert supervised_text(tokenizer, [USER, ANSWER]) == f"{space}It is 5.<|im_end|>"


def test_a_template_that_alters_the_answer_is_refused(tmp_path):
    make_tokenizer(tmp_path, template=TEMPLATE.replace("m['content']", "m['content'].split('</think>')[-1]"))
    tokenizer = chat.load_tokenizer(str(tmp_path))
    with pytest.raises(UserError, match="alters the answer"):
        supervised_text(tokenizer, [USER, {"role": "assistant", "content": "2 and 3 </think> 5"}])


def test_line_separators_inside_a_string_do_not_end_a_row(tokenizer, tmp_path):
    row = {"problem": "2 \u2028 3 \x85?", "solution": "5."}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n")
    assert find_source(str(tmp_path / "rows.jsonl")).rows() == [row]


def test_a_clone_of_a_hub_data_set_has_its_files_one_folder_down(tmp_path):
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "data").mkdir()
    for name in ("train-00000-of-00001.jsonl", "test-00000-of-00001.jsonl"):
        (tmp_path / "data" / name).write_text('{"problem": "1+1?", "solution": "2"}\n')
    assert [path.name for path in find_source(str(tmp_path)).files] == ["train-00000-of-00001.jsonl"]


def test_a_mistyped_split_is_refused(problems):
    with pytest.raises(UserError, match="did you mean train"):
        find_source(str(problems), "trian")
    with pytest.raises(UserError, match=r"--split: .* is one file, without splits; leave --split trian out"):
        find_source(str(problems / "train.jsonl"), "trian")


def test_a_template_without_an_end_token_gets_one(tmp_path):
    make_tokenizer(tmp_path, template=TEMPLATE.replace("'<|im_end|>' + ", ""))
    tokenizer = chat.load_tokenizer(str(tmp_path))
    assert supervised_text(tokenizer, [USER, ANSWER]) == "It is 5.<|im_end|>"
    assert chat.end_token(tokenizer) == "<|im_end|>"


def test_a_tokenizer_without_template_is_refused_with_the_mend(tmp_path):
    make_tokenizer(tmp_path, template=None)
    with pytest.raises(UserError, match="--chat-template user-assistant"):
        chat.load_tokenizer(str(tmp_path))
    with pytest.raises(UserError, match="did you mean user-assistant"):
        chat.load_tokenizer(str(tmp_path), "user-asistant")


def test_long_examples_are_cut_at_the_right_and_counted(tokenizer, tmp_path):
    rows = [{"problem": "2 + 3?", "solution": "It is " + "5 " * 50}, {"problem": "why " * 60, "solution": "5."}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    documents = tokenise(find_source(str(path)), tokenizer, {}, max_length=40)
    assert (documents.counts.truncated, documents.counts.skipped, len(documents)) == (2, 1, 1)
    assert len(documents.document(0)[0]) == 40
    with pytest.raises(UserError, match="--max-length 4"):
        tokenise(find_source(str(path)), tokenizer, {}, max_length=4)


def test_the_cache_follows_the_content_not_the_name(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("DFTCORE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "rows.jsonl"

    def tokens_of(solution: str):
        path.write_text(json.dumps({"problem": "2 + 3?", "solution": solution}) + "\n")
        return tokenise(find_source(str(path)), tokenizer, {}, max_length=99)

    first = tokens_of("It is 5.")
    with monkeypatch.context() as patch:
        patch.setattr("dftcore.data.documents.encode", None)  # a second call must not tokenise
        assert (tokens_of("It is 5.").tokens == first.tokens).all()
    assert tokens_of("It is 6.").fingerprint != first.fingerprint
    assert len(list((tmp_path / "cache/tokens").glob("*.safetensors"))) == 2


def test_a_sample_of_the_rows_is_seeded_and_first_takes_the_first(tokenizer, problems):
    source = find_source(str(problems / "train.jsonl"))
    sample = tokenise(source, tokenizer, {}, 512, Selection(10, seed=1))
    assert len(sample) == 10
    assert (tokenise(source, tokenizer, {}, 512, Selection(10, seed=1)).tokens == sample.tokens).all()
    assert not np.array_equal(tokenise(source, tokenizer, {}, 512, Selection(10, seed=2)).tokens, sample.tokens)
    first = tokenise(source, tokenizer, {}, 512, Selection(10, "first"))
    whole = tokenise(source, tokenizer, {}, 512)
    assert (first.tokens == whole.tokens[: len(first.tokens)]).all()


def test_jsonl_parquet_and_directories_hold_the_same_rows(problems, tmp_path):
    import pyarrow.json
    import pyarrow.parquet

    rows = find_source(str(problems / "train.jsonl")).rows()
    pyarrow.parquet.write_table(pyarrow.json.read_json(problems / "train.jsonl"), tmp_path / "train-0.parquet")
    assert find_source(str(tmp_path / "train-0.parquet")).rows() == rows
    assert find_source(str(tmp_path)).rows() == rows
    assert find_source(str(problems)).rows() == rows, "a directory's train files only"


def test_columns_are_mapped():
    row = {"question": "q", "reply": "r", "chat": [USER, ANSWER]}
    assert to_messages(row, parse_columns(["problem=question", "solution=reply"]), "row 1")[1]["content"] == "r"
    assert to_messages(row, parse_columns(["messages=chat"]), "row 1") == [USER, ANSWER]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"question": "q", "solution": "s"}\n', "row 1: no column 'problem' among 'question', 'solution'; map it"),
        ('{"problem": "q", "solution": ""}\n', "has an answer token"),
        ('{"problem": "q", "solution": 5}\n', "column 'solution' is not text"),
        ('{"problem": "q", "solution": "\\ud800"}\n', "column 'solution' is not valid Unicode"),
        ('{"problem": "q", "solution": "s"}\n{"problem"\n', "line 2 is not JSON"),
        ("[1, 2]\n", "row 1 is not a JSON object"),
        ("", "no rows"),
        ('{"messages": [{"role": "user"}]}\n', "not a list of {role, content} turns"),
        ('{"messages": [{"role": "user", "content": "hi"}]}\n', "no assistant turn"),
    ],
)
def test_bad_rows_are_named(tokenizer, tmp_path, text, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(UserError) as refusal:
        tokenise(find_source(str(path)), tokenizer, {}, 99)
    assert line in str(refusal.value)
    assert str(path) in str(refusal.value)
