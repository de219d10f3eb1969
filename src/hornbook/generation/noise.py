"""Sampling noise as a function of (row seed, position), with no state.

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


def uniform(seed: int, position: int) -> float:
    """The one number in [0, 1), with 53 random bits, that decides the token at `position` of a row with `seed`.

    `position` counts from the start of the row's prompt, as given, and never restarts when the window slides.
    """
    bits = int(np.random.Philox(key=seed % 2**128, counter=position).random_raw())
    return (bits >> 11) * 2.0**-53


def row_noise(seeds: Sequence[int], positions: Sequence[int]) -> Float64[Tensor, " b"]:
    """`uniform` of each row, on the CPU."""
    return torch.tensor([uniform(s, p) for s, p in zip(seeds, positions, strict=True)], dtype=torch.float64)
