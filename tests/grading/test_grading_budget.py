"""The purse of one comparison: steps, its own seconds of work, and how long it may wait."""

import time

import pytest

from dftcore.grading.budget import Budget, OutOfBudget


def spend_all(budget: Budget) -> None:
    while True:
        budget.spend()


def status_of(budget: Budget) -> str:
    with pytest.raises(OutOfBudget) as out:
        spend_all(budget)
    return out.value.status


def test_steps_run_out():
    assert status_of(Budget(steps=10, seconds=60.0)) == "limit"


def test_work_runs_out_after_its_seconds():
    began = time.thread_time()
    assert status_of(Budget(steps=10**9, seconds=0.05)) == "timeout"
    assert time.thread_time() - began < 0.5


def test_a_pause_of_the_machine_is_not_work():
    budget = Budget(steps=10, seconds=0.4)
    time.sleep(1.5)
    budget.spend()


def test_a_wait_without_end_is_ended():
    budget = Budget(steps=10, seconds=0.05)
    time.sleep(0.6)
    assert status_of(budget) == "timeout"
