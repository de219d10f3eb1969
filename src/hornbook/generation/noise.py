"""Sampling noise as a function of (row seed, position) and of a denoising step, with no state.

The counter-based generator Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") is keyed by the
row's seed and counted by the position of the token to be drawn. So a row's text does not depend on the other rows of
its batch, on the cache, or on where an earlier generation stopped: continuing prompt + output with the same seed
continues the same text.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

# The second of Philox's four counter words says what a number is for; `uniform` has 0 there.
_DRAW, _ORDER, _GUESS, _ACCEPT = 1, 2, 3, 4


def uniform(seed: int, position: int) -> float:
    """The one number in [0, 1), with 53 random bits, that decides the token at `position` of a row with `seed`.

    `position` counts from the start of the row's prompt, as given, and never restarts when the window slides.
    """
    bits = int(np.random.Philox(key=seed % 2**128, counter=position).random_raw())
    return (bits >> 11) * 2.0**-53


def row_noise(seeds: Sequence[int], positions: Sequence[int]) -> Float64[Tensor, " b"]:
    """`uniform` of each row, on the CPU."""
    return torch.tensor([uniform(s, p) for s, p in zip(seeds, positions, strict=True)], dtype=torch.float64)


def guess_noise(seeds: Sequence[int], positions: Sequence[int]) -> Float64[Tensor, " b"]:
    """A uniform number for each row's position, which decides what a draft model guesses there."""
    return _numbers(seeds, positions, _GUESS)


def acceptance_noise(seeds: Sequence[int], positions: Sequence[int]) -> Float64[Tensor, " b"]:
    """A uniform number for each row's position, which decides whether a draft model's guess there stands."""
    return _numbers(seeds, positions, _ACCEPT)


def gumbel(seed: int, positions: Sequence[int], *, step: int, n: int) -> Float64[Tensor, "positions n"]:
    """Standard Gumbel noise for each of `n` tokens at each of `positions` in a denoising step of a row, on the CPU."""
    numbers = np.stack([_uniforms(seed, position, step, _DRAW, n) for position in positions])
    return torch.from_numpy(numbers).log_().neg_().log_().neg_()


def order_noise(seed: int, positions: Sequence[int], *, step: int) -> list[float]:
    """A uniform number for each of `positions`, by which random remasking orders them."""
    return [float(_uniforms(seed, position, step, _ORDER, 1)[0]) for position in positions]


def _numbers(seeds: Sequence[int], positions: Sequence[int], purpose: int) -> Float64[Tensor, " b"]:
    each = [float(_uniforms(s, p, 0, purpose, 1)[0]) for s, p in zip(seeds, positions, strict=True)]
    return torch.tensor(each, dtype=torch.float64)


def _uniforms(seed: int, position: int, step: int, purpose: int, n: int) -> np.ndarray:
    """`n` numbers strictly between 0 and 1, of 52 random bits each, so that no logarithm is infinite."""
    counter = np.array([0, purpose, position, step], dtype=np.uint64)
    bits = np.random.Philox(key=seed % 2**128, counter=counter).random_raw(n)
    return ((bits >> np.uint64(12)) + 0.5) * 2.0**-52
