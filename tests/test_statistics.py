"""Accuracy and its intervals, pass@k, maj@k and the bootstrap: by hand, by enumeration, by simulation."""

from itertools import combinations

import numpy as np
import pytest

from dftcore.statistics import average_accuracy, bootstrap_mean, majority_at_k, pass_at_k, sizes, wilson


def test_average_accuracy_by_hand():
    found = average_accuracy([[True, False], [True, True], [False, False]])
    assert found.value == pytest.approx(0.5)
    assert (found.questions, found.samples) == (3, 6)
    assert found.sampling_error == pytest.approx((0.25 / 1) ** 0.5 / 3)
    effective = 0.25 / (0.25 / 3)
    assert (found.low, found.high) == pytest.approx(wilson(0.5, effective))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """1,000 simulated evaluations, 60 questions of differing difficulty x 4 samples: about 95 % coverage."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        difficulty = rng.beta(0.6, 1.4, 60)
        found = average_accuracy((rng.random((60, 4)) < difficulty[:, None]).tolist())
        covered += found.low <= 0.6 / 2.0 <= found.high
    assert 0.925 <= covered / 1000 <= 0.975


def test_wilson_against_published_values():
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert average_accuracy([[True]] * 5).high == 1.0


def test_sizes_are_powers_of_two_and_the_number_of_samples():
    assert [sizes(n) for n in (1, 2, 4, 6, 16)] == [[1], [1, 2], [1, 2, 4], [1, 2, 4, 6], [1, 2, 4, 8, 16]]


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(k):
    for correct in range(8):
        samples = [index < correct for index in range(7)]
        subsets = list(combinations(samples, k))
        assert pass_at_k(7, correct, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-15)
    with pytest.raises(ValueError, match="pass@8 needs"):
        pass_at_k(7, 0, 8)


def test_pass_at_k_stays_exact_where_floating_point_would_cancel():
    assert pass_at_k(1000, 1, 1) == 0.001
    assert 0.0 < 1.0 - pass_at_k(200, 100, 40) < 1e-12


def elected(votes, k):
    """maj@k by trying every subset. votes: a number for each sample, 0 correct, None without an answer."""
    subsets = list(combinations(votes, k))
    won = 0.0
    for subset in subsets:
        given = [vote for vote in subset if vote is not None]
        counts = {vote: given.count(vote) for vote in given}
        leaders = [vote for vote, count in counts.items() if count == max(counts.values())]
        won += (0 in leaders) / len(leaders) if leaders else 0.0
    return won / len(subsets)


def test_majority_is_that_of_every_subset_with_ties_shared():
    rng = np.random.default_rng(2)
    for _ in range(60):
        votes = [None if vote == 4 else int(vote) for vote in rng.integers(0, 5, size=rng.integers(1, 9))]
        wrong = [votes.count(answer) for answer in (1, 2, 3) if answer in votes]
        for k in range(1, len(votes) + 1):
            found = majority_at_k(votes.count(0), wrong, votes.count(None), k)
            assert found == pytest.approx(elected(votes, k), abs=1e-12)


def test_majority_by_hand():
    assert majority_at_k(2, [2], 0, 4) == 0.5, "a tie of two is shared"
    assert majority_at_k(1, [1, 1, 1], 0, 4) == 0.25
    assert majority_at_k(1, [], 15, 16) == 1.0, "samples without an answer do not vote"
    assert majority_at_k(0, [3], 1, 4) == 0.0
    assert majority_at_k(0, [], 4, 4) == 0.0


def test_the_paired_bootstrap_errs_as_often_as_it_says():
    """400 simulated pairs of equal runs, 50 questions x 4 samples: about 5 % of the intervals miss 0."""
    rng = np.random.default_rng(3)
    missed = 0
    for _ in range(400):
        difficulty = rng.beta(0.6, 1.4, 50)[:, None]
        first, second = ((rng.random((50, 4)) < difficulty).mean(1) for _ in range(2))
        found = bootstrap_mean([first - second], seed=0, resamples=1000)
        missed += not found.low <= 0.0 <= found.high
    assert 0.02 <= missed / 400 <= 0.09


def test_the_bootstrap_is_seeded_and_benchmarks_count_alike():
    rng = np.random.default_rng(4)
    small, large = rng.normal(0.0, 1.0, 20), rng.normal(1.0, 1.0, 500)
    found = bootstrap_mean([small, large], seed=7)
    assert found == bootstrap_mean([small, large], seed=7) != bootstrap_mean([small, large], seed=8)
    assert found.value == pytest.approx((small.mean() + large.mean()) / 2)
    error = (small.var() / 20 + large.var() / 500) ** 0.5 / 2
    assert (found.low, found.high) == pytest.approx((found.value - 1.96 * error, found.value + 1.96 * error), abs=0.02)
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_mean([[]], seed=0)
