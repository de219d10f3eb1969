"""How samples are shared out among parts by weight, as a pure function of the sample's number: no state, no draws.

The parts are halved again and again. At each fork the arrivals, counted from 0, go left whenever the rounded share of
the left side grows by one:

    left(n) = floor(n p + 1/2)                 how many of the first n went left; p = weight left / weight of both
    left(n + 1) > left(n)                      arrival n goes left and is number left(n) there
    otherwise                                  it goes right and is number n - left(n) there

    weights 3 : 1                              A A B A A A B A A A B A ...

So every prefix of the samples, and every step, holds each part in its proportion but for a sample or two: a fork rounds
by at most half a sample and passes on less than it was off by itself, which makes at most ceil(log2(parts)) / 2. With
parts drawn at random it would be the square root of the number of samples. All of it is in whole numbers, and exact
however far a run goes.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import lcm


class Proportions:
    """Which part each sample belongs to, and the how-manieth of that part it is."""

    def __init__(self, weights: Sequence[float | Fraction]) -> None:
        """`weights` > 0 need not add up to anything; 0.1 is meant as a tenth, not as the nearest binary number."""
        assert weights
        exact = [Fraction(str(weight)) for weight in weights]
        assert min(exact) > 0
        scale = lcm(*(weight.denominator for weight in exact))
        self._weights = [int(weight * scale) for weight in exact]

    @property
    def shares(self) -> list[float]:
        """Of each part, adding up to 1."""
        return [weight / sum(self._weights) for weight in self._weights]

    def place(self, sample: int) -> tuple[int, int]:
        """(part, number within the part) of sample `sample` >= 0."""
        first, last = 0, len(self._weights)
        while last - first > 1:
            middle = (first + last) // 2
            left = self._left(sample, first, middle, last)
            if self._left(sample + 1, first, middle, last) > left:
                last, sample = middle, left
            else:
                first, sample = middle, sample - left
        return first, sample

    def counts(self, samples: int) -> list[int]:
        """How many of the first `samples` samples belong to each part."""
        return self._counts(samples, 0, len(self._weights))

    def _counts(self, samples: int, first: int, last: int) -> list[int]:
        if last - first == 1:
            return [samples]
        middle = (first + last) // 2
        left = self._left(samples, first, middle, last)
        return self._counts(left, first, middle) + self._counts(samples - left, middle, last)

    def _left(self, arrivals: int, first: int, middle: int, last: int) -> int:
        """How many of so many arrivals at the fork of parts first..last-1 went to those before `middle`."""
        left, both = sum(self._weights[first:middle]), sum(self._weights[first:last])
        return (2 * arrivals * left + both) // (2 * both)
