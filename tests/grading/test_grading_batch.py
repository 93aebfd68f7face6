"""Batches lose nothing: a process that hangs, dies or runs out of memory costs one item, and says so."""

import sys
import textwrap

import pytest

from dftcore.grading import check_batch

# A grading process with faults on request; the rest of it is the real one.
FAULTY = """
import os, signal, time
from dftcore.grading.judge import explain
from dftcore.grading.worker import limit_memory, serve

def judge(gold, prediction, policy):
    if prediction == "hang":
        time.sleep(600)
    if prediction == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if prediction == "exit":
        os._exit(0)
    if prediction == "memory":
        bytearray(4 << 30)
    if prediction == "noise":
        os.write(2, b"noise on standard error")
    return explain(gold, prediction, policy)

limit_memory(512)
serve(judge)
"""
COMMAND = (sys.executable, "-c", textwrap.dedent(FAULTY))


def test_results_keep_the_order_of_the_pairs():
    pairs = [(str(n), f"the answer is {n if n % 3 else -1}") for n in range(60)]
    found = check_batch(pairs, workers=2)
    assert [result.verdict for result in found] == [n % 3 != 0 for n in range(60)]
    assert {result.status for result in found} == {"ok"}


def test_faults_cost_only_their_own_item():
    predictions = ["1", "hang", "1", "die", "1", "exit", "2", "memory", "1", "noise", "1"]
    found = check_batch([("1", prediction) for prediction in predictions], workers=2, timeout=1.5, command=COMMAND)
    assert [result.status for result in found] == [
        "ok",
        "timeout",
        "ok",
        "died",
        "ok",
        "died",
        "ok",
        "memory",
        "ok",
        "ok",
        "ok",
    ]
    assert [result.verdict for result in found] == [prediction == "1" for prediction in predictions]


def test_the_policy_travels():
    assert check_batch([("100", "100.005")], policy="qwen-compatible")[0].verdict
    assert not check_batch([("100", "100.005")])[0].verdict


def test_odd_texts_travel():
    odd = ["", "\x00", "\ud800", "line\nline", '"quoted"', "é" * 1000, "1" * 200_000]
    assert len(check_batch([(text, text) for text in odd], workers=1)) == len(odd)
    assert check_batch([]) == []


def test_a_process_that_cannot_start_is_an_error():
    with pytest.raises(RuntimeError, match="did not start"):
        check_batch([("1", "1")], command=(sys.executable, "-c", "raise SystemExit(1)"))


@pytest.mark.parametrize("limits", [{"workers": 0}, {"timeout": 0}, {"memory_mb": -1}])
def test_limits_must_be_positive(limits):
    with pytest.raises(ValueError, match="must be positive"):
        check_batch([("1", "1")], **limits)
