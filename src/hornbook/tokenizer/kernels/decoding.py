"""Ids to bytes. The definition is the tokens' bytes joined.

Two passes: the first adds up the lengths, so that memory can be made; the second copies each token as two words of 8
bytes, whatever its length, and the next token overwrites what was too much. Only tokens of more than 16 bytes need a
loop.

    bytes of all tokens    ... i n g | t h e |   a n d | ...
    places                 (offset 9,612, length 3), (9,615, 3), ...        one uint64 for each id
    out                    t h e   a n d i n g . . . . . . . . .            16 bytes more than there are
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from hornbook.tokenizer.kernels.machine import load_u16, load_u32, load_u64, store_u64

U64, I64 = np.uint64, np.int64

Array = npt.NDArray[Any]

_NOBODY = U64(0xFFFFFFFFFFFFFFFF)
_LENGTH = U64(0xFFFFFFFF)
_SLACK = 16


class UnknownIdError(Exception):
    """The id at this index of the ids is nobody's."""

    def __init__(self, index: int) -> None:
        super().__init__(f"unknown id at index {index}")
        self.index = index


class TokenBytes:
    """The bytes of every id.

    Args:
        tokens: the bytes of each id, None for an id of nobody.
        silent: ids that give no bytes.
    """

    def __init__(self, tokens: Sequence[bytes | None], silent: Collection[int] = ()) -> None:
        lengths = np.fromiter((len(token or b"") for token in tokens), np.uint64, len(tokens))
        self._places = (np.cumsum(lengths) - lengths) << U64(32) | lengths
        self._places[[i for i, token in enumerate(tokens) if token is None]] = _NOBODY
        self._places[list(silent)] = 0
        self._bytes = np.frombuffer(b"".join(token or b"" for token in tokens) + bytes(_SLACK), np.uint8)

    def decode(self, ids: Array, offsets: Array) -> tuple[Array, Array]:
        """The bytes of rows of ids.

        Args:
            ids: of any type of integers.
            offsets: int64[n + 1] in ascending order: row i is ids[offsets[i] : offsets[i + 1]].

        Returns: uint8 of all rows joined, and int64[n + 1]: row i is at ends[i] to ends[i + 1].

        Raises:
            UnknownIdError: for the first id that is nobody's.
        """
        ids = np.ascontiguousarray(ids)
        offsets = np.ascontiguousarray(offsets, np.int64)
        if ids.dtype.itemsize == 1:
            ids = ids.astype(np.int16)
        assert ids.dtype.kind in "iu"
        assert np.all(np.diff(offsets) >= 0)
        assert offsets[0] >= 0
        assert offsets[-1] <= len(ids)
        ends = np.empty(len(offsets), np.int64)
        places, n_places, width = _address(self._places), len(self._places), ids.dtype.itemsize
        total = measure(places, n_places, _address(ids), width, _address(offsets), len(offsets), _address(ends))
        if total < 0:
            raise UnknownIdError(-1 - total)
        out = np.empty(total + _SLACK, np.uint8)
        first, last = int(offsets[0]), int(offsets[-1])
        copy_tokens(places, _address(self._bytes), _address(ids), width, first, last, _address(out))
        return out[:total], ends


@njit(nogil=True, cache=True)
def measure(places, n_places, ids, width, offsets, n_offsets, ends):
    """Write how many bytes there are up to each offset (int64, by address) to `ends`.

    Returns: the bytes of all rows; or -1 - i if the id at index i has no place.
    """
    total = 0
    for row in range(n_offsets - 1):
        store_u64(ends + U64(8 * row), U64(total))
        for i in range(I64(load_u64(offsets + U64(8 * row))), I64(load_u64(offsets + U64(8 * row + 8)))):
            token = _id_at(ids, width, i)
            if token >= U64(n_places):
                return -1 - i
            place = load_u64(places + (token << U64(3)))
            if place == _NOBODY:
                return -1 - i
            total += I64(place & _LENGTH)  # type: ignore[assignment]  # numba has one type for both
    store_u64(ends + U64(8 * n_offsets - 8), U64(total))
    return total


@njit(nogil=True, cache=True)
def copy_tokens(places, token_bytes, ids, width, first, last, out):
    """Write the bytes of ids[first:last] one after another, and up to 16 bytes more."""
    for i in range(first, last):
        place = load_u64(places + (_id_at(ids, width, i) << U64(3)))
        token, length = token_bytes + (place >> U64(32)), place & _LENGTH
        store_u64(out, load_u64(token))
        store_u64(out + U64(8), load_u64(token + U64(8)))
        if length > U64(16):
            for j in range(2, I64((length + U64(7)) >> U64(3))):
                store_u64(out + U64(8 * j), load_u64(token + U64(8 * j)))
        out += length


@njit(nogil=True, cache=True)
def _id_at(ids, width, i):
    """An id of 2, 4 or 8 bytes; a negative one is larger than any vocabulary."""
    if width == 2:
        return load_u16(ids + U64(2 * i))
    if width == 4:
        return load_u32(ids + U64(4 * i))
    return load_u64(ids + U64(8 * i))


def exercise() -> None:
    """Run every kernel once, which compiles it or takes it from the cache."""
    TokenBytes([b"a", b"b" * 40]).decode(np.array([0, 1]), np.array([0, 2]))


def _address(array: Array) -> np.uint64:
    return np.uint64(array.ctypes.data)
