"""The permutation is a bijection for every size, differs between keys, and shows no preference."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.data.order import BLOCK, SampleOrder, in_lanes, permute, permute_range


@pytest.mark.parametrize("n", [*range(1, 40), 63, 64, 65, 255, 256, 257, 1000, 4096])
def test_permute_is_a_bijection(n):
    assert sorted(permute(i, n, key=(7, 3)) for i in range(n)) == list(range(n))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 700), st.tuples(st.integers(0, 2**70), st.integers(0, 2**40)))
def test_permute_is_a_bijection_for_any_key(n, key):
    assert len({permute(i, n, key=key) for i in range(n)}) == n


@given(st.integers(1, 2**60), st.data())
def test_permute_stays_in_range_for_large_n(n, data):
    index = data.draw(st.integers(0, n - 1))
    assert 0 <= permute(index, n, key=(1,)) < n


@pytest.mark.parametrize("n", [1, 2, 3, 64, 65, 1000, 4097, 2**31 - 1, 2**60])
def test_many_at_once_are_the_same_places(n):
    for first in {0, max(0, n // 2 - 20), max(0, n - 40)}:
        last = min(n, first + 40)
        expected = [permute(i, n, key=(5, 2**70)) for i in range(first, last)]
        assert permute_range(first, last, n, key=(5, 2**70)).tolist() == expected


@pytest.mark.parametrize("n", [5, BLOCK, BLOCK + 1])
def test_an_order_is_the_permutation_sample_by_sample(n):
    order = SampleOrder(n, seed=3)
    for sample in (0, n - 1, n, n + 3, 2 * n - 1, 20 * n + 1, 0):
        epoch, index = divmod(sample, n)
        assert order.window(sample) == permute(index, n, key=(3, epoch))


@pytest.mark.parametrize("index", [-1, 10])
def test_permute_refuses_an_index_outside(index):
    with pytest.raises(ValueError, match=r"outside 0\.\.9"):
        permute(index, 10, key=(0,))


@pytest.mark.parametrize("n", [2, 3, 5, 8, 13])
def test_permute_is_uniform(n):
    """Chi-square over where each of n indices lands, 2,000 keys.

    Each row of counts has n - 1 degrees of freedom: mean n - 1, variance 2 (n - 1). The bound is mean + 6 sigma.
    """
    keys = 2000
    landed = Counter((i, permute(i, n, key=(seed, 0))) for seed in range(keys) for i in range(n))
    expected = keys / n
    for i in range(n):
        chi_square = sum((landed[i, j] - expected) ** 2 / expected for j in range(n))
        assert chi_square < (n - 1) + 6 * (2 * (n - 1)) ** 0.5


def test_permute_leaves_no_neighbours_together():
    """Of 4,096 neighbours a random permutation keeps two in sequence (+1) about once; a weak one keeps many."""
    n = 4096
    order = [permute(i, n, key=(1, 2)) for i in range(n)]
    assert sum(b - a == 1 for a, b in pairwise(order)) < 10


def test_values_never_change():
    """The order is part of what resuming relies on: these were computed by this function when it was written."""
    assert [permute(i, 10, key=(1337, 0)) for i in range(10)] == [6, 0, 7, 3, 4, 1, 5, 2, 8, 9]


def test_every_epoch_reads_every_window_once_in_another_order():
    order = SampleOrder(50, seed=1)
    epochs = [[order.window(sample) for sample in range(e * 50, e * 50 + 50)] for e in range(4)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert [order.epoch(s) for s in (0, 49, 50, 10**12)] == [0, 0, 1, 2 * 10**10]


def test_other_seed_other_order():
    first, second = ([SampleOrder(50, seed=seed).window(sample) for sample in range(50)] for seed in (1, 2))
    assert first != second


def test_sequential_order_counts():
    order = SampleOrder(3, seed=1, kind="sequential")
    assert [order.window(sample) for sample in range(7)] == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("lanes", [1, 2, 3, 7, 50, 64])
@pytest.mark.parametrize("n", [1, 2, 7, 48, 49, 50])
def test_lanes_go_through_stretches_of_their_own(n, lanes):
    read = [in_lanes(index, n, lanes) for index in range(n)]
    assert sorted(read) == list(range(n))
    stretches = [read[lane :: min(lanes, n)] for lane in range(min(lanes, n))]
    assert [window for stretch in stretches for window in stretch] == list(range(n))
    assert len(stretches[0]) - len(stretches[-1]) in (0, 1)


@pytest.mark.parametrize("kind", ["shuffled", "random", "sequential", "distributed"])
def test_every_kind_reads_everything_once_an_epoch_at_any_place(kind):
    order = SampleOrder(23, seed=3, kind=kind, lanes=5)
    for epoch in (0, 1, 10**9):
        assert sorted(order.window(epoch * 23 + index) for index in range(23)) == list(range(23))


def test_random_is_what_others_call_shuffled():
    one, other = (SampleOrder(40, seed=3, kind=kind) for kind in ("shuffled", "random"))
    assert [one.window(sample) for sample in range(99)] == [other.window(sample) for sample in range(99)]
