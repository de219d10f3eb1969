"""Finds the names of special tokens in a text, 64 bytes at once.

Names are few and mostly begin alike: `<|endoftext|>`, `<|user|>`. Each block of 64 bytes is asked for every two bytes
that a name begins with; only where they stand are the names compared, the longest first.

    text          a < b < | e n d o f t e x t | > ...
    first  <      . 1 . 1 . . . . . . . . . . . .
    second |      . . . 1 . . . . . . . . . . . .     of the next byte; both masks together leave one place to look at
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from hornbook.tokenizer.kernels.machine import load_u64, range_mask, store_u64, trailing_zeros
from hornbook.tokenizer.kernels.splitting import PADDING
from hornbook.tokenizer.kernels.word_merging import same_bytes

U64, I64 = np.uint64, np.int64
_ALL = U64(0xFFFFFFFFFFFFFFFF)
_LOW = U64(0xFFFFFFFF)

NAMES = np.dtype(
    [
        ("n", np.int64),
        ("bytes", np.uint64),  # all names in a row, the longest first
        ("places", np.uint64),  # uint64[n]: offset << 32 | length in `bytes`
        ("ids", np.uint64),  # uint64[n]
        ("n_beginnings", np.int64),
        ("beginnings", np.uint64),  # uint64[n_beginnings]: first byte | second << 8, second 256 if there is none
    ]
)


class Names:
    """Names to look for and the id of each; at least one, none empty."""

    def __init__(self, ids: Mapping[bytes, int]) -> None:
        names = sorted(ids, key=lambda name: (-len(name), name))
        lengths = np.array([len(name) for name in names], np.uint64)
        beginnings = {name[0] | (name[1] if len(name) > 1 else 256) << 8 for name in names}
        self._arrays: dict[str, npt.NDArray[Any]] = {
            "bytes": np.frombuffer(b"".join(names) + bytes(PADDING), np.uint8),
            "places": (np.cumsum(lengths) - lengths) << U64(32) | lengths,
            "ids": np.array([ids[name] for name in names], np.uint64),
            "beginnings": np.array(sorted(beginnings), np.uint64),
        }
        self._record: Any = np.zeros(1, NAMES)[0]
        for field, array in self._arrays.items():
            self._record[field] = array.ctypes.data
        self._record["n"], self._record["n_beginnings"] = len(names), len(beginnings)

    def split(self, text: npt.NDArray[Any], rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Split rows of a text at the names.

        Args:
            text: uint8; PADDING bytes follow the last row.
            rows: int64[n, 4]: start, end, the id that follows or -1; the last column gets the number of spans up to the
                row's end.

        Returns: int64[m, 4], the spans of all rows: start, end, the id that follows or -1, and a free column.
        """
        assert text.dtype == np.uint8
        assert text.flags.c_contiguous
        assert rows.dtype == np.int64
        assert rows.flags.c_contiguous
        assert rows[:, :2].min(initial=0) >= 0
        assert rows[:, :2].max(initial=0) + PADDING <= len(text)
        capacity = 2 * len(rows) + 64
        while True:
            spans = np.empty((capacity, 4), np.int64)
            count = find_names(
                self._record, U64(text.ctypes.data), U64(rows.ctypes.data), len(rows), U64(spans.ctypes.data), capacity
            )
            if count >= 0:
                return spans[:count]
            capacity *= 4


@njit(nogil=True, cache=True)
def find_names(names, text, rows, n_rows, spans, capacity):
    """Write the spans of all rows (see `Names.split`); returns how many there are, -1 if more than `capacity`."""
    count = 0
    for i in range(n_rows):
        row = rows + U64(32 * i)
        start, end, following = I64(load_u64(row)), I64(load_u64(row + U64(8))), load_u64(row + U64(16))
        block = start
        while block < end:
            candidates = _beginnings(names, text + U64(block), end - block)
            while candidates:
                at = block + I64(trailing_zeros(candidates))
                candidates &= candidates - U64(1)
                found = _name_at(names, text + U64(at), end - at) if at >= start else -1
                if found >= 0:
                    if count >= capacity:
                        return -1
                    token = load_u64(names.ids + U64(8 * found))
                    _write_span(spans + U64(32 * count), start, at, token)
                    count += 1
                    start = at + I64(load_u64(names.places + U64(8 * found)) & _LOW)
            block += 64
        if count >= capacity:
            return -1
        _write_span(spans + U64(32 * count), start, end, following)
        count += 1
        store_u64(row + U64(24), U64(count))
    return count


@njit(nogil=True, cache=True)
def _beginnings(names, block, n):
    """A bit for each of 64 bytes, of which n count: whether a name begins like the text there."""
    mask = U64(0)
    for i in range(names.n_beginnings):
        beginning = load_u64(names.beginnings + U64(8 * i))
        here = range_mask(block, np.uint8(0), np.uint8(beginning & U64(255)), np.uint8(0))
        if here and beginning < U64(1 << 16):
            here &= range_mask(block + U64(1), np.uint8(0), np.uint8(beginning >> U64(8)), np.uint8(0))
        mask |= here
    return mask if n >= 64 else mask & ((U64(1) << U64(n)) - U64(1))


@njit(nogil=True, cache=True)
def _name_at(names, text, n):
    """The number of the longest name that stands at the beginning of n bytes, -1 if none does."""
    for i in range(names.n):
        place = load_u64(names.places + U64(8 * i))
        length = I64(place & _LOW)
        if length <= n and same_bytes(text, names.bytes + (place >> U64(32)), length):
            return i
    return -1


@njit(nogil=True, cache=True)
def _write_span(span, start, end, following):
    store_u64(span, U64(start))
    store_u64(span + U64(8), U64(end))
    store_u64(span + U64(16), following)


def exercise() -> None:
    """Run every kernel once, which compiles it or takes it from the cache."""
    text = np.frombuffer(b"a<|b|>c" + bytes(PADDING), np.uint8)
    Names({b"<|b|>": 1}).split(text, np.array([[0, 7, -1, 0]]))
