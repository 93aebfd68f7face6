"""The order of examples and how they are dealt: pure, complete, balanced, the same number of passes everywhere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dftcore.data.batching import collate, deal, examples_of_step, total_steps
from dftcore.data.documents import IGNORE, Counts, Documents


def documents_of(lengths) -> Documents:
    tokens = np.arange(sum(lengths), dtype=np.int32)
    counts = Counts(len(lengths), 0, 0, len(tokens), 0)
    classes = (tokens % 4).astype(np.uint8)
    return Documents(tokens, tokens + 1000, classes, np.cumsum([0, *lengths]), np.arange(len(lengths)), counts, "")


@given(st.integers(1, 60), st.integers(1, 20), st.sampled_from([0.5, 1.0, 2.0, 2.5]), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_run_sees_every_example_once_an_epoch(examples, batch_size, epochs, seed):
    steps = total_steps(examples, batch_size, epochs, None)
    seen = [i for step in range(steps) for i in examples_of_step(examples, batch_size, epochs, seed, step)]
    assert len(seen) == max(1, int(examples * epochs))
    for start in range(0, len(seen) - examples + 1, examples):
        assert sorted(seen[start : start + examples]) == list(range(examples))


def test_a_step_is_a_pure_function_of_seed_and_step():
    late = examples_of_step(1000, 32, 5, seed=4, step=120)
    assert late == examples_of_step(1000, 32, 5, seed=4, step=120)
    assert late != examples_of_step(1000, 32, 5, seed=5, step=120)
    first, second = (
        [i for step in steps for i in examples_of_step(64, 32, 2, seed=4, step=step)] for steps in ((0, 1), (2, 3))
    )
    assert sorted(first) == sorted(second)
    assert first != second, "each epoch has an order of its own"


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(1, 4),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_dealing_loses_nothing_and_keeps_ranks_in_step(lengths, ranks, micro_batch_size, packing):
    indices = list(range(len(lengths)))
    passes = deal(indices, np.array(lengths), ranks, micro_batch_size, 50, packing)
    assert len({len(own) for own in passes}) == 1
    assert sorted(i for own in passes for rows in own for row in rows for i in row) == indices
    assert all(len(rows) <= micro_batch_size for own in passes for rows in own)
    for row in (row for own in passes for rows in own for row in rows):
        assert sum(lengths[i] for i in row) <= 50 if packing else len(row) == 1


def test_no_rank_idles_while_others_work():
    passes = deal(range(32), np.full(32, 10), ranks=8, micro_batch_size=8, max_length=50, packing=False)
    assert [[len(rows) for rows in own] for own in passes] == [[4]] * 8


def test_packed_passes_are_balanced():
    lengths = np.random.default_rng(0).integers(20, 400, 256)
    passes = deal(range(256), lengths, 4, 1, 2048, True)
    loads = [sum(lengths[i] for i in row) for own in passes for rows in own for row in rows]
    assert max(loads) - min(loads) < 0.02 * max(loads)


def test_collate_packed_restarts_positions_and_has_no_mask():
    batch = collate(documents_of([3, 2, 4]), [[1, 0], [2]], packing=True, pad_token_id=9)
    assert batch.attention_mask is None
    assert batch.input_ids.tolist() == [[3, 4, 0, 1, 2], [5, 6, 7, 8, 9]]
    assert batch.position_ids.tolist() == [[0, 1, 0, 1, 2], [0, 1, 2, 3, 0]]
    assert batch.targets.tolist() == [[1003, 1004, 1000, 1001, 1002], [1005, 1006, 1007, 1008, IGNORE]]
    assert batch.classes.tolist() == [[3, 0, 0, 1, 2], [1, 2, 3, 0, 0]]
    assert batch.boundaries is not None
    assert (batch.boundaries.tolist(), batch.longest) == ([0, 2, 5, 9, 10], 4)
    assert batch.tokens == 9


def test_collate_padded_masks_padding_and_labels():
    batch = collate(documents_of([3, 2]), [[1], [0]], packing=False, pad_token_id=9)
    assert batch.input_ids.tolist() == [[3, 4, 9], [0, 1, 2]]
    assert batch.attention_mask is not None
    assert batch.attention_mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.targets[0, 2] == IGNORE


@pytest.mark.parametrize("packing", [True, False])
def test_an_empty_pass_has_a_token_and_no_target(packing):
    batch = collate(documents_of([3]), [], packing, pad_token_id=9)
    assert batch.input_ids.numel() == 1
    assert torch.equal(batch.targets, torch.full((1, 1), IGNORE))
