"""Preference pairs: both forms of a row, what is learned of them, what is left out, and what is refused."""

import numpy as np
import pytest
from support import make_tokenizer

from dftcore.data import batching, sources
from dftcore.data.documents import tokenise
from dftcore.errors import UserError
from dftcore.files import write_json_lines

TEXT = {"prompt": "2 + 2?", "chosen": "It is 4.", "rejected": "It is 5, I think."}


def turns(*contents):
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(contents)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def pairs(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("DFTCORE_CACHE", str(tmp_path / "cache"))

    def make(*rows, max_length=200, **columns):
        write_json_lines(tmp_path / "pairs.jsonl", rows)
        source = sources.find_source(str(tmp_path / "pairs.jsonl"))
        return tokenise(source, tokenizer, columns, max_length, pairs=True)

    return make


def learned(tokenizer, documents, index):
    tokens, targets = documents.document(index)
    return tokenizer.decode(tokens), tokenizer.decode(targets[targets >= 0])


@pytest.mark.parametrize(
    "row",
    [
        TEXT,
        {**TEXT, "prompt": None, "problem": TEXT["prompt"]} | {"prompt": TEXT["prompt"]},
        {"problem": TEXT["prompt"], "chosen": TEXT["chosen"], "rejected": TEXT["rejected"]},
        {
            "prompt": turns("2 + 2?"),
            "chosen": turns("", "It is 4.")[1:],
            "rejected": turns("", "It is 5, I think.")[1:],
        },
        {"chosen": turns("2 + 2?", "It is 4."), "rejected": turns("2 + 2?", "It is 5, I think.")},
    ],
    ids=["text", "both", "problem", "turns", "conversations"],
)
def test_every_form_of_a_row_gives_the_same_two_documents(tokenizer, pairs, row):
    documents = pairs(row)
    assert (len(documents), documents.examples, documents.group) == (2, 1, 2)
    for index, answer in enumerate((TEXT["chosen"], TEXT["rejected"])):
        whole, target = learned(tokenizer, documents, index)
        assert whole == f"<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>"
        assert target == f"{answer}<|im_end|>"


def test_only_the_last_answer_is_learned(tokenizer, pairs):
    documents = pairs({"chosen": turns("a", "b", "c", "right"), "rejected": turns("a", "b", "c", "wrong")})
    assert [learned(tokenizer, documents, index)[1] for index in (0, 1)] == ["right<|im_end|>", "wrong<|im_end|>"]


def test_what_teaches_nothing_is_counted_and_left_out(pairs):
    same = {**TEXT, "rejected": TEXT["chosen"]}
    alike_when_cut = {"prompt": "p", "chosen": "w " * 300 + "a", "rejected": "w " * 300 + "b"}
    cut_off = {"prompt": "p " * 300, "chosen": "a", "rejected": "b"}
    empty = {**TEXT, "rejected": " "}
    documents = pairs(same, TEXT, alike_when_cut, cut_off, empty, TEXT)
    assert documents.examples == 2
    assert documents.rows.tolist() == [1, 1, 5, 5]
    assert (documents.counts.identical, documents.counts.skipped, documents.counts.truncated) == (2, 2, 2)
    assert "2 pairs dropped: the same answer twice" in str(documents.counts)


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"prompt": "p", "rejected": "b"}, r"row 1: no column 'chosen' among 'prompt', 'rejected'; dpo needs pairs"),
        ({"chosen": "a", "rejected": "b"}, r"row 1: no column 'problem' among 'chosen', 'rejected'; map it"),
        ({"chosen": turns("p", "a"), "rejected": turns("q", "b")}, r"row 1: .* belong to different prompts"),
        ({"chosen": turns("p", "a"), "rejected": "b"}, r"row 1: .* belong to different prompts"),
        ({"chosen": turns("p"), "rejected": turns("p")}, r"row 1: the chosen conversation ends with a turn of 'user'"),
        ({**TEXT, "chosen": 7}, r"row 1: column 'chosen' is neither text nor a list"),
        ({**TEXT, "rejected": TEXT["chosen"]}, r"no row of .* has an answer token"),
    ],
    ids=["no-chosen", "no-prompt", "prompts", "mixed", "no-answer", "number", "identical"],
)
def test_bad_rows_are_refused_by_name(pairs, row, line):
    with pytest.raises(UserError, match=line):
        pairs(row)


def test_columns_can_be_mapped(tokenizer, pairs):
    row = {"question": "2 + 2?", "better": "It is 4.", "worse": "It is 5."}
    documents = pairs(row, prompt="question", chosen="better", rejected="worse")
    assert learned(tokenizer, documents, 1)[1] == "It is 5.<|im_end|>"


@pytest.mark.parametrize("packing", [True, False])
def test_both_answers_of_a_pair_are_in_one_pass(pairs, packing):
    rows = [{**TEXT, "chosen": "yes " * (n % 5 + 1), "rejected": "no " * (n % 7 + 1)} for n in range(20)]
    documents = pairs(*rows)
    dealt = batching.deal_examples(documents, range(20), 2, 3, 80, packing)
    seen = []
    for passes in dealt:
        for group in passes:
            flat = [index for row in group for index in row]
            assert flat[1::2] == [index + 1 for index in flat[0::2]]
            assert all(index % 2 == 0 for index in flat[0::2])
            seen += flat
            assert max(int(documents.lengths[row].sum()) for row in group) <= (160 if packing else 80)
    assert np.array_equal(np.sort(seen), np.arange(40))
