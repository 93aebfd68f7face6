"""Tokenising: the same on any number of processes, once a host, of the rows that are asked for; the named traps."""

import json
import threading

import numpy as np
import pytest
import torch.distributed as dist
from support import TEMPLATE, make_tokenizer, run_options
from tokenizers.processors import TemplateProcessing

from dftcore.data import chat, documents, encoding
from dftcore.data.documents import IGNORE, Selection, encode_conversations, tokenise
from dftcore.data.sources import find_source
from dftcore.errors import UserError

TURNS = [{"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": "It is 5."}]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(directory)
    return chat.load_tokenizer(str(directory))


def test_processes_give_what_one_gives(tokenizer, problems, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "_CHUNK", 16)
    found = []
    for workers in (1, 2):
        monkeypatch.setenv("DFTCORE_CACHE", str(tmp_path / str(workers)))
        found.append(tokenise(find_source(str(problems / "train.jsonl")), tokenizer, {}, 128, workers=workers))
    assert found[0].counts == found[1].counts
    for name in ("tokens", "targets", "classes", "offsets", "rows"):
        assert np.array_equal(getattr(found[0], name), getattr(found[1], name)), name


def test_a_bad_row_in_another_process_is_named(tokenizer, tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"problem": "2 + 3?", "solution": "5."}] * 3 + [{"problem": "2 + 3?", "answer": "5."}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="row 4: no column 'solution'"):
        tokenise(find_source(str(path)), tokenizer, {}, 128, workers=2)


def test_one_process_of_a_host_tokenises_and_the_others_wait(tokenizer, problems, tmp_path, monkeypatch):
    monkeypatch.setenv("DFTCORE_CACHE", str(tmp_path))
    calls, real = [], documents.encode

    def slow(*arguments):
        calls.append(threading.get_ident())
        threading.Event().wait(0.3)
        return real(*arguments)

    monkeypatch.setattr(documents, "encode", slow)
    found = []

    def one():
        found.append(tokenise(find_source(str(problems / "train.jsonl")), tokenizer, {}, 128))

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert [each.fingerprint for each in found] == [found[0].fingerprint] * 3


def test_a_run_tokenises_before_its_process_group_exists(program, tiny_model, problems, tmp_path, monkeypatch):
    """Whose time-out would end a long tokenisation."""
    real, groups = documents.encode, []

    def encode(*arguments):
        groups.append(dist.is_initialized())
        return real(*arguments)

    monkeypatch.setattr(documents, "encode", encode)
    monkeypatch.setenv("DFTCORE_CACHE", str(tmp_path / "cache"))
    options = run_options(tiny_model, problems, tmp_path / "run", max_steps=1, validation_data=problems / "test.jsonl")
    for _ in range(2):
        assert program("train.py", "--no-resume", **options).status == 0
    assert groups == [False, False], "training and validation data, once each"


def test_numina_math_is_read_by_name(tokenizer, monkeypatch, tmp_path):
    """Its rows, in the form that the data set's card shows; the Hub itself is out of reach here."""
    import datasets

    row = {"source": "synthetic_math", "problem": "2 + 3?", "solution": "It is $\\boxed{5}$."}
    row["messages"] = [{"content": "other", "role": "user"}, {"content": "text", "role": "assistant"}]
    asked = []

    def load_dataset(name, split):
        asked.append((name, split))
        return datasets.Dataset.from_list([row] * 3)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setenv("DFTCORE_CACHE", str(tmp_path))
    found = tokenise(find_source("AI-MO/NuminaMath-CoT"), tokenizer, {}, 128)
    assert asked == [("AI-MO/NuminaMath-CoT", "train")]
    assert "3 documents of problem and solution" in str(found.counts)
    assert "2 + 3?" in tokenizer.decode(found.document(0)[0])
    chosen = tokenise(find_source("AI-MO/NuminaMath-CoT"), tokenizer, {"messages": "messages"}, 128)
    assert "other" in tokenizer.decode(chosen.document(0)[0])


@pytest.mark.parametrize(("held_out", "count"), [(10, 10), (0.25, 24)])
def test_held_out_rows_are_the_same_for_every_seed_and_never_learned(held_out, count):
    held = Selection(held_out=held_out, part="held-out").rows(96)
    assert len(held) == count
    for seed in (0, 1):
        rest = Selection(count=40, seed=seed, held_out=held_out).rows(96)
        assert len(rest) == 40
        assert not set(rest) & set(held)
        assert np.array_equal(Selection(seed=seed, held_out=held_out, part="held-out").rows(96), held)
    assert np.array_equal(Selection(held_out=held_out).rows(96), np.setdiff1d(np.arange(96), held))
    assert Selection(40, held_out=held_out).key() != Selection(40).key()
    with pytest.raises(UserError, match="leave some of each part"):
        Selection(held_out=0.001).rows(96)


def test_a_tokenizer_that_adds_a_bos_itself_gives_one_bos(tmp_path):
    make_tokenizer(tmp_path, template="{{ bos_token }}" + TEMPLATE.replace("<|im_start|>", ""))
    tokenizer = chat.load_tokenizer(str(tmp_path))
    bos = (tokenizer.bos_token, tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{bos[0]} $A", special_tokens=[bos])
    assert tokenizer("2")["input_ids"].count(bos[1]) == 1, "the trap is set"
    tokens, _ = encode_conversations(tokenizer, [TURNS]).document(0)
    assert tokens.tolist().count(bos[1]) == 1


def test_a_system_prompt_that_the_template_adds_is_not_learned(tmp_path):
    """As Qwen2.5-Math's does; it is part of the prompt, in training as in sampling, and stands there once."""
    own = "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBox it.<|im_end|>\n' }}{% endif %}"
    make_tokenizer(tmp_path, template=own + TEMPLATE)
    tokenizer = chat.load_tokenizer(str(tmp_path))
    tokens, targets = encode_conversations(tokenizer, [TURNS * 2]).document(0)
    assert tokenizer.decode(tokens).count("Box it.") == 1
    assert tokenizer.decode(targets[targets != IGNORE]) == "It is 5.<|im_end|>" * 2
    prompt = tokenizer(chat.render(tokenizer, TURNS[:1], prompt=True), add_special_tokens=False)["input_ids"]
    assert tokens[: len(prompt)].tolist() == prompt
