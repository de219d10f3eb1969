"""Samples are shared out exactly: every part counts on from 0, and no prefix is off by more than a sample or two."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.data.proportions import Proportions

WEIGHTS = st.lists(st.sampled_from([0.001, 0.1, 0.3, 1.0, 2.0, 7.5, 1000.0]), min_size=1, max_size=9)


@settings(max_examples=40, deadline=None)
@given(WEIGHTS)
def test_each_part_counts_on_and_every_prefix_is_in_proportion(weights):
    """The bound is derived: half a sample at each of ceil(log2(parts)) forks."""
    proportions = Proportions(weights)
    total = sum(Fraction(str(weight)) for weight in weights)
    seen = [0] * len(weights)
    for sample in range(300):
        part, number = proportions.place(sample)
        assert number == seen[part]
        seen[part] += 1
        assert proportions.counts(sample + 1) == seen
        for weight, count in zip(weights, seen, strict=True):
            wanted = (sample + 1) * Fraction(str(weight)) / total
            assert abs(count - wanted) <= Fraction(math.ceil(math.log2(len(weights))), 2)


def test_the_pattern_of_the_docstring():
    assert "".join("AB"[Proportions([3, 1]).place(sample)[0]] for sample in range(12)) == "AABAAABAAABA"


@pytest.mark.parametrize("scale", [10, 0.5, 1000])
def test_only_ratios_count(scale):
    once, scaled = Proportions([0.3, 0.1, 0.6]), Proportions([0.3 * scale, 0.1 * scale, 0.6 * scale])
    assert [once.place(sample) for sample in range(50)] == [scaled.place(sample) for sample in range(50)]


def test_a_tenth_is_a_tenth_however_far_the_run_goes():
    """As binary numbers 0.1 and 0.9 do not add up to 1: after 10**20 samples that would show."""
    far = 10**20
    assert Proportions([0.1, 0.9]).counts(far) == [far // 10, far - far // 10]
    assert sum(Proportions([0.1, 0.2, 0.7]).counts(far + 7)) == far + 7


def test_one_part_takes_everything():
    assert [Proportions([0.25]).place(sample) for sample in (0, 1, 10**12)] == [(0, 0), (0, 1), (0, 10**12)]


def test_values_never_change():
    """Resuming relies on them: these were computed when it was written."""
    assert [Proportions([5, 2, 3]).place(sample) for sample in range(10)] == [
        (0, 0),
        (2, 0),
        (0, 1),
        (1, 0),
        (0, 2),
        (2, 1),
        (0, 3),
        (1, 1),
        (0, 4),
        (2, 2),
    ]
