import math
import random

import pytest

from hornbook.benchmarks.interval import median_interval


@pytest.mark.parametrize(
    ("n", "low", "high", "coverage"),
    # Conover's table of the binomial distribution with p = 1/2
    [(6, 0, 5, 0.96875), (7, 0, 6, 0.984375), (8, 0, 7, 0.9921875), (9, 1, 7, 0.9609375), (20, 5, 14, 0.95861)],
)
def test_the_ends_are_those_order_statistics(n, low, high, coverage):
    figures = random.Random(n).sample(range(100), n)
    found = median_interval(figures)
    assert (found.low, found.high) == (sorted(figures)[low], sorted(figures)[high])
    assert math.isclose(found.coverage, coverage, abs_tol=1e-4)
    assert found.low <= found.median <= found.high


def test_few_figures_say_how_little_they_are_worth():
    found = median_interval([3.0, 1.0, 2.0])
    assert (found.low, found.median, found.high, found.coverage) == (1.0, 2.0, 3.0, 0.75)
    alone = median_interval([2.5])
    assert (alone.low, alone.high, alone.coverage) == (2.5, 2.5, 0.0)


def test_the_interval_holds_the_true_median_as_often_as_it_says():
    draw = random.Random(0)
    held = [abs_low <= math.log(2) <= abs_high for abs_low, abs_high in map(_drawn, [draw] * 2000)]
    assert sum(held) / len(held) == pytest.approx(0.9609, abs=0.015)


def _drawn(draw):
    interval = median_interval([draw.expovariate(1.0) for _ in range(9)])  # skewed: its median is log 2
    return interval.low, interval.high
