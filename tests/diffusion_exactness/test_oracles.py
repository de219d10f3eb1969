"""The oracles agree among themselves, and where a number is known, with it."""

import math

import numpy as np
import pytest

from diffusion_exactness.adapter import Sampling
from diffusion_exactness.chi_square import p_value
from diffusion_exactness.oracles import Sampler, ancestral, by_counts, by_orders, by_probability, transfer_counts
from diffusion_exactness.toys import arbitrary, consistent, joint, nats

TEXT = (2, 0, 1, 1)


@pytest.mark.parametrize("places", [(0, 1, 2, 3), (1, 3), (2,)])
def test_any_order_identity(places):
    """For any conditionals whatever: fixed counts, all orders and the integral over p are one number."""
    toy = arbitrary(1)
    roads = [road(toy, TEXT, places) for road in (by_counts, by_orders, by_probability)]
    assert roads[1:] == pytest.approx([roads[0]] * 2, rel=1e-12)


def test_of_a_joint_distribution_it_is_the_likelihood():
    p = joint(2)
    assert by_counts(consistent(p), TEXT, range(4)) == pytest.approx(nats(p, TEXT), rel=1e-12)
    assert by_counts(consistent(p), TEXT, (2, 3)) == pytest.approx(nats(p, TEXT, given=2), rel=1e-12)


def test_conditionals_of_a_joint_distribution_sum_to_one():
    toy = consistent(joint(3))
    rows = np.exp(toy.table[..., : toy.vocab] - toy.logits(np.full(4, 3))[0].max())
    given_all = toy.logits(np.array([0, 3, 2, 1]))[1, :3]
    p = joint(3)[0, :, 2, 1]
    assert np.exp(given_all) == pytest.approx(p, rel=1e-12)
    assert np.isfinite(rows).all()


def test_random_order_one_by_one_is_ancestral_sampling():
    toy, one_by_one = arbitrary(4), Sampling(new_tokens=3, block_length=3)
    ours = Sampler(toy, one_by_one).distribution((1,))
    theirs = ancestral(toy, (1,), 3)
    assert sum(theirs.values()) == pytest.approx(1.0, rel=1e-12)
    assert ours == pytest.approx(dict(theirs), rel=1e-12)


def test_of_a_joint_distribution_the_order_does_not_matter():
    p = joint(5)
    given = p[1] / p[1].sum()
    for remasking in ("random", "low_confidence", "margin", "entropy"):
        found = Sampler(consistent(p), Sampling(new_tokens=3, block_length=3, remasking=remasking)).distribution((1,))
        assert math.fsum(found.values()) == pytest.approx(1.0, rel=1e-12)
        if remasking in ("random", "margin", "entropy"):  # the choice does not look at the drawn token
            assert found == pytest.approx(dict(np.ndenumerate(given)), rel=1e-12)


def test_transfer_counts():
    assert transfer_counts(128, 100) == [2] * 28 + [1] * 72
    assert transfer_counts(4, 2) == [2, 2]


def test_chi_square():
    fair = {(0,): 0.5, (1,): 0.5}
    assert p_value([(0,)] * 50 + [(1,)] * 50, fair) == 1.0
    # 60 of 100: statistic 4, of which a chi-square of one degree of freedom is larger with erfc(sqrt(2)).
    assert p_value([(0,)] * 60 + [(1,)] * 40, fair) == pytest.approx(math.erfc(math.sqrt(2)))
    assert p_value([(2,)], fair) == 0.0
