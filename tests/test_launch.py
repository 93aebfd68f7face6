"""The cores are divided among ranks: by programs that launch others, and by ranks that torchrun gave a thread each."""

from __future__ import annotations

import os

import pytest
from support import torchrun

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


@pytest.mark.parametrize(("given", "threads"), [(None, "4 4"), ("1", "1 1")])
def test_ranks_under_torchrun_share_the_cores_unless_the_user_said_otherwise(tmp_path, monkeypatch, given, threads):
    script = tmp_path / "show.py"
    script.write_text(
        "import os, torch\n"
        "os.sched_getaffinity = lambda _: range(8)\n"
        "from dftcore.distributed import process_group\n"
        "with process_group() as world:\n"
        "    line = f'{torch.get_num_threads()} {os.environ[\"OMP_NUM_THREADS\"]}\\n'\n"
        "    os.write(1, line.encode())\n"  # at once, since both ranks write to one pipe
    )
    monkeypatch.delenv("OMP_NUM_THREADS")
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    done = torchrun(2, str(script))
    assert (done.status, done.out.split("\n")) == (0, [threads, threads, ""]), done.err
