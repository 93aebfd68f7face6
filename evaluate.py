"""Evaluate a language model on maths benchmarks: sample, grade, report.

python evaluate.py --model MODEL --benchmarks math500,gsm8k --samples 16 --output runs/eval
torchrun --standalone --nproc-per-node 8 evaluate.py --model MODEL --benchmarks aime24 --output runs/eval
"""

import sys
from collections.abc import Sequence

from dftcore.cli import run_program
from dftcore.options import parse_options


def main(argv: Sequence[str]) -> None:
    from dftcore.evaluation import EvaluateOptions, evaluate, table

    results = evaluate(parse_options(EvaluateOptions, argv, "evaluate.py", "Evaluate a model on maths benchmarks."))
    if results:  # of the first rank
        print(table(results))


if __name__ == "__main__":
    sys.exit(run_program("evaluate.py", main))
