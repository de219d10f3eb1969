"""Weights of readings: their counts, their spread, and what they may not touch. (Their means: diffusion_exactness.)"""

import math

import numpy as np
import pytest

from hornbook.errors import ConfigError
from hornbook.evaluation.mask_draws import bernoulli, by_block, every_mask, fixed_count

HIDEABLE = np.array([False, True, True, False, True, True, True])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("draws", [1, 2, 5, 12])
def test_a_fixed_count_weighs_length_over_count(draws):
    for seed in range(20):
        weights = fixed_count(HIDEABLE, rng(seed), draws=draws)
        counts = (weights > 0).sum(axis=1)
        assert (weights[:, ~HIDEABLE] == 0).all()
        assert weights.sum(axis=1) == pytest.approx(np.full(draws, 5 / draws))
        assert all(1 <= count <= 5 for count in counts)
        # As even as whole numbers can be: no count stands more than one time oftener than another.
        times = np.bincount(counts, minlength=6)[1:]
        assert times.max() - times.min() <= 1


@pytest.mark.parametrize("draws", [2, 3])
def test_every_count_is_as_likely_as_the_others(draws):
    """Each reading by itself: 5 counts, 4,000 seeds; the largest of 5 deviations stays within five standard ones.

    With two draws the second count lies 5 / 2 beyond the first: rounding would favour even ones.
    """
    firsts = [int((fixed_count(HIDEABLE, rng(seed), draws=draws)[1] > 0).sum()) for seed in range(4000)]
    found = np.bincount(firsts, minlength=6)[1:]
    assert np.abs(found - 800).max() < 5 * math.sqrt(4000 * 0.2 * 0.8)


def test_a_coin_weighs_one_over_its_probability():
    weights = bernoulli(HIDEABLE, rng(), draws=64)
    p = 1 / (64 * weights.max(axis=1, where=weights > 0, initial=1 / 64))
    assert (p <= 1).all()
    assert (weights[:, ~HIDEABLE] == 0).all()
    for row, q in zip(weights, p, strict=True):
        assert np.unique(row[row > 0]) == pytest.approx([1 / q / 64] if (row > 0).any() else [])


def test_probabilities_are_spread_evenly_over_what_is_allowed():
    starts = []
    for seed in range(50):
        weights = bernoulli(np.ones(200, dtype=bool), rng(seed), draws=8, min_mask_probability=0.3)
        p = np.sort(1 / (8 * weights.max(axis=1)))
        assert np.diff(p) == pytest.approx(np.full(7, 0.7 / 8))
        starts.append((p[0] - 0.3) / (0.7 / 8))
    assert 0 <= min(starts) < 0.2 < 0.8 < max(starts) < 1  # 0.8^50: 1 in 70,000


def test_every_mask_once():
    weights = every_mask(HIDEABLE)
    hidden = weights > 0
    assert len(weights) == len(np.unique(hidden, axis=0)) == 31
    assert weights.sum() == pytest.approx(5)  # each of the five tokens counts once in the mean
    with pytest.raises(ConfigError, match=r"2\^13 of them for 13 tokens"):
        every_mask(np.ones(13, dtype=bool))


def test_blocks_are_drawn_side_by_side():
    weights = by_block(lambda hideable, _: every_mask(hideable), HIDEABLE, rng(), block_length=3)
    assert weights.shape == (3, 7)  # the blocks hold two, two and one hideable tokens: three masks, three and one
    assert weights.sum() == pytest.approx(5)


def test_a_block_without_hideable_tokens_is_left_alone():
    hideable = np.array([False, False, True, True])
    weights = by_block(lambda own, source: fixed_count(own, source, draws=4), hideable, rng(), block_length=2)
    assert weights.shape == (4, 4)
    assert (weights[:, :2] == 0).all()
