"""Fine-tune a language model with DFT or another objective of its family.

python train.py --model MODEL --data DATA --objective dft --output runs/dft
torchrun --standalone --nproc-per-node 8 train.py --model MODEL --data DATA --output runs/dft
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
