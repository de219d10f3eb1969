"""The reading order as a pure function: no state, so resuming is arithmetic and every rank agrees.

    sample g  ->  epoch e = g // n, index i = g % n  ->  window permute(i, n, key=(seed, e))

The permutation is a Feistel network on 2h bits, the smallest even number of bits that holds n, with *cycle walking*: a
value that falls outside 0..n-1 is permuted again until it falls inside. A Feistel network is a bijection whatever its
round function is, and a bijection walked along its cycles is a bijection on the subset (Black and Rogaway, "Ciphers
with Arbitrary Finite Domains", 2002). The domain is below 4n, so fewer than four walks are expected.
"""

from functools import lru_cache
from hashlib import blake2b

ROUNDS = 8
"""Four suffice for a pseudo-random permutation (Luby and Rackoff, 1988); small halves want more."""

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


class SampleOrder:
    """Which window each global sample reads, over any number of epochs; each epoch has its own permutation."""

    def __init__(self, n_windows: int, seed: int, shuffled: bool) -> None:
        assert n_windows > 0
        self.n_windows = n_windows
        self.seed = seed
        self.shuffled = shuffled

    def epoch(self, sample: int) -> int:
        """The pass over the data, counted from 0, that global sample `sample` belongs to."""
        return sample // self.n_windows

    def window(self, sample: int) -> int:
        """The window that global sample `sample` >= 0 reads."""
        epoch, index = divmod(sample, self.n_windows)
        return permute(index, self.n_windows, key=(self.seed, epoch)) if self.shuffled else index
