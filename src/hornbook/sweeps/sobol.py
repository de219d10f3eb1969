"""Sobol's sequence: points that fill a cube evenly, each one where the ones before left room.

Direction numbers of Joe and Kuo, "Constructing Sobol sequences with better two-dimensional projections" (SIAM J. Sci.
Comput. 30, 2008; their file new-joe-kuo-6), for the first 21 dimensions. Of 2^m points, 2^(m-k) lie in each
elementary interval of size 2^-k in every dimension; shifting all points by the same bits (a digital shift) keeps that.
"""

from functools import cache

BITS = 32
_PRIMITIVES = (
    (1, 0, (1,)),
    (2, 1, (1, 3)),
    (3, 1, (1, 3, 1)),
    (3, 2, (1, 1, 1)),
    (4, 1, (1, 1, 3, 3)),
    (4, 4, (1, 3, 5, 13)),
    (5, 2, (1, 1, 5, 5, 17)),
    (5, 4, (1, 1, 5, 5, 5)),
    (5, 7, (1, 1, 7, 11, 19)),
    (5, 11, (1, 1, 5, 1, 1)),
    (5, 13, (1, 1, 1, 3, 11)),
    (5, 14, (1, 3, 5, 5, 31)),
    (6, 1, (1, 3, 3, 9, 7, 49)),
    (6, 13, (1, 1, 1, 15, 21, 21)),
    (6, 16, (1, 3, 1, 13, 27, 49)),
    (6, 19, (1, 1, 1, 15, 7, 5)),
    (6, 22, (1, 3, 1, 15, 13, 25)),
    (6, 25, (1, 1, 5, 5, 19, 61)),
    (7, 1, (1, 3, 7, 11, 23, 15, 103)),
    (7, 4, (1, 3, 7, 13, 13, 15, 69)),
)
"""Of dimensions 1 to 20: degree, coefficients of the primitive polynomial, first direction numbers."""


def sobol(point: int, dimension: int) -> int:
    """Coordinate of a point (0 is the origin) in a dimension of 0 to 20, as a fraction of 2^32; in Gray code order."""
    gray = point ^ (point >> 1)
    value = 0
    for bit, direction in enumerate(_directions(dimension)):
        if gray >> bit & 1:
            value ^= direction
    return value


@cache
def _directions(dimension: int) -> tuple[int, ...]:
    if dimension == 0:  # van der Corput's sequence
        return tuple(1 << (BITS - 1 - bit) for bit in range(BITS))
    degree, coefficients, first = _PRIMITIVES[dimension - 1]
    numbers = [number << (BITS - 1 - bit) for bit, number in enumerate(first)]
    for bit in range(degree, BITS):
        number = numbers[bit - degree] ^ (numbers[bit - degree] >> degree)
        for term in range(1, degree):
            if coefficients >> (degree - 1 - term) & 1:
                number ^= numbers[bit - term]
        numbers.append(number)
    return tuple(numbers)
