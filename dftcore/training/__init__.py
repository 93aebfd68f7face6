"""Training, as train.py runs it: options -> run (find, build, resume, export) -> loop (steps)."""

from dftcore.training.export import ExportConfig, export_checkpoint
from dftcore.training.options import TrainOptions
from dftcore.training.run import train

__all__ = ["ExportConfig", "TrainOptions", "export_checkpoint", "train"]
