import itertools
import math

from hornbook.tracking.curve import Curve


def test_few_values_are_themselves():
    curve = Curve()
    for value in (3, 1, math.nan, 2, math.inf):
        curve.add(value)
    assert curve.points == [3, 1, 2]


def test_a_long_curve_stays_small_and_keeps_its_shape_and_its_mean():
    curve, n = Curve(), 100_000
    for i in range(n):
        curve.add(float(i))
    *points, last = curve.points
    assert 256 <= len(points) <= 512
    gaps = {b - a for a, b in itertools.pairwise(points)}
    assert len(gaps) == 1  # every mean but the last, which may not be full, stands for equally many values
    assert points[0] == (gaps.pop() - 1) / 2
    assert n * 0.99 < last < n
