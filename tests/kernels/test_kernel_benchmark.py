"""The GPU benchmark's stages: cut short and gone on with, with rows that fail, and a tuner that chooses well."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import sysconfig
import threading
from types import SimpleNamespace

import pytest
import torch
from support import ROOT

pytest.importorskip("triton")
sys.path.insert(0, str(ROOT / "benchmarks"))
loss, loss_full, loss_inputs, loss_rows, loss_tune, stages = (
    importlib.import_module(name) for name in ("loss", "loss_full", "loss_inputs", "loss_rows", "loss_tune", "stages")
)

from dftcore.kernels import config  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def test_units_are_kept_and_time_runs_out_between_them(tmp_path):
    path, calls = tmp_path / "state.json", []
    first = stages.Stages(path)
    assert first.run("a", lambda: calls.append("a") or 1) == 1
    assert first.run("b", lambda: 1 / 0) == {"failed": "ZeroDivisionError: division by zero"}
    later = stages.Stages(path, seconds=-1)
    assert later.run("a", lambda: calls.append("a") or 2) == 1
    assert calls == ["a"]
    with pytest.raises(stages.OutOfTime, match="c"):
        later.run("c", lambda: 3)


def interrupted() -> None:
    raise KeyboardInterrupt


def test_a_unit_that_ends_the_process_twice_is_given_up(tmp_path):
    path = tmp_path / "state.json"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            stages.Stages(path).run("a", interrupted)
    assert stages.Stages(path).run("a", lambda: 1) == {"failed": "ended the process"}


def test_a_fault_that_spoils_the_device_is_no_result(tmp_path):
    spoiled = stages.Stages(tmp_path / "state.json", healthy=lambda: False)
    with pytest.raises(stages.Broken):
        spoiled.run("a", lambda: 1 / 0)
    assert not spoiled.done


def test_a_row_that_ended_the_process_twice_is_absent(tmp_path):
    """The case it belongs to starts again; the rows beside it are measured."""
    path = tmp_path / "state.json"
    for _ in range(2):
        state = stages.Stages(path)

        def case(state=state):
            guard = loss_full.Guard(state, "case")
            assert guard("mild", lambda: "fine")() == "fine"
            return guard("deadly", interrupted)()

        with pytest.raises(KeyboardInterrupt):
            state.run("case", case)
    state = stages.Stages(path)

    def rest(state=state):
        found = []
        for name in ("mild", "deadly"):
            try:
                found.append(loss_full.Guard(state, "case")(name, lambda: "fine")())
            except loss_rows.Absent as absent:
                found.append(str(absent))
        return {"found": found}

    for name in ("case", "the next case"):
        assert state.run(name, rest) == {"found": ["fine", "ended the process"]}


def test_a_row_that_hangs_is_absent_after_the_restart(tmp_path, monkeypatch):
    """In its probe, or when all are run in turn; the other rows' figures are kept."""
    path, restarted = tmp_path / "state.json", threading.Event()
    monkeypatch.setattr(stages.Stages, "restart", lambda _: restarted.set())

    def case(state, calls):
        guard = loss_full.Guard(state, "case")
        rows = {name: guard(name, calls.get(name, lambda: "fine")) for name in ("mild", "slow", "last")}
        found = {}
        for _ in range(2):  # the probes, then in turn
            for name, row in rows.items():
                try:
                    found[name] = row()
                except loss_rows.Absent as absent:
                    found[name] = str(absent)
        guard.end()
        return found

    for hang_at in (1, 2):
        path.unlink(missing_ok=True)
        restarted.clear()
        calls = iter(range(1, 9))

        def slow(hang_at=hang_at, calls=calls):
            if next(calls) == hang_at:
                assert restarted.wait(20)
                raise KeyboardInterrupt  # as far as this process ever gets

        state = stages.Stages(path, limit=0.2)
        with pytest.raises(KeyboardInterrupt):
            state.run("case", lambda state=state, slow=slow: case(state, {"slow": slow}))
        later = stages.Stages(path)
        assert not later.begun
        found = later.run("case", lambda later=later: case(later, {}))
        assert found == {"mild": "fine", "slow": "took longer than 0 s", "last": "fine"}


def test_a_fault_in_turn_is_the_row_s_own(tmp_path):
    """A device spoiled in the second round is blamed on the row that was at it, not on the last one probed."""
    healthy = [True]
    state = stages.Stages(tmp_path / "state.json", healthy=lambda: healthy[0])

    def case():
        guard = loss_full.Guard(state, "case")
        for name in ("mild", "deadly", "last", "mild", "deadly"):
            guard(name, lambda: None)()
        healthy[0] = False
        raise RuntimeError("found out when the device is waited for")

    with pytest.raises(stages.Broken, match="rows/deadly"):
        state.run("case", case)
    assert state.begun == {"rows/deadly": 1}


