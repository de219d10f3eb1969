"""Fair ratios on a machine that others use too: the two sides take turns, and only paired blocks are compared.

A burst of other load slows one block of either side and spoils one of the ratios; the median of seven does not care.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

BLOCKS = 7


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times faster ours is: above 1 it is faster."""

    ours_seconds: float
    """Median of one block."""
    theirs_seconds: float
    median: float
    low: float
    """Smallest and largest of the paired ratios; of seven they hold the true median with 98 % confidence."""
    high: float


def alternate(ours: Callable[[], object], theirs: Callable[[], object], *, blocks: int = BLOCKS) -> Ratio:
    """Run each side once to warm up, then in turns, `blocks` times; who goes first alternates too."""
    ours(), theirs()
    times: dict[Callable[[], object], list[float]] = {ours: [], theirs: []}
    for block in range(blocks):
        for side in (ours, theirs) if block % 2 else (theirs, ours):
            start = time.perf_counter()
            side()
            times[side].append(time.perf_counter() - start)
    ratios = [b / a for a, b in zip(times[ours], times[theirs], strict=True)]
    return Ratio(
        ours_seconds=statistics.median(times[ours]),
        theirs_seconds=statistics.median(times[theirs]),
        median=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
    )
