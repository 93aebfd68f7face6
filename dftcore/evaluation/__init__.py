"""Evaluation on questions with reference answers: sample, grade, report; comparing runs; watching a training run."""

from dftcore.evaluation.comparison import CompareOptions, compare
from dftcore.evaluation.options import EvaluateOptions
from dftcore.evaluation.report import tables
from dftcore.evaluation.run import evaluate
from dftcore.evaluation.watching import WatchOptions, watch

__all__ = ["CompareOptions", "EvaluateOptions", "WatchOptions", "compare", "evaluate", "tables", "watch"]
