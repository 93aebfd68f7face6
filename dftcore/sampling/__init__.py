"""Completions of questions: back-ends behind one interface, and the run that fills an append-only log with them."""

from dftcore.sampling.backends import Backend, load_sampler, refuse_absent
from dftcore.sampling.interface import Decoding, Generation, Request, Sampler, StopRule, sample_seed
from dftcore.sampling.run import (
    PATIENCE,
    BackendOptions,
    SampledModelOptions,
    SamplingOptions,
    draw_samples,
    key_of,
    merge,
    refuse_other_settings,
)

__all__ = [
    "PATIENCE",
    "Backend",
    "BackendOptions",
    "Decoding",
    "Generation",
    "Request",
    "SampledModelOptions",
    "Sampler",
    "SamplingOptions",
    "StopRule",
    "draw_samples",
    "key_of",
    "load_sampler",
    "merge",
    "refuse_absent",
    "refuse_other_settings",
    "sample_seed",
]
