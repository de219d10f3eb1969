"""How sure a ratio of sums over correlated tokens is: blocks of the text, drawn anew with replacement.

Non-overlapping blocks as in Carlstein (1986, https://doi.org/10.1214/aos/1176350057). The ends of an interval are
quantiles of the redrawn ratios, at the levels that make up for few blocks: the expanded percentile interval of
Hesterberg (2015, https://doi.org/10.1080/00031305.2015.1089789). Below about eight blocks even those are too narrow.
"""

import math
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int64

from hornbook.evaluation.intervals import student_t

Interval = tuple[float, float]
_DRAWN_AT_ONCE = 1 << 20


def block_sums(values: Float[np.ndarray, "n k"], blocks: Int64[np.ndarray, " n"]) -> Float[np.ndarray, "blocks k"]:
    """Sums of each column over the values of each block; blocks without a value are left out."""
    _, numbers = np.unique(blocks, return_inverse=True)
    columns = [np.bincount(numbers, weights=column) for column in values.T]
    return np.stack(columns, axis=1)


def resampled_sums(
    sums: Float[np.ndarray, "blocks k"], *, resamples: int, seed: int
) -> Float[np.ndarray, "resamples k"]:
    """Totals of as many blocks as there are, drawn with replacement, `resamples` times; a function of the seed."""
    rng = np.random.Generator(np.random.Philox(seed))
    n = len(sums)
    at_once = max(1, _DRAWN_AT_ONCE // n)
    parts = []
    for first in range(0, resamples, at_once):
        drawn = rng.integers(n, size=(min(at_once, resamples - first), n))
        parts.append(np.stack([column[drawn].sum(axis=1) for column in sums.T], axis=1))
    return np.concatenate(parts)


def interval(redrawn: Float[np.ndarray, " resamples"], *, level: float, n_blocks: int) -> Interval | None:
    """The interval of `level` of a number whose redrawn values these are; None of a single block."""
    if n_blocks < 2:
        return None
    wider = math.sqrt(n_blocks / (n_blocks - 1)) * student_t(n_blocks - 1, level)
    tail = NormalDist().cdf(-wider)
    low, high = np.quantile(redrawn, (tail, 1.0 - tail))
    return float(low), float(high)
