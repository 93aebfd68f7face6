"""The order of the vocabulary: always a permutation, blind to rows that do not count, and worth its trouble."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dftcore import linear_token_logprobs
from dftcore.kernels.budget import BLOCK
from dftcore.kernels.order import GROUP, vocabulary_order
from dftcore.losses.routing import block_count, route

ROWS, DIM, VOCAB = 300, 32, 6000


def strewn_problem() -> tuple[Tensor, Tensor, Tensor]:
    """A tenth of the vocabulary carries most of every softmax, and lies all over it; hidden, weight, targets."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(ROWS, DIM, generator=generator)
    weight = 0.5 * torch.randn(VOCAB, DIM, generator=generator)
    hidden[:, 0], weight[:, 0] = 1.0, -6.0
    weight[torch.randperm(VOCAB, generator=generator)[: VOCAB // 10], 0] = 6.0
    return hidden, weight, torch.multinomial((hidden @ weight.T).softmax(-1), 1, generator=generator).squeeze(-1)


def order_of(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return vocabulary_order(hidden, torch.arange(len(hidden)), len(hidden), weight, bias)


def kept(hidden: Tensor, weight: Tensor, targets: Tensor, order: Tensor) -> float:
    """Share of the pairs that a backward of the mean log-probability computes at the default budget."""
    logp = (hidden @ weight[order].T).log_softmax(-1)
    padded = torch.nn.functional.pad(logp.exp(), (0, block_count(VOCAB) * BLOCK - VOCAB))
    places = order.argsort()[targets]
    log_mass = padded.unflatten(-1, (-1, BLOCK)).sum(-1).log()
    routes = route(torch.ones(ROWS), logp.gather(-1, places[:, None]).squeeze(-1), log_mass, places, VOCAB, 2.0**-8)
    return float(routes.keep.float().mean())


def test_frequent_entries_that_lie_apart_cost_few_blocks():
    hidden, weight, targets = strewn_problem()
    natural = kept(hidden, weight, targets, torch.arange(VOCAB))
    ordered = kept(hidden, weight, targets, order_of(hidden, weight))
    assert natural > 0.8
    assert ordered < 0.3


def test_a_bias_takes_part():
    hidden, weight, _ = strewn_problem()
    weight[:, 0] = 0.0
    bias = torch.linspace(-20.0, 20.0, VOCAB)
    groups = order_of(hidden, weight, bias).split(GROUP * BLOCK)
    assert groups[0].min() > groups[-1].max()


@pytest.mark.parametrize("fill", [0.0, torch.nan, torch.inf], ids=str)
@pytest.mark.parametrize("rows", [1, ROWS])
def test_it_is_a_permutation_whatever_the_states(fill, rows):
    _, weight, _ = strewn_problem()
    order = order_of(torch.full((rows, DIM), fill), weight)
    assert torch.equal(order.sort().values, torch.arange(VOCAB))


def test_rows_that_do_not_count_change_nothing():
    hidden, weight, _ = strewn_problem()
    rows = torch.arange(0, ROWS, 3)
    expected = order_of(hidden[rows], weight)
    padded = torch.cat((rows, torch.zeros(ROWS - len(rows), dtype=torch.int64)))
    hidden[1::3] = torch.nan
    assert torch.equal(vocabulary_order(hidden, padded, torch.tensor(len(rows)), weight, None), expected)


def test_the_loss_does_not_depend_on_how_the_vocabulary_lies():
    hidden, weight, targets = strewn_problem()
    shuffle = torch.randperm(VOCAB, generator=torch.Generator().manual_seed(1))
    first = linear_token_logprobs(hidden, weight, targets, backend="torch").logprob
    second = linear_token_logprobs(hidden, weight[shuffle], shuffle.argsort()[targets], backend="torch").logprob
    torch.testing.assert_close(first, second)
