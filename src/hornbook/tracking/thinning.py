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


def smoothed(values: Sequence[float], reach: int) -> list[float]:
    """Means over `reach` values to either side, fewer near the ends but as many on both: a slope stays where it is.

    Missing values count for nothing, and where a value is missing none is made up.
    """
    sums, counts = [0.0], [0]
    for value in values:
        finite = math.isfinite(value)
        sums.append(sums[-1] + (value if finite else 0.0))
        counts.append(counts[-1] + finite)
    result = []
    for i, value in enumerate(values):
        side = min(reach, i, len(values) - 1 - i)
        begin, end = i - side, i + side + 1
        finite = math.isfinite(value)
        result.append((sums[end] - sums[begin]) / (counts[end] - counts[begin]) if finite else math.nan)
    return result
