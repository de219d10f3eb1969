"""The reading order as a pure function: no state, so resuming is arithmetic and every rank agrees.

    sample g  ->  epoch e = g // n, index i = g % n  ->  window order(i) of 0..n-1

| order                | window of index i                                                                        |
| -------------------- | ---------------------------------------------------------------------------------------- |
| `sequential`         | i                                                                                        |
| `shuffled`, `random` | permute(i, n, key=(seed, e)): every epoch has an order of its own                        |
| `distributed`        | each of L lanes reads a stretch of its own in order; index i is the (i // L)-th of lane i % L |

Every order reads each window exactly once an epoch. None of them knows how many processes there are: lanes are the rows
of a step, which the loader deals to ranks, so that a rank reads few places of a large data set at a time, and another
number of ranks still reads the same windows in the same step.

The permutation is a Feistel network on 2h bits, the smallest even number of bits that holds n, with *cycle walking*: a
value that falls outside 0..n-1 is permuted again until it falls inside. A Feistel network is a bijection whatever its
round function is, and a bijection walked along its cycles is a bijection on the subset (Black and Rogaway, "Ciphers
with Arbitrary Finite Domains", 2002). The domain is below 4n, so fewer than four walks are expected.
"""

from functools import lru_cache
from hashlib import blake2b
from typing import Literal

import numpy as np

OrderKind = Literal["shuffled", "random", "sequential", "distributed"]

ROUNDS = 8
"""Four suffice for a pseudo-random permutation (Luby and Rackoff, 1988); small halves want more."""

BLOCK = 1024
"""Samples whose windows `SampleOrder` computes at once and keeps: neighbours are asked for one after another."""

_MASK_64 = (1 << 64) - 1


def permute(index: int, n: int, *, key: tuple[int, ...]) -> int:
    """The place of `index` in a pseudo-random permutation of 0..n-1 that `key` chooses.

    Raises:
        ValueError: if not 0 <= index < n.
    """
    if not 0 <= index < n:
        raise ValueError(f"index {index} is outside 0..{n - 1}")
    half_bits = max(1, ((n - 1).bit_length() + 1) // 2)
    round_keys = _round_keys(key)
    value = _feistel(index, half_bits, round_keys)
    while value >= n:
        value = _feistel(value, half_bits, round_keys)
    return value


def permute_range(first: int, last: int, n: int, *, key: tuple[int, ...]) -> np.ndarray:
    """`permute` of each index in first .. last - 1, as int64 (last - first,): the same places, many times faster."""
    assert 0 <= first <= last <= n
    half_bits = max(1, ((n - 1).bit_length() + 1) // 2)
    round_keys = _round_keys(key)
    values = np.arange(first, last, dtype=np.uint64)
    outside = np.ones(len(values), dtype=bool)
    while outside.any():
        values[outside] = _feistel_all(values[outside], half_bits, round_keys)
        outside = values >= n
    return values.astype(np.int64)


def _feistel_all(values: np.ndarray, half_bits: int, round_keys: tuple[int, ...]) -> np.ndarray:
    """`_feistel` of each value: uint64, whose products wrap as the masked ones of Python's integers do."""
    half, shift = np.uint64(half_bits), np.uint64(64 - half_bits)
    mask = np.uint64((1 << half_bits) - 1)
    left, right = values >> half, values & mask
    for round_key in round_keys:
        mixed = right + np.uint64(round_key)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        left, right = right, left ^ (mixed >> shift)
    return (left << half) | right


def _feistel(value: int, half_bits: int, round_keys: tuple[int, ...]) -> int:
    mask = (1 << half_bits) - 1
    left, right = value >> half_bits, value & mask
    for round_key in round_keys:
        # splitmix64's finaliser (Steele, Lea and Flood, 2014), with the high bits taken: they are the best mixed.
        mixed = (right + round_key) & _MASK_64
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK_64
        left, right = right, left ^ (mixed >> (64 - half_bits))
    return left << half_bits | right


@lru_cache(maxsize=64)
def _round_keys(key: tuple[int, ...]) -> tuple[int, ...]:
    digest = blake2b(",".join(map(str, key)).encode(), digest_size=8 * ROUNDS, person=b"hornbook-order").digest()
    return tuple(int.from_bytes(digest[i : i + 8], "little") for i in range(0, len(digest), 8))


def in_lanes(index: int, n: int, lanes: int) -> int:
    """Where `index` reads when `lanes` readers take turns, each going through a stretch of its own of 0..n-1.

    Stretches follow one another and differ by at most one in length, the longer ones first.
    """
    lanes = min(lanes, n)
    place, lane = divmod(index, lanes)
    return lane * (n // lanes) + min(lane, n % lanes) + place


class SampleOrder:
    """Which window each global sample reads, over any number of epochs."""

    def __init__(self, n_windows: int, *, seed: int, kind: OrderKind = "shuffled", lanes: int = 1) -> None:
        """`lanes`: how many stretches `distributed` reads side by side."""
        assert n_windows > 0
        assert lanes > 0
        self.n_windows = n_windows
        self.seed = seed
        self.kind = kind
        self.lanes = lanes
        self._shuffled = lru_cache(maxsize=8)(self._shuffle)

    def epoch(self, sample: int) -> int:
        """The pass over the data, counted from 0, that global sample `sample` belongs to."""
        return sample // self.n_windows

    def window(self, sample: int) -> int:
        """The window that global sample `sample` >= 0 reads."""
        epoch, index = divmod(sample, self.n_windows)
        match self.kind:
            case "sequential":
                return index
            case "distributed":
                return in_lanes(index, self.n_windows, self.lanes)
            case "shuffled" | "random":
                block, within = divmod(index, BLOCK)
                return self._shuffled(epoch, block)[within]

    def _shuffle(self, epoch: int, block: int) -> list[int]:
        """The windows of up to BLOCK neighbours of one epoch."""
        first = block * BLOCK
        last = min(first + BLOCK, self.n_windows)
        windows: list[int] = permute_range(first, last, self.n_windows, key=(self.seed, epoch)).tolist()
        return windows
