"""Axes: from numbers to places in a picture, and the round numbers that are written beside them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A linear or logarithmic axis from `low` to `high` (low < high; both above 0 if logarithmic)."""

    low: float
    high: float
    log: bool

    def share(self, value: float) -> float:
        """Where a value lies, from 0 at the low end to 1 at the high end; NaN where it has no place."""
        if not math.isfinite(value) or (self.log and value <= 0.0):
            return math.nan
        low, high, here = (self._warped(each) for each in (self.low, self.high, value))
        return (here - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round numbers within the axis: about five, on a logarithmic one powers of ten and, if few, 2 and 5 times."""
        if not self.log:
            return _linear_ticks(self.low, self.high)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = max(1, (last - first) // 5)
        found = [10.0**power for power in range(first, last + 1, every)]
        if last - first <= 3:
            found = [factor * 10.0**power for power in range(first, last + 1) for factor in (1.0, 2.0, 5.0)]
        inside = [tick for tick in found if self.low <= tick <= self.high]
        return inside if len(inside) >= 2 else _linear_ticks(self.low, self.high)

    def _warped(self, value: float) -> float:
        return math.log(value) if self.log else value


def scale_of(values: Iterable[float], *, log: bool = False, margin: float = 0.04) -> Scale | None:
    """The axis that holds all finite values with a margin; None if there are none (or none above 0, if logarithmic)."""
    finite = [value for value in values if math.isfinite(value) and abs(value) < 1e300 and (not log or value > 1e-300)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    if log:
        spread = max(math.log(high / low) * margin, 1e-3 if high > low else 0.1)
        return Scale(low=low * math.exp(-spread), high=high * math.exp(spread), log=True)
    spread = (high - low) * margin if high > low else max(abs(high) * 0.05, 1e-9)
    return Scale(low=low - spread, high=high + spread, log=False)


def _linear_ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.8)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """A number as an axis or a table shows it: 0.0012, 3.25, 1,500, 45k, 1.2e-07."""
    size = abs(value)
    if value == 0.0:
        return "0"
    if not math.isfinite(value):
        return "not finite"
    if size >= 1e15 or size < 1e-4:
        return f"{value:.3g}"
    for limit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / (1e3 if suffix == 'k' else limit):.4g}{suffix}"
    return f"{value:,.0f}" if value == round(value) else f"{value:.4g}"
