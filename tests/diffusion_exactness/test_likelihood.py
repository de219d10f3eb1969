"""Three estimators of one number, and the any-order identity that says which number it is."""

import statistics

import pytest

from diffusion_exactness.oracles import blocks, by_counts, by_orders, by_probability
from diffusion_exactness.toys import arbitrary, consistent, joint, nats

TEXT = (2, 0, 1, 1)
TOY = arbitrary(21)
SEEDS = 200


@pytest.mark.parametrize("given", [0, 1, 3])
def test_enumeration_is_the_mean_over_all_orders(adapter, given):
    found = adapter.likelihood(TOY, TEXT, given=given, estimator="exact")
    assert found == pytest.approx(by_orders(TOY, TEXT, range(given, 4)), rel=1e-12)


@pytest.mark.parametrize("given", [0, 2])
def test_enumeration_is_the_likelihood_of_a_joint_distribution(adapter, given):
    p = joint(22)
    found = adapter.likelihood(consistent(p), TEXT, given=given, estimator="exact")
    assert found == pytest.approx(nats(p, TEXT, given=given), rel=1e-12)


@pytest.mark.parametrize("block_length", [1, 2, 3])
def test_of_blocks_it_is_the_sum_over_blocks_each_given_those_before(adapter, block_length):
    found = adapter.likelihood(TOY, TEXT, given=0, estimator="exact", block_length=block_length)
    expected = sum(by_orders(TOY, TEXT, places, later) for places, later in blocks(4, block_length))
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("block_length", [None, 2])
@pytest.mark.parametrize("given", [0, 1])
@pytest.mark.parametrize("draws", [1, 3, 8])
@pytest.mark.parametrize("estimator", ["fixed_count", "bernoulli"])
def test_the_random_estimators_have_that_mean(adapter, estimator, draws, given, block_length):
    """Five standard errors of the mean over seeds."""
    found = [
        adapter.likelihood(
            TOY, TEXT, given=given, estimator=estimator, draws=draws, seed=seed, block_length=block_length
        )
        for seed in range(SEEDS)
    ]
    expected = 0.0
    for places, later in blocks(4, block_length):
        own = [place for place in places if place >= given]
        if estimator == "fixed_count":
            expected += by_counts(TOY, TEXT, own, later) if own else 0.0
        elif own:
            expected += by_probability(TOY, TEXT, own, later, low=adapter.min_mask_probability)
    error = statistics.stdev(found) / SEEDS**0.5
    assert abs(statistics.mean(found) - expected) < 5 * error + 1e-12


def test_one_hidden_token_needs_one_draw(adapter):
    one = adapter.likelihood(TOY, TEXT, given=3, estimator="fixed_count", draws=1)
    assert one == pytest.approx(by_orders(TOY, TEXT, [3]), rel=1e-12)


def test_fixed_counts_scatter_less_than_coins(adapter):
    spread = {
        estimator: statistics.stdev(
            adapter.likelihood(TOY, TEXT, given=0, estimator=estimator, draws=8, seed=seed) for seed in range(SEEDS)
        )
        for estimator in ("fixed_count", "bernoulli")
    }
    assert spread["fixed_count"] < 0.8 * spread["bernoulli"]
