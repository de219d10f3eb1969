"""Ways to hide tokens of one text, as weights: an estimate of its negative log-likelihood is sum(weight * nll).

    hideable    . . x x x x        the tokens to measure; the others stay visible
    weight      0 0 0 2 0 2        one reading: tokens of positive weight are hidden from the model and counted
                0 0 4 0 0 0        another

For a model that names each hidden token from the visible ones, all three estimators here have one and the same mean
(LLaDA, arXiv:2502.09992, equations 3 and 6):

    E_k [ L/k  sum of nll over k hidden tokens ]    =  integral over p of E [ 1/p  sum of nll, each hidden with p ]
      =  the mean over all orders of naming the tokens one by one, by the chain rule

It is -log p of the text where the model's answers agree with one distribution, and by Jensen's inequality at least
-log p of drawing the tokens in a random order where they do not: so it is reported as "at most".
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float64

from hornbook.errors import ConfigError

Weights = Float64[np.ndarray, "n t"]
Draw = Callable[[Bool[np.ndarray, " t"], np.random.Generator], Weights]
"""From the hideable tokens and a source of random numbers to n readings."""

MIN_MASK_PROBABILITY = 1e-3
"""Below, `bernoulli` has readings of hardly any hidden token and of huge weight. What its mean leaves out by that is at
most about a thousandth of the largest difference between mask probabilities."""
MOST_ENUMERATED = 12


def fixed_count(hideable: Bool[np.ndarray, " t"], rng: np.random.Generator, *, draws: int) -> Weights:
    """Each reading hides k of the L hideable tokens, with weight L / k over the number of draws.

    Every k is uniform on 1..L, and the k of the draws are spread evenly: k_i = (k + floor(i L / draws)) mod L. (LLaDA's
    code rounds instead of taking the floor, which favours even k where i L / draws ends in .5.)
    """
    length = int(hideable.sum())
    counts = (rng.integers(length) + np.arange(draws) * length // draws) % length + 1
    place = rng.random((draws, length)).argsort(axis=1).argsort(axis=1)
    return _spread((place < counts[:, None]) * (length / counts[:, None] / draws), hideable)


def bernoulli(
    hideable: Bool[np.ndarray, " t"],
    rng: np.random.Generator,
    *,
    draws: int,
    min_mask_probability: float = MIN_MASK_PROBABILITY,
) -> Weights:
    """Each reading hides each token with its own p, weight 1 / p over the number of draws; p are spread evenly.

    p is uniform on [min_mask_probability, 1], as in training.
    """
    time = (rng.random() + np.arange(draws) / draws) % 1.0
    p = ((1.0 - min_mask_probability) * time + min_mask_probability)[:, None]
    return _spread((rng.random((draws, int(hideable.sum()))) < p) / p / draws, hideable)


def every_mask(hideable: Bool[np.ndarray, " t"], rng: np.random.Generator | None = None) -> Weights:
    """All 2^L - 1 ways to hide some of the L tokens: the exact mean of the other two (of `bernoulli` from p = 0 on).

    Raises:
        ConfigError: for more than 12 tokens.
    """
    length = int(hideable.sum())
    if length > MOST_ENUMERATED:
        raise ConfigError(
            f'eval.bound.estimator = "exact" reads a text in every way, 2^{length} of them for {length} tokens; choose '
            f"windows or answers of at most {MOST_ENUMERATED} tokens, or the estimator fixed_count"
        )
    hidden = (np.arange(1, 2**length)[:, None] >> np.arange(length)) & 1
    counts = hidden.sum(axis=1, keepdims=True)
    ways = np.cumprod([1.0, *((length - k) / (k + 1) for k in range(length))])  # binomial coefficients
    return _spread(hidden / (counts * ways[counts]), hideable)


def by_block(draw: Draw, hideable: Bool[np.ndarray, " t"], rng: np.random.Generator, *, block_length: int) -> Weights:
    """The draws of each block of `block_length` tokens side by side: what a block diffusion model is measured by.

    Its likelihood is a product over blocks, each given the finished ones before it, so that one reading measures every
    block, by as many hidden tokens as that block has drawn.
    """
    blocks = [
        draw(hideable[first : first + block_length], rng)
        if hideable[first : first + block_length].any()
        else np.zeros((0, len(hideable[first : first + block_length])))
        for first in range(0, len(hideable), block_length)
    ]
    readings = max(len(block) for block in blocks)
    return np.concatenate([np.pad(block, ((0, readings - len(block)), (0, 0))) for block in blocks], axis=1)


def _spread(weights: Float64[np.ndarray, "n own"], hideable: Bool[np.ndarray, " t"]) -> Weights:
    """Weights of the hideable tokens at their places in the text."""
    whole = np.zeros((len(weights), len(hideable)))
    whole[:, hideable] = weights
    return whole
