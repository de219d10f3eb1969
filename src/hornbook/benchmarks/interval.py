"""The median of paired figures and how far it can be trusted, without assuming how they are spread."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A median and two of the figures that it lies between with the given probability."""

    median: float
    low: float
    high: float
    coverage: float
    """Probability that the true median lies within; below 0.95 for fewer than six figures."""


def median_interval(figures: Sequence[float]) -> Interval:
    """The median with a 95 % interval by order statistics (Conover, Practical Nonparametric Statistics, 3.2).

    Of n figures, x(k) and x(n + 1 - k) hold the true median between them unless fewer than k figures fell on one side
    of it, which happens like heads in n throws of a coin. The largest k with at least 95 % is taken: of seven figures
    the smallest and the largest, 98.4 %; of nine the second and the eighth, 96.1 %.
    """
    ordered = sorted(figures)
    n = len(ordered)
    k, coverage = 1, _coverage(n, 1)
    while k < n / 2 and _coverage(n, k + 1) >= CONFIDENCE:
        k += 1
        coverage = _coverage(n, k)
    return Interval(median=statistics.median(ordered), low=ordered[k - 1], high=ordered[n - k], coverage=coverage)


def _coverage(n: int, k: int) -> float:
    return 1.0 - 2 * sum(math.comb(n, i) for i in range(k)) / float(2**n)
