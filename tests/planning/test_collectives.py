"""Costs of collectives by the alpha-beta model: limits, and the algorithms acted out message by message."""

import pytest

from hornbook.planning.collectives import Link, Network, all_reduce, reduce_scatter

LINK = Link(latency=1e-5, bandwidth=1e9)


def acted_ring(n: int, n_bytes: float) -> float:
    """A ring step by step: in each of 2 (n - 1) rounds everybody passes on a piece of 1 / n, all at once."""
    seconds = 0.0
    for _ in range(2 * (n - 1)):
        seconds += LINK.latency + n_bytes / n / LINK.bandwidth
    return seconds


def acted_halving(n: int, n_bytes: float) -> float:
    """Halving: exchange half of what is left with a partner, n / 2 away, n / 4, ...; doubling is the way back."""
    seconds, piece = 0.0, n_bytes
    for _ in range(n.bit_length() - 1):
        piece /= 2
        seconds += 2 * (LINK.latency + piece / LINK.bandwidth)
    return seconds


@pytest.mark.parametrize("n", [1, 2, 3, 8, 100])
def test_ring(n):
    assert all_reduce(LINK, 1e6, n, "ring") == pytest.approx(acted_ring(n, 1e6))
    assert reduce_scatter(LINK, 1e6, n) == pytest.approx(acted_ring(n, 1e6) / 2)


@pytest.mark.parametrize("n", [2, 8, 1024])
def test_the_fastest_is_halving_and_doubling_where_latency_counts(n):
    assert all_reduce(LINK, 1e3, n, "fastest") == pytest.approx(acted_halving(n, 1e3))


def test_large_sums_cost_twice_their_bytes_however_many_there_are():
    for n in (64, 4096):
        assert all_reduce(LINK, 1e12, n, "fastest") == pytest.approx(2e12 * (n - 1) / n / 1e9, rel=1e-6)


def test_one_process_has_nothing_to_do():
    network = Network(inside=LINK, between=LINK, per_machine=1)
    assert network.all_reduce(1e9, 1) == network.all_gather(1e9, 1) == 0.0


def test_machines_are_three_stages():
    """8 processes on 2 machines: scatter over 4, sum pieces of a quarter over 2, gather over 4."""
    fast = Link(latency=1e-6, bandwidth=1e11)
    network = Network(inside=fast, between=LINK, per_machine=4, algorithm="ring")
    inside = 3 * (1e-6 + 1e8 / 4 / 1e11)
    between = 2 * (1e-5 + 1e8 / 4 / 2 / 1e9)
    assert network.all_reduce(1e8, 8) == pytest.approx(inside + between + inside)
    assert network.all_gather(1e8, 8) == pytest.approx(between / 2 + inside)
    assert network.all_reduce(1e8, 4) == pytest.approx(2 * inside)


def test_more_processes_never_sum_faster():
    network = Network(inside=LINK, between=LINK, per_machine=8)
    times = [network.all_reduce(1e7, n) for n in (1, 2, 4, 8, 16, 64, 512, 4096)]
    assert times == sorted(times)
