"""Intervals against tables and published examples."""

import math

import numpy as np
import pytest

from hornbook.evaluation.intervals import mean, ratio, share_interval, student_t


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson(count, n, low, high):
    assert share_interval(count, n) == pytest.approx((low, high), abs=5e-5)


def test_a_share_stays_between_0_and_1_and_holds_halves():
    assert [share_interval(n, n)[1] for n in (5, 200, 500)] == [1.0] * 3
    assert [share_interval(0, n)[0] for n in (5, 200, 500)] == [0.0] * 3
    low, high = share_interval(2.5, 5)
    assert (low + high) / 2 == pytest.approx(0.5)


def test_a_mean_is_the_usual_one():
    values = np.array([1.0, 2.0, 4.0, 5.0])
    found = mean(values)
    assert found.value == 3.0
    assert found.standard_error == pytest.approx(values.std(ddof=1) / 2)
    low, high = found.interval
    assert (high - low) / 2 == pytest.approx(3.1824 * found.standard_error, rel=0.01)


def test_the_error_of_a_ratio_is_what_samples_scatter():
    """2,000 samples of 200 units: their scatter is known to 1 / sqrt(4,000), and so is the mean of their errors."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(2000):
        b = rng.integers(1, 20, size=200)
        found.append(ratio(2.0 * b + rng.normal(size=200) * b**0.5, b))
    scatter = np.std([each.value for each in found])
    assert np.mean([each.standard_error for each in found]) == pytest.approx(scatter, rel=0.06)


def test_a_single_unit_says_nothing_of_its_error():
    assert ratio(np.array([3.0]), np.array([2])).interval is None


def test_windows_of_equal_size_have_the_usual_standard_error():
    nats = np.random.default_rng(0).normal(10, 2, size=50)
    found = ratio(nats, np.full(50, 4))
    assert found.standard_error == pytest.approx((nats / 4).std(ddof=1) / math.sqrt(50))


@pytest.mark.parametrize(
    ("level", "degrees", "t"),
    [
        *((0.95, degrees, t) for degrees, t in ((1, 12.7062), (2, 4.3027), (3, 3.1824), (5, 2.5706), (30, 2.0423))),
        *((0.99, degrees, t) for degrees, t in ((1, 63.6567), (2, 9.9248), (4, 4.6041), (10, 3.1693), (10**6, 2.5758))),
        *((0.9, degrees, t) for degrees, t in ((2, 2.9200), (3, 2.3534), (20, 1.7247))),
    ],
)
def test_few_units_have_a_wide_interval(level, degrees, t):
    """Quantiles of Student's t from tables."""
    assert student_t(degrees, level) == pytest.approx(t, rel=0.02)
