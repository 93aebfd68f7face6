"""Offline RL: responses of a model sampled, verified, and turned into data that train.py learns from.

sample    k responses a question, into samples.jsonl
verify    the right ones -> verified.jsonl (sft, rft, dft, iw_sft, ...); right and wrong -> pairs.jsonl (dpo)
pipeline  both, then a run for each objective, their evaluation, and the report
"""
