"""How sure a number is: 95 % intervals of ratios and means over independent units, and of shares."""

import math
from dataclasses import dataclass

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


def student_t(degrees: int) -> float:
    """Its 97.5 % quantile, by which an interval of few units is wider than 1.96 standard errors.

    Within 1 %: Cornish and Fisher's expansion, Abramowitz and Stegun 26.7.5.
    """
    if degrees == 1:
        return 12.706
    terms = (Z, 2.37227, 2.82250, 2.55585, 1.58953)
    return sum(term / float(degrees) ** power for power, term in enumerate(terms))
