"""The memory plan: within 15 % of a real step (a GPU's, where there is one), and what is refused because of it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from measured_step import measure
from safetensors.torch import load_file
from support import ROOT, run_options

from dftcore import memory, models
from dftcore.distributed import process_group
from dftcore.errors import UserError
from dftcore.paper_models import PAPER_MODELS, paper_config

PARAMETERS = {  # as each model's safetensors files state them on the Hub
    "Qwen/Qwen2.5-Math-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-Math-7B": 7_615_616_512,
    "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "deepseek-ai/deepseek-math-7b-base": 6_910_365_696,
}


@pytest.mark.parametrize(
    "words",
    [{}, {"dtype": "bfloat16", "tied": True}, {"recompute": True}, {"reshard": False}, {"rank": 4}],
    ids=str,
)
def test_the_plan_is_within_15_percent_of_a_real_step(words):
    with process_group() as world:
        measured, planned = measure(world, **words)
    assert planned == pytest.approx(measured, rel=memory.ACCURACY)


@pytest.mark.soak
def test_the_plan_of_two_ranks_is_within_15_percent_of_a_real_step():
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, str(ROOT / "tests/measured_step.py"), json.dumps({"dtype": "bfloat16"})]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    measured, planned = json.loads(done.stdout.splitlines()[-1])
    assert planned == pytest.approx(measured, rel=memory.ACCURACY)


@pytest.mark.parametrize("name", PAPER_MODELS)
def test_the_papers_models_build_at_true_size_and_their_plan_is_printed(name, program, tmp_path):
    config = paper_config(name)
    model = models.build(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    assert all(parameter.is_meta for parameter in model.parameters())
    config.save_pretrained(tmp_path)
    before = sorted(tmp_path.iterdir())
    done = program("train.py", "--dry-run", model=tmp_path, device_memory="141GB")
    assert done.status == 0, done.err
    assert f"{PARAMETERS[name]:,} parameters" in done.out
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in done.out.splitlines() if line[0] == "|"}
    assert [cell.strip() for cell in rows["GiB a GPU"]] == ["1 rank", "2 ranks", "4 ranks", "8 ranks"]
    figures = {kind: [float(cell) for cell in cells] for kind, cells in rows.items() if "." in cells[0]}
    weights = PARAMETERS[name] * 4 / memory.GIB
    for column, ranks in enumerate((1, 2, 4, 8)):
        assert figures["parameters"][column] == pytest.approx(weights / ranks, abs=0.01)
        assert figures["AdamW moments"][column] == pytest.approx(2 * weights / ranks, abs=0.02)
    assert figures["activations"][0] == figures["activations"][3] > 1.0
    assert rows["in 131.3 GiB"][3].strip() == "fits"
    assert sorted(tmp_path.iterdir()) == before


def test_recomputation_keeps_one_input_a_layer():
    config = paper_config("Qwen/Qwen2.5-Math-1.5B")

    def traced(recompute):
        module = models.LanguageModelLoss(models.build(config), models.Objective("dft"))
        if recompute:
            memory_saver(module)
        return memory.trace(module, 2, 1024, torch.bfloat16, padded=False)

    from dftcore.parallel import recompute_activations as memory_saver

    inputs = 2 * 1024 * 1536 * 2 * 28
    assert traced(True).saved == pytest.approx(inputs, rel=0.3)  # beside them: cosines, sines, the last norm
    assert traced(False).saved > 8 * inputs


def test_a_run_that_cannot_fit_is_refused_with_what_would(program, tiny_model, problems, tmp_path):
    options = run_options(tiny_model, problems, tmp_path / "run", micro_batch_size=16, loss_backend="torch")
    refusal = program("train.py", **{**options, "device_memory": "6MiB"}).refusal
    assert "on each of 1 GPU(s) of 0.0 GiB; what would fit:" in refusal
    assert "--activation-checkpointing" in refusal
    refusal = program("train.py", **{**options, "device_memory": "1MB"}).refusal
    assert "what would fit: nothing tried" in refusal
    assert not (tmp_path / "run").exists()
    done = program("train.py", **{**options, "device_memory": "1GiB", "max_steps": 1})
    assert done.status == 0, done.err


def test_replicas_and_offload_in_the_plan(program, tiny_model, tmp_path):
    options = {"model": tiny_model, "data": "unread", "output": tmp_path / "run"}
    done = program("train.py", "--dry-run", "--cpu-offload", "--ranks", "4", "6", **options, replicas=2)
    assert done.status == 0, done.err
    assert "| 4 ranks | 6 ranks |" in done.out
    refusal = program("train.py", "--dry-run", **options, replicas=2, ranks=3).refusal
    assert "--ranks: none of (3,) is a multiple of --replicas 2" in refusal
    assert "--ranks: it names the plans that --dry-run prints" in program("train.py", **options, ranks=2).refusal


def test_cpu_memory_is_planned_and_a_run_that_its_host_cannot_hold_is_refused(program, tiny_model, problems, tmp_path):
    parameters = sum(tensor.numel() for tensor in load_file(tiny_model / "model.safetensors").values())
    module = models.LanguageModelLoss(models.build(models.load_config(tiny_model)), models.Objective("dft"))
    plan = [
        memory.foretell(module, memory.Trace(0, 0), memory.Job(1, 9, torch.float32, 1, offload=True, async_save=copied))
        for copied in (False, True)
    ]
    assert plan[0].host == 16 * parameters, "fp32 parameters, gradients and two moments"
    assert plan[1].host == 28 * parameters, "and a copy of parameters and moments"
    options = run_options(
        tiny_model, problems, tmp_path / "run", max_steps=1, host_memory=f"{plan[0].host / 2**20:.3f}MiB"
    )
    refusal = program("train.py", "--cpu-offload", **options).refusal
    assert "GiB of CPU memory for the ranks of a node, which has 0.0 GiB; what would fit: --no-async-save" in refusal
    done = program("train.py", "--cpu-offload", "--no-async-save", **options)
    assert done.status == 0, done.err
    done = program("train.py", "--dry-run", "--cpu-offload", **{**options, "ranks": 16, "host_memory": "1GB"})
    assert done.status == 0, done.err
    assert re.search(r"\| in 0.9 GiB of CPU memory, 8 ranks a node at most \| fits +\|", done.out)


def test_a_host_has_what_its_control_group_allows(tmp_path, monkeypatch):
    group = tmp_path / "sys/fs/cgroup/job/step"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group.parent / "memory.max").write_text("123456\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/job/step\n")
    assert memory.host_bytes() > 1 << 28
    monkeypatch.setattr(memory, "Path", lambda path: tmp_path / str(path).lstrip("/") if path[0] == "/" else Path(path))
    assert memory.host_bytes() == 123456


def test_a_dry_run_of_which_no_plan_fits_says_so(program, tiny_model, tmp_path):
    done = program("train.py", "--dry-run", model=tiny_model, device_memory="1MB")
    assert done.out.count("does not fit") == 4
    assert "none of these plans can fit; what would fit: nothing tried" in done.refusal


def test_shards_are_counted_as_the_largest():
    parameter = torch.empty(515, 4, device="meta")
    assert memory._shard_bytes(parameter, 1) == 515 * 16
    assert memory._shard_bytes(parameter, 4) == 129 * 16


def test_a_reference_that_stays_is_planned_for():
    module = models.LanguageModelLoss(models.build(paper_config("Qwen/Qwen2.5-Math-1.5B")), models.Objective("dft"))
    plans = [
        memory.foretell(module, memory.Trace(0, 0), memory.Job(1, 2048, torch.bfloat16, 4, anchored=anchored))
        for anchored in (False, True)
    ]
    weights, root = 2 * 1_543_714_304, 2 * 151936 * 1536
    assert plans[1].peak - plans[0].peak == pytest.approx(weights / 4 + root + 2 * 2048 * 1536, rel=1e-3)


@pytest.mark.parametrize(("text", "value"), [("80GiB", 80 << 30), ("141GB", 141 * 10**9), ("1.5 MiB", 3 << 19)])
def test_amounts_of_memory(text, value):
    assert memory.parse_bytes(text, "--device-memory") == value


@pytest.mark.parametrize("text", ["80", "eighty", "-1GiB", "80 GiBs"])
def test_bad_amounts_of_memory(text):
    with pytest.raises(UserError, match=f"--device-memory: '{text}' is no amount of memory; write it as 80GiB"):
        memory.parse_bytes(text, "--device-memory")
