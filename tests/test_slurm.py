"""The job script of train.py's manual, run by bash on two 'nodes' of this machine; SLURM's own programs are mocked."""

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest
import yaml
from support import ROOT, column, run_options

SRUN = """
import os, signal, subprocess, sys
words = sys.argv[3:]                                                # behind srun's own options
assert sys.argv[1:3] == ["--kill-on-bad-exit=1", "--cpus-per-task=64"]
nodes = [subprocess.Popen(words, env={**os.environ, "SLURM_PROCID": str(n)}) for n in range(2)]
signal.signal(signal.SIGUSR1, lambda number, _: [node.send_signal(number) for node in nodes])
sys.exit(max(map(abs, [node.wait() for node in nodes])))
"""
SCONTROL = """
import pathlib, sys
if sys.argv[1:3] == ["show", "hostnames"]:
    print("localhost\\nlocalhost")
else:
    pathlib.Path("scontrol.log").write_text(" ".join(sys.argv[1:]))
"""


@pytest.fixture
def job(tmp_path, tiny_model, problems):
    """Submit the script, as often as called; the process whose signals SLURM would send."""
    manual = (ROOT / "train.py").read_text().split('"""')[1].replace("\\\\", "\\")
    script = textwrap.dedent(manual[manual.index("    #!/bin/bash") :])
    (tmp_path / "job.sh").write_text(script)
    for name, code in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(f"#!{sys.executable}\n{code}")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "torchrun").write_text(f'#!/bin/sh\nexec {sys.executable} -m torch.distributed.run "$@"\n')
    (tmp_path / "torchrun").chmod(0o755)
    (tmp_path / "train.py").symlink_to(ROOT / "train.py")
    options = run_options(str(tiny_model), problems, "unused", epochs=5, max_steps=30, save_every=0)
    (tmp_path / "dft.yaml").write_text(yaml.safe_dump({**options, "data": str(options["data"])}))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    slurm = {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "localhost,localhost",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_GPUS_ON_NODE": "1",
        "SLURM_CPUS_PER_TASK": "64",
        "PORT": str(port),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }

    def submit() -> subprocess.Popen:
        with (tmp_path / "job.log").open("a") as log:
            return subprocess.Popen(
                ["bash", "job.sh"], cwd=tmp_path, env={**os.environ, **slurm}, stdout=log, stderr=subprocess.STDOUT
            )

    return submit


@pytest.mark.soak
def test_the_slurm_script_saves_and_requeues_at_the_signal_and_goes_on(job, tmp_path):
    run, log, requeued = tmp_path / "runs/dft", tmp_path / "job.log", tmp_path / "scontrol.log"
    batch = job()
    deadline = time.monotonic() + 240
    while not (run / "metrics.jsonl").exists() or len(column(run, "step")) < 3:
        assert batch.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    batch.send_signal(signal.SIGUSR1)
    assert batch.wait(240) == 0, log.read_text()
    assert requeued.read_text() == "requeue 7"
    said = log.read_text()
    stopped = [int(step) for step in re.findall(r"stopped after step (\d+) of 30", said)]
    assert len(stopped) == 2, said
    assert (run / f"checkpoints/step-{stopped[0]:08d}").is_dir()
    requeued.unlink()
    assert job().wait(240) == 0, log.read_text()
    assert f"resumed at {stopped[0]}" in log.read_text()
    assert column(run, "step") == list(range(1, 31))
    assert (run / "final/model.safetensors").exists()
    assert not requeued.exists()
