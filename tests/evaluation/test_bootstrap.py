"""Intervals that hold what they promise: of independent and of correlated tokens, of few blocks and of many."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from hornbook.evaluation.bootstrap import block_sums, interval, resampled_sums


def means_interval(values, block, *, level=0.95, seed=0, resamples=400):
    sums = block_sums(np.stack([values, np.ones(len(values))], axis=1), np.arange(len(values)) // block)
    redrawn = resampled_sums(sums, resamples=resamples, seed=seed)
    return interval(redrawn[:, 0] / redrawn[:, 1], level=level, n_blocks=len(sums))


def covers(found, truth) -> bool:
    return found[0] <= truth <= found[1]


def test_sums_of_blocks():
    values = np.arange(12.0).reshape(6, 2)
    assert block_sums(values, np.array([0, 0, 5, 2, 2, 2])).tolist() == [[2, 4], [6 + 8 + 10, 7 + 9 + 11], [4, 5]]


def test_the_same_seed_draws_the_same():
    sums = np.random.default_rng(1).normal(size=(20, 2))
    first, again, other = (resampled_sums(sums, resamples=100, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.mean(axis=0) == pytest.approx(sums.sum(axis=0), abs=4 * math.sqrt(20 * 20 / 100))


def test_of_many_blocks_it_is_the_normal_interval():
    """400 blocks, 20,000 redrawn means: quantiles of the tails are known to 1 %, the rest is of order 1 / 400."""
    values = np.random.default_rng(2).normal(size=400)
    low, high = means_interval(values, 1, level=0.9, resamples=20_000)
    reach = NormalDist().inv_cdf(0.95) * values.std(ddof=1) / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - reach, values.mean() + reach), abs=0.03 * reach)


@pytest.mark.parametrize("blocks", [8, 50])
def test_few_blocks_keep_the_promise(blocks):
    """400 samples of normal blocks at 95 %: 92 % to 98 % hold the truth but for chance (3 deviations)."""
    rng = np.random.default_rng(3)
    held = sum(covers(means_interval(rng.normal(size=blocks), 1), 0.0) for _ in range(400))
    assert held / 400 == pytest.approx(0.95, abs=0.03 + 3 * math.sqrt(0.95 * 0.05 / 400))


def test_tokens_that_are_alike_need_blocks():
    """Noise that lasts for 20 tokens: tokens as units are far too sure, blocks of 200 are not."""
    rng = np.random.default_rng(4)
    held = {1: 0, 200: 0}
    for _ in range(100):
        values = np.convolve(rng.normal(size=4019), np.ones(20), "valid")
        for block in held:
            held[block] += covers(means_interval(values, block, resamples=200), 0.0)
    assert held[1] / 100 < 0.6
    assert held[200] / 100 > 0.85


def test_a_single_block_says_nothing():
    assert means_interval(np.ones(5), 10) is None
