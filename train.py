r"""Fine-tune a language model with DFT or another objective of its family.

    python train.py --model MODEL --data DATA --output runs/dft                                       # one process
    torchrun --standalone --nproc-per-node 8 train.py --model MODEL --data DATA --output runs/dft     # one node

The same command again goes on from the newest complete checkpoint, on any number of ranks. SIGTERM, SIGUSR1 and Ctrl-C,
to all ranks or to one, save and stop between two steps. torchrun gives its workers 30 s to stop, less than a large save
may take: `--shutdown-timeout 600` gives them ten minutes. `--max-restarts 3` restarts all workers when one dies.

On SLURM, `sbatch FILE` with the lines below in a file next to this one. Ten minutes before its time limit the job
saves, stops and queues itself again; a job that has failed does not.

    #!/bin/bash
    #SBATCH --job-name=dft --nodes=4 --ntasks-per-node=1 --gpus-per-node=8 --cpus-per-task=64 --exclusive
    #SBATCH --time=24:00:00 --signal=B:USR1@600 --requeue --open-mode=append
    trap 'stopped=yes; kill -USR1 "$step"' USR1
    host=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" \
        torchrun --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "$SLURM_GPUS_ON_NODE" \
        --rdzv-backend c10d --rdzv-endpoint "$host:${PORT:-29500}" --rdzv-id "$SLURM_JOB_ID" --max-restarts 3 \
        --signals-to-handle SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 --shutdown-timeout 570 \
        train.py --config dft.yaml --output runs/dft &
    step=$!
    wait "$step"; status=$?
    [ -z "$stopped" ] || { wait "$step"; exec scontrol requeue "$SLURM_JOB_ID"; }
    exit "$status"
"""

import sys
from collections.abc import Sequence

from dftcore.cli import run_program
from dftcore.options import parse_options


def main(argv: Sequence[str]) -> None:
    from dftcore.training import TrainOptions, train

    train(parse_options(TrainOptions, argv, "train.py", "Fine-tune a language model with DFT or its family."))


if __name__ == "__main__":
    sys.exit(run_program("train.py", main))
