"""Batches lose nothing: a process that hangs, dies or runs out of memory costs one item, and says so."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dftcore.grading import batch, check_batch

# A grading process with faults on request; the rest of it is the real one.
FAULTY = """
import os, signal, time
from dftcore.grading.judge import explain
from dftcore.grading.worker import limit_memory, serve

def judge(gold, prediction, policy):
    if prediction == "hang":
        os.write(2, b"hanging")
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


def test_a_process_that_speaks_out_of_turn_costs_its_item_only():
    noisy = FAULTY.replace("return explain(", 'if prediction == "noise": print("not an answer")\n    return explain(')
    found = check_batch([("1", "noise"), ("1", "1")], workers=1, command=(sys.executable, "-c", noisy))
    assert [result.status for result in found] == ["died", "ok"]


def test_one_item_has_limited_processor_time_even_without_a_caller():
    spin = FAULTY.replace("time.sleep(600)", "[None for _ in iter(int, 1)]").replace(
        "serve(judge)", "serve(judge, 0.2)"
    )
    found = check_batch([("1", "hang")], workers=1, timeout=30, command=(sys.executable, "-c", spin))
    assert found[0].status in ("died", "memory")


def test_interrupts_end_the_batch_at_once(tmp_path):
    program = f"""
import signal
from dftcore.grading import batch, check_batch
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it from birth
check_batch([("1", "hang")] * 50, workers=2, timeout=60, command={COMMAND!r})
"""
    run = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, start_new_session=True)
    run.stderr.read(len("hanging"))
    started = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=30)
    assert time.monotonic() - started < 20
    assert errors.rstrip().endswith(b"KeyboardInterrupt")


def test_any_thread_may_ask():
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda gold: check_batch([(gold, "2")], workers=1)[0].verdict, ["1", "2"]))
    assert found == [False, True]


def test_a_limit_of_memory_set_outside_stays():
    program = """
import resource
from dftcore.grading import batch, check_batch
resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20))
print(check_batch([("1", "1")], workers=1, memory_mb=1024)[0].verdict)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert run.stdout == "True\n", run.stderr


def test_a_batch_starts_one_process_for_each_core_that_it_may_use(monkeypatch):
    started = []

    class Counted(batch.Worker):
        def __init__(self, command):
            started.append(command)
            super().__init__(command)

    monkeypatch.setattr(batch, "Worker", Counted)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    assert [result.verdict for result in check_batch([("1", "1")] * 4)] == [True] * 4
    assert len(started) == 1
