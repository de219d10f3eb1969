"""What was put in comes out: links from their own costs, steps from a world that the model describes."""

from dataclasses import replace

import pytest

from hornbook.planning.calibration import (
    Measured,
    StepMeasured,
    SumTime,
    communication,
    fit_link,
    interference,
    predictions,
)
from hornbook.planning.collectives import Link, all_reduce
from hornbook.planning.overlap import COMPUTE, NETWORK, Compute, Gradient, step_time

SIZES = [2**power for power in range(12, 27, 2)]


def sums(link: Link, n: int) -> tuple[SumTime, ...]:
    return tuple(SumTime(n_bytes=size, seconds=all_reduce(link, size, n, "ring")) for size in SIZES)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_a_link_is_found_again(n):
    link = Link(latency=37e-6, bandwidth=1.3e9)
    found = fit_link(sums(link, n), n)
    assert (found.latency, found.bandwidth) == pytest.approx((37e-6, 1.3e9), rel=1e-9)


def test_one_bad_size_does_not_decide():
    """Half as fast again at one of eight sizes: the bandwidth moves by less than that."""
    exact = sums(Link(latency=37e-6, bandwidth=1.3e9), 2)
    noisy = (*exact[:-1], replace(exact[-1], seconds=exact[-1].seconds * 1.5))
    assert 1.3e9 / 1.5 < fit_link(noisy, 2).bandwidth < 1.3e9


def test_no_latency_is_below_zero():
    found = fit_link([SumTime(n_bytes=1000, seconds=1e-6), SumTime(n_bytes=2000, seconds=4e-6)], 2)
    assert found.latency == 0.0
    assert found.bandwidth > 0


def test_one_size_is_not_enough():
    with pytest.raises(ValueError, match="at least two sizes"):
        fit_link([SumTime(n_bytes=8, seconds=1.0)] * 3, 2)


MEASURED = Measured(
    n=2,
    sums=sums(Link(latency=1e-4, bandwidth=1e9), 2),
    compute=Compute(forward=0.3, backward=tuple(Gradient(0.02, 4_000_000) for _ in range(40)), update=0.1),
    compute_beside_network=1.25,
    network_beside_compute=2.0,
    variation=0.02,
    steps=(),
)


def test_interference_is_the_share_of_speed_that_is_lost():
    assert interference(MEASURED) == pytest.approx({(COMPUTE, NETWORK): 0.2, (NETWORK, COMPUTE): 0.5})
    faster = replace(MEASURED, compute_beside_network=0.99, network_beside_compute=1.0)
    assert interference(faster) == {(COMPUTE, NETWORK): 0.0, (NETWORK, COMPUTE): 0.0}


def test_a_world_like_the_model_is_predicted_exactly():
    steps = []
    for bucket_bytes in (1e6, 25e6, 0.0):
        for sharded in (False, True):
            how = communication(MEASURED, shard_optimizer=sharded)
            seconds = step_time(MEASURED.compute, how, bucket_bytes=bucket_bytes).seconds
            steps.append(StepMeasured(bucket_bytes=bucket_bytes, shard_optimizer=sharded, seconds=seconds))
    found = predictions(replace(MEASURED, steps=tuple(steps)))
    assert [prediction.error for prediction in found] == pytest.approx([0.0] * 6, abs=1e-9)
    assert [prediction.buckets for prediction in found] == [40, 40, 7, 7, 1, 1]


def test_the_sign_of_an_error():
    step = StepMeasured(bucket_bytes=0.0, shard_optimizer=False, seconds=1e-3)
    (found,) = predictions(replace(MEASURED, steps=(step,)))
    assert found.error > 0, "the model is too slow"
