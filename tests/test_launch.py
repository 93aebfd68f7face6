"""Programs launched by programs: the cores are divided among the ranks, also of what a single process launches."""

from __future__ import annotations

import os

from dftcore import launch

SHOW = "import os; print(os.environ.get('OMP_NUM_THREADS', 'all'))"
NESTED = f"from dftcore import launch; launch.call(['-c', {SHOW!r}], 2)"


def threads(capfd, program: str, ranks: int) -> str:
    assert launch.call(["-c", program], ranks) == 0
    return capfd.readouterr().out.strip()


def test_cores_are_divided_among_ranks_also_by_a_program_that_was_launched(capfd, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    share = str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert threads(capfd, SHOW, ranks=2) == share
    assert threads(capfd, SHOW, ranks=1) == "all"
    assert threads(capfd, NESTED, ranks=1) == share


def test_the_users_own_number_of_threads_wins(capfd, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads(capfd, SHOW, ranks=2) == threads(capfd, NESTED, ranks=1) == "3"