def test_time_counts_from_the_first_start(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(os, "execv", lambda *_: started.append(os.environ[stages.BEGAN]))
    first = stages.Stages(tmp_path / "state.json", seconds=100)
    first.began -= 1000
    first.restart()
    second = stages.Stages(tmp_path / "state.json", seconds=100)
    assert stages.BEGAN not in os.environ
    assert second.began == pytest.approx(first.began)
    with pytest.raises(stages.OutOfTime):
        second.run("a", lambda: 1)
    assert len(started) == 1


def test_a_row_that_fails_when_it_is_timed_is_absent_alone():
    inputs = loss_inputs.normal(8, 16, 40, DEVICE)
    calls = iter(range(9))

    def late(*arguments):
        if next(calls) == 3:
            raise RuntimeError("out of luck")
        return loss_rows.eager(*arguments)

    rows = [loss.Row(row, inputs, "dft") for row in (loss_rows.eager, late)]
    loss.measure_rows(rows, None, repeats=2)
    assert rows[0].figures["total_ms"] > 0
    assert rows[1].figures == {"absent": "RuntimeError: out of luck"}


def test_the_script_runs_from_a_plain_checkout(tmp_path):
    """Of site packages, not those that are installed as links to a checkout; and from another directory."""
    found = subprocess.run(
        [sys.executable, "-S", ROOT / "benchmarks/loss.py", "--help"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": sysconfig.get_paths()["purelib"]},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Two small heads, few rows and no candidates; tables and results of their own."""
    monkeypatch.setattr(loss, "HEADS", {"Llama-3.1-8B": (32, 300)})
    monkeypatch.setattr(loss, "LENGTHS", (8,))
    monkeypatch.setattr(loss, "BUDGETS", (0.003,))
    monkeypatch.setattr(loss_full, "REPEATS", 1)
    monkeypatch.setattr(config, "TABLE", tmp_path / "tuned.json")
    monkeypatch.setattr(loss_inputs, "CANDIDATES", 8)
    monkeypatch.setattr(config, "candidates", lambda *_: [])
    config.tuned.cache_clear()
    yield SimpleNamespace(
        rows=12, repeats=1, only=["ours", "eager", "broken"], objective=["dft"], dtype=["float16"], stage=None,
        seconds=float("inf"), limit=float("inf"), results=str(tmp_path), states=None, model=None, data=None,
    )  # fmt: skip
    config.tuned.cache_clear()


def test_all_stages_run_and_a_second_call_repeats_nothing(tiny, tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("this peer\nfails")

    usual = config.HALF["hidden_finish"].constexprs
    lacking = config.Tiles({"BM": 16}, 4, 2)
    candidates = (config.Tiles({**usual, "BM": 16, "BD": 16}, 4, 2), lacking)
    monkeypatch.setattr(config, "candidates", lambda name, _: candidates if name == "hidden_finish" else [])
    monkeypatch.setitem(loss_rows.ROWS, "broken", broken)
    assert loss_full.run(tiny, DEVICE) == 0
    state = json.loads((tmp_path / "loss_gpu.json").read_text())["done"]
    assert all(state[f"tune/{kernel}/0/Llama-3.1-8B"]["ms"] > 0 for kernel in loss_tune.ORDER)
    assert "failed" in state["tune/hidden_finish/2/Llama-3.1-8B"]
    assert set(state["tune/table"][config.architecture(DEVICE)]) == set(loss_tune.ORDER)
    assert config.tuned()[config.architecture(DEVICE)]["forward"] == config.half(config.architecture(DEVICE))["forward"]
    case = {row["row"]: row for row in state["cases/Llama-3.1-8B/dft"]["rows"]}
    assert case["broken"]["absent"] == "RuntimeError: this peer"
    assert case["ours, exact"]["error_hidden"] < 0.01
    assert state["check/Llama-3.1-8B/dft"]["default budget: repeats"] is True
    text = (tmp_path / "loss_gpu.md").read_text()
    for heading in ("Against the bars", "Checks", "Cost against N", "Phases of", "Units without a result"):
        assert heading in text
    capsys.readouterr()

    def never(*_):
        raise AssertionError("measured again")

    for module, name in ((loss, "compare"), (loss_full, "checked"), (loss_tune, "measure")):
        monkeypatch.setattr(module, name, never)
    assert loss_full.run(tiny, DEVICE) == 0
    assert "measured again" not in capsys.readouterr().out


def test_no_time_leaves_everything_for_the_next_call(tiny, capsys):
    tiny.seconds, tiny.stage = -1.0, ["check"]
    assert loss_full.run(tiny, DEVICE) == 1
    assert "the same command goes on from there" in capsys.readouterr().out


def test_a_faster_candidate_that_computes_something_else_is_refused(tmp_path, monkeypatch):
    found = stages.Stages(tmp_path / "state.json")
    other = config.Tiles({**config.HALF["forward"].constexprs, "RUN": 1}, 4, 2)
    prepared = loss_tune.Prepared.of(loss_inputs.normal(8, 32, 300, DEVICE).to(DEVICE, torch.float16))
    timed = [(1.0, 0, config.HALF["forward"]), (0.5, 1, other)]

    def choose(stage: object) -> config.Tiles:
        return loss_tune._first_that_agrees(
            stage, "forward", config.HALF["forward"], timed, {}, lambda _: prepared, "head"
        )

    assert choose(found) == other
    monkeypatch.setattr(loss_tune, "_difference", lambda *_: 0.5)
    assert choose(stages.Stages(tmp_path / "another.json")) == config.HALF["forward"]


def test_saved_states_come_back(tmp_path):
    inputs = loss_inputs.normal(5, 8, 9, torch.device("cpu"))
    paths = [str(tmp_path / name) for name in ("a.safetensors", "b.safetensors")]
    loss_inputs.save_states(inputs, paths)
    back = loss_inputs.saved(paths)
    assert torch.equal(back.weight, inputs.weight.bfloat16())
    assert torch.equal(back.targets, inputs.targets)
    assert back.source == inputs.source
