"""Evaluate a language model on maths benchmarks: sample, grade, report.

python evaluate.py --model MODEL --benchmarks math500,gsm8k --samples 16 --output runs/eval
torchrun --standalone --nproc-per-node 8 evaluate.py --model MODEL --benchmarks aime24 --output runs/eval
python evaluate.py --compare runs/sft/eval runs/dft/eval          who is better, by how much, how surely
python evaluate.py --watch runs/dft --benchmarks math500          every checkpoint while training writes them
"""

import sys
from collections.abc import Sequence

from dftcore.cli import run_program
from dftcore.options import parse_options

MODES = (
    "Evaluate a model on maths benchmarks. Two other modes: --compare RUN RUN ... and --watch RUN, each with --help."
)


def main(argv: Sequence[str]) -> None:
    given = {word.partition("=")[0] for word in argv}
    if "--compare" in given:
        from dftcore.evaluation import CompareOptions, compare

        print(compare(parse_options(CompareOptions, argv, "evaluate.py", "Compare evaluations.").comparison))
    elif "--watch" in given:
        from dftcore.evaluation import WatchOptions, watch

        watch(parse_options(WatchOptions, argv, "evaluate.py", "Evaluate a training run's checkpoints."), print)
    else:
        from dftcore.evaluation import EvaluateOptions, evaluate, tables

        if results := evaluate(parse_options(EvaluateOptions, argv, "evaluate.py", MODES)):  # of the first rank
            print(tables(results))


if __name__ == "__main__":
    sys.exit(run_program("evaluate.py", main))
