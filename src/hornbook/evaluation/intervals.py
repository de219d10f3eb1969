"""How sure a number is: 95 % intervals of ratios and means over independent units, and of shares."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Shaped

Z = 1.959964
"""The 97.5 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Ratio:
    """sum(a) / sum(b) over independent units; a mean, where b is 1 of each."""

    value: float
    standard_error: float | None
    """None of a single unit."""
    n_units: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %, by Student's t."""
        if self.standard_error is None:
            return None
        reach = student_t(self.n_units - 1) * self.standard_error
        return self.value - reach, self.value + reach


def ratio(a: Float[np.ndarray, " n"], b: Shaped[np.ndarray, " n"]) -> Ratio:
    """Of two numbers of each unit, summed; the error is the ratio estimator's (Cochran 1977, eq. 2.39)."""
    value, n = float(a.sum() / b.sum()), len(a)
    if n < 2:
        return Ratio(value, None, n)
    residual = a - value * b
    return Ratio(value, math.sqrt(n / (n - 1) * float((residual**2).sum())) / float(b.sum()), n)


def mean(values: Float[np.ndarray, " n"]) -> Ratio:
    """Of one number of each unit."""
    return ratio(values, np.ones(len(values)))


def share_interval(count: int | float, n: int) -> tuple[float, float]:
    """95 % interval of a share count / n: Wilson 1927, right also near 0 and 1 where the plain one has no width.

    `count` may be a half where a tie counts half; then the interval is too wide rather than too narrow, as such units
    scatter less than those of 0 and 1.
    """
    share = count / n
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    reach = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    # Of none and of all one end is exact, but for rounding.
    return max(0.0, middle - reach) if count else 0.0, min(1.0, middle + reach) if count < n else 1.0


def student_t(degrees: int, level: float = 0.95) -> float:
    """How many standard errors an interval of `level` reaches on either side: 1.96 of many units, more of few.

    Exact for 1 and 2 degrees of freedom; else within 2 % up to a level of 0.99: Cornish and Fisher's expansion,
    Abramowitz and Stegun 26.7.5.
    """
    if degrees == 1:
        return math.tan(math.pi * level / 2)
    if degrees == 2:
        return level * math.sqrt(2 / (1 - level**2))
    z = NormalDist().inv_cdf((1 + level) / 2)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / float(degrees) ** power for power, term in enumerate(terms))
