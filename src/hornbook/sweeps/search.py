"""Points drawn from ranges. Every value is a function of (seed, key, number of the point): more points, or a key more,
leave those that were there as they are (with `sobol`, a key more at the end of the file)."""

import hashlib
import math
from collections.abc import Sequence

from hornbook.config.sweep import SearchConfig
from hornbook.sweeps.sobol import BITS, sobol

_DIGITS = 6
"""Significant digits of a drawn number, so that it can be read, and is the same on every machine. In a range that is
narrow for where it lies, there are as many more."""


def drawn_points(search: SearchConfig) -> list[dict[str, object]]:
    """{key: value} of every point."""
    ranges = [(*key.rpartition(".")[::2], values) for key, values in search.space.items()]
    return [
        {
            key: _value(kind, values, _fraction(search, key, dimension, number))
            for dimension, (key, kind, values) in enumerate(ranges)
            if isinstance(values, Sequence)
        }
        for number in range(search.points)
    ]


def _fraction(search: SearchConfig, key: str, dimension: int, number: int) -> float:
    """At least 0, less than 1."""
    if search.method == "random":
        return math.ldexp(_hashed(f"{search.seed}:{key}:{number}"), -BITS)
    return math.ldexp(sobol(number, dimension) ^ _hashed(f"{search.seed}:{key}"), -BITS)


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[: BITS // 8], "big")


def _value(kind: str, values: Sequence[object], fraction: float) -> object:
    if kind == "choice":
        return values[int(fraction * len(values))]
    low, high = (each for each in values if isinstance(each, int | float))
    if kind == "integers":
        return int(low) + int(fraction * (int(high) - int(low) + 1))
    number = low * math.pow(high / low, fraction) if kind == "log_uniform" else low + (high - low) * fraction
    digits = _DIGITS + max(0, math.floor(math.log10(max(abs(low), abs(high)) / (high - low))))
    return float(min(max(float(f"{number:.{digits}g}"), low), high))
