"""A curve of any length in little memory: what a sparkline needs of a run of a million steps."""

import math

_POINTS = 512


class Curve:
    """Means of equally many neighbouring values, at most 512 of them: when full, neighbours are joined in pairs.

    Values that are not finite are left out.
    """

    def __init__(self) -> None:
        self._means: list[float] = []
        self._values_per_mean = 1
        self._sum, self._count = 0.0, 0  # of the mean that is not full yet

    def add(self, value: float) -> None:
        """One more value."""
        if not math.isfinite(value):
            return
        self._sum, self._count = self._sum + value, self._count + 1
        if self._count < self._values_per_mean:
            return
        self._means.append(self._sum / self._count)
        self._sum, self._count = 0.0, 0
        if len(self._means) == _POINTS:
            self._means = [(left + right) / 2 for left, right in zip(self._means[::2], self._means[1::2], strict=True)]
            self._values_per_mean *= 2

    @property
    def points(self) -> list[float]:
        """Oldest first; the newest values as well."""
        return [*self._means, self._sum / self._count] if self._count else list(self._means)
