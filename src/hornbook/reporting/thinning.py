"""Curves as many points as a picture can show: no extreme and no gap is lost on the way."""

import math
from collections.abc import Sequence

MOST_POINTS = 800
SMOOTHED_FROM = 60
"""Points from which on a smoothed line is drawn over a noisy one."""


def thinned(values: Sequence[float], most: int = MOST_POINTS) -> list[int]:
    """Indices of at most about `most` values: the first, the last, and the lowest, highest and missing of each stretch.

    Values that are not finite are missing.
    """
    count = len(values)
    if count <= most:
        return list(range(count))
    stretches = max(1, most // 2)
    kept = {0, count - 1}
    for stretch in range(stretches):
        begin, end = stretch * count // stretches, (stretch + 1) * count // stretches
        finite = [i for i in range(begin, end) if math.isfinite(values[i])]
        if finite:
            kept.add(min(finite, key=values.__getitem__))
            kept.add(max(finite, key=values.__getitem__))
        if len(finite) < end - begin:
            kept.add(next(i for i in range(begin, end) if not math.isfinite(values[i])))
    return sorted(kept)


def smoothed(values: Sequence[float], span: float) -> list[float]:
    """The exponential moving average over about `span` values, without the bias of its beginning; gaps stay gaps."""
    decay = 1.0 - 2.0 / (span + 1.0)
    total = weight = 0.0
    result = []
    for value in values:
        if not math.isfinite(value):
            result.append(math.nan)
            continue
        total, weight = decay * total + (1.0 - decay) * value, decay * weight + (1.0 - decay)
        result.append(total / weight)
    return result
