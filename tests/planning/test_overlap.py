"""A step's time in the cases that have a closed form, and how the size of buckets is chosen."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.planning.overlap import (
    Communication,
    Compute,
    Gradient,
    best_bucket,
    bucket_sizes,
    gradients,
    step_time,
)

COMPUTE = Compute(forward=1.0, backward=tuple(Gradient(0.1, 100) for _ in range(20)), update=0.5)


def network(latency: float = 0.0, bandwidth: float = float("inf"), **more) -> Communication:
    return Communication(all_reduce=lambda n_bytes: latency + n_bytes / bandwidth, **{"small_sums": 0, **more})


def seconds(communication: Communication, bucket_bytes: float, compute: Compute = COMPUTE) -> float:
    return step_time(compute, communication, bucket_bytes=bucket_bytes).seconds


@pytest.mark.parametrize("bucket_bytes", [0, 1, 250, 10_000])
def test_a_free_network_costs_nothing(bucket_bytes):
    assert seconds(network(), bucket_bytes) == pytest.approx(COMPUTE.seconds) == pytest.approx(3.5)


def test_one_bucket_hides_nothing():
    found = step_time(COMPUTE, network(latency=0.2, bandwidth=1000.0), bucket_bytes=0)
    assert found.seconds == pytest.approx(COMPUTE.seconds + 0.2 + 2.0)
    assert found.exposed == pytest.approx(found.network) == pytest.approx(2.2)
    assert found.buckets == 1


def test_a_fast_network_shows_only_the_last_bucket():
    """4 gradients a bucket, 0.4 s of backward each; a sum of 400 bytes takes 0.3 s."""
    found = step_time(COMPUTE, network(latency=0.1, bandwidth=2000.0), bucket_bytes=400)
    assert found.buckets == 5
    assert found.seconds == pytest.approx(COMPUTE.seconds + 0.3)


def test_a_slow_network_shows_all_but_the_first_bucket_s_computing():
    """The network is busy from the first bucket on: 1 + 0.4 until then, 5 sums of 1 s, the update."""
    assert seconds(network(bandwidth=400.0), 400) == pytest.approx(1.0 + 0.4 + 5 * 1.0 + 0.5)


def test_micro_batches_before_the_last_send_nothing():
    more = replace(COMPUTE, micro_batches=4)
    assert seconds(network(bandwidth=400.0), 400, more) == pytest.approx(
        3 * 3.0 + seconds(network(bandwidth=400.0), 400)
    )


def test_small_sums_are_waited_for():
    assert seconds(network(latency=0.01, small_sums=3), 0) == pytest.approx(COMPUTE.seconds + 3 * 0.01 + 0.01)


def test_a_sharded_update_is_shorter_and_its_parameters_go_round():
    """Update 0.25 s, then 2,000 bytes in 5 buckets of 0.2 s each."""
    sharded = network(all_gather=lambda n_bytes: n_bytes / 2000.0, update_share=0.5)
    assert seconds(sharded, 400) == pytest.approx(COMPUTE.seconds - 0.25 + 1.0)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=40), st.integers(0, 3000))
def test_buckets_keep_the_order_and_the_limit(sizes, limit):
    buckets = bucket_sizes(sizes, limit)
    assert [number for bucket in buckets for number in bucket] == list(range(len(sizes)))
    totals = [sum(sizes[number] for number in bucket) for bucket in buckets]
    if limit:
        assert all(total <= limit or len(bucket) == 1 for total, bucket in zip(totals, buckets, strict=True))
        firsts = [sizes[bucket[0]] for bucket in buckets[1:]]  # no bucket could have taken one more
        assert all(total + first > limit for total, first in zip(totals, firsts, strict=False))
    else:
        assert len(buckets) == 1


def test_latency_wants_larger_buckets():
    sizes = (100, 200, 400, 1000, 0)
    best = [best_bucket(COMPUTE, network(latency=latency, bandwidth=1500.0), sizes) for latency in (0.0, 0.05, 10.0)]
    assert best[0] == 100
    assert best[0] < best[1] < 1000
    assert best[2] == 0


def test_a_timeline_from_arrivals():
    assert gradients([0.5, 0.75, 0.75, 2.0], [1, 2, 3, 4]) == (
        Gradient(0.5, 1),
        Gradient(0.25, 2),
        Gradient(0.0, 3),
        Gradient(1.25, 4),
    )
