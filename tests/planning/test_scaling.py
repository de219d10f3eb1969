"""The table for many processes: limits that have a closed form, and totals that must agree with the accounting."""

import random
from dataclasses import replace
from statistics import fmean

import pytest

from hornbook.config.model import ModelTable
from hornbook.models.accounting import parameter_counts, training_flops_per_token
from hornbook.planning.collectives import Link, Network
from hornbook.planning.overlap import COMPUTE, MEGABYTE, NETWORK, SMALL_SUMS, Compute, Gradient
from hornbook.planning.scaling import (
    NETWORKS,
    WORLD_SIZES,
    backward_shares,
    compute_on_paper,
    scaling,
    slowest_of,
)
from hornbook.planning.tables import scaling_lines

STEP = Compute(forward=0.1, backward=tuple(Gradient(0.01, 4 * MEGABYTE) for _ in range(20)), update=0.02)
FREE = Network(inside=Link(latency=0.0, bandwidth=1e30), between=Link(latency=0.0, bandwidth=1e30), per_machine=8)
SLOW = Network(inside=Link(latency=1e-5, bandwidth=1e11), between=Link(latency=1e-4, bandwidth=1e8), per_machine=8)


def test_a_free_network_scales_without_loss():
    for row in scaling(STEP, FREE, shard_optimizer=False):
        assert row.efficiency == pytest.approx(1.0)
        assert row.exposed == pytest.approx(0.0, abs=1e-9)


def test_sharing_the_update_gains_its_time():
    *_, last = scaling(STEP, FREE)
    assert last.seconds == pytest.approx(STEP.seconds - 0.02 + 0.02 / 4096)


def test_one_bucket_on_a_slow_network_is_computing_and_then_a_sum():
    for row in scaling(STEP, SLOW, bucket_bytes=0, shard_optimizer=False):
        summing = SLOW.all_reduce(STEP.n_bytes, row.n)
        waiting = summing + SMALL_SUMS * SLOW.all_reduce(8, row.n)
        assert row.seconds == pytest.approx(STEP.seconds + waiting)
        assert row.exposed == pytest.approx(waiting)


def test_the_best_bucket_is_no_worse_than_any_that_is_chosen():
    for size in (MEGABYTE, 25 * MEGABYTE, 0):
        for best, chosen in zip(scaling(STEP, SLOW), scaling(STEP, SLOW, bucket_bytes=size), strict=True):
            assert best.seconds <= chosen.seconds + 1e-12


def test_more_processes_are_never_more_efficient():
    rows = list(scaling(STEP, SLOW, shard_optimizer=False, variation=0.05, slowdown={(COMPUTE, NETWORK): 0.1}))
    assert [row.n for row in rows] == list(WORLD_SIZES)
    efficiencies = [row.efficiency for row in rows]
    assert efficiencies == sorted(efficiencies, reverse=True)


@pytest.mark.parametrize("n", [2, 8, 64, 512])
def test_waiting_for_the_slowest(n):
    """The expected largest of n normal numbers, by 20,000 draws, whose mean has a standard error below 0.007."""
    rng = random.Random(n)
    draws = 20_000 // (1 + n // 64)
    mean = fmean(max(rng.gauss(0, 1) for _ in range(n)) for _ in range(draws))
    assert slowest_of(n) == pytest.approx(mean, abs=0.02 + 4 / draws**0.5)
    (row,) = scaling(STEP, FREE, world_sizes=[n], variation=0.1)
    assert row.waiting == pytest.approx(STEP.seconds * 0.1 * slowest_of(n))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("feed_forward", ["swiglu", "relu2"])
def test_the_timeline_on_paper_has_all_parameters_and_operations(tied, feed_forward):
    table = ModelTable(
        d_model=64,
        n_layers=3,
        n_heads=4,
        n_kv_heads=2,
        context_length=32,
        tie_embeddings=tied,
        feed_forward=feed_forward,
    )
    config = table.complete(vocab_size=1000)
    shares = backward_shares(config)
    assert sum(n_bytes for n_bytes, _ in shares) == 4 * sum(parameter_counts(config).values())
    assert sum(share for _, share in shares) == pytest.approx(1.0)
    assert all(n_bytes > 0 and share >= 0 for n_bytes, share in shares)
    made = compute_on_paper(config, tokens=100, flops_per_second=1e9, bytes_per_second=1e10, micro_batches=2)
    operations = training_flops_per_token(config, context=32) * 100
    assert made.seconds - made.update == pytest.approx(2 * operations / 1e9)
    assert made.n_bytes == sum(n_bytes for n_bytes, _ in shares)


def test_the_table_has_a_line_for_each():
    lines = scaling_lines(scaling(STEP, SLOW))
    assert len(lines) == 1 + len(WORLD_SIZES)
    assert lines[-1].split()[0] == "4,096"
    assert len({len(line) for line in lines}) == 1


def test_faster_networks_are_faster():
    last = [list(scaling(replace(STEP, update=0.0), network))[-1].seconds for network in NETWORKS.values()]
    assert last == sorted(last, reverse=True)
