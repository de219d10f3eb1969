"""From one row of logits to a token, in time for a fast decode step: `filters.choose`, without sorting the vocabulary.

What is drawn is what `filters.choose` draws: the same filters in the same order, the same inverse CDF in float64 of the
same number. Sums run over fewer terms or in another order, which shows only where the number falls within rounding
(1e-15) of a border between two tokens. What makes it fast: the largest of every 64 logits bound the k-th largest of all
from below, so that few candidates are sorted; top_p needs no more of them unless its mass is spread over many tokens,
and then sorts the border alone; the running sum is taken over blocks first. In numpy, whose calls cost less than
torch's.
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Int64

from hornbook.config.generate import SamplingConfig
from hornbook.generation.filters import EXTREME, broken_logits

GROUP = 64
"""Logits of which the largest, or the sum, is taken first."""
CANDIDATES = 256
"""How many of the likeliest tokens top_p looks at first."""
BINS, SPAN = 1024, 40.0
"""Of the histogram: its width in nats below the likeliest token; what lies lower shares the last bin."""


def likeliest(logits: Float[np.ndarray, " v"], k: int) -> Int64[np.ndarray, " k"]:
    """Ids of the k largest logits (fewer if there are not as many), largest first; of equals the lowest id first."""
    groups = len(logits) // GROUP
    if k < groups:
        values = logits[: groups * GROUP].reshape(GROUP, groups).max(axis=0)  # along memory: ten times as fast
    else:
        values, groups = logits, len(logits)
    if k >= len(values):
        return np.argsort(-logits, kind="stable")
    bound = np.partition(values, groups - k)[groups - k]  # k logits are at least this
    ids = np.flatnonzero(logits >= bound)
    return ids[np.argsort(-logits[ids], kind="stable")[:k]]


def penalised(
    logits: Float[np.ndarray, " known"], seen: Bool[np.ndarray, " v"], penalty: float
) -> Float[np.ndarray, " known"]:
    """`filters.repetition_penalty` of one row, float64."""
    penalty = min(max(penalty, 1 / EXTREME), EXTREME)
    logits = logits.astype(np.float64)
    ids = np.flatnonzero(seen[: len(logits)])
    own = logits[ids]
    logits[ids] = np.where(own > 0, own / penalty, own * penalty)
    return logits


def draw(logits: Float[np.ndarray, " v"], noise: float, sampling: SamplingConfig) -> int:
    """The token that the number `noise` in [0, 1) chooses; at temperature 0 the likeliest, of equals the lowest id.

    The repetition penalty is the caller's, who knows what was seen; all other filters are here.

    Raises:
        GenerationError: if the logits hold NaN or +inf, or nothing finite.
    """
    highest = float(logits.max())
    if not math.isfinite(highest):
        raise broken_logits()
    if sampling.temperature == 0.0:
        return int(logits.argmax())
    ids = _kept(logits, highest, sampling)
    if ids is None:
        return _inverse_in_blocks(_weights(logits, highest, sampling), noise)
    ids.sort()  # the draw counts in order of ids
    cumulative = _weights(logits[ids], highest, sampling).cumsum()
    return int(ids[_position(cumulative, noise)])


def draw_known(
    logits: Float[np.ndarray, " v"],
    known: Float[np.ndarray, " known"],
    seen: Bool[np.ndarray, " v"] | None,
    noise: float,
    sampling: SamplingConfig,
) -> tuple[int, float]:
    """The token that `noise` chooses of `known`, the first logits with those dropped that may not come, and the
    logarithm of what the probabilities of all `logits` are divided by.

    `seen` says where the repetition penalty counts; None without one.

    Raises:
        GenerationError: as `draw`, whatever is known.
    """
    scale = log_sum_exp(logits)
    if not math.isfinite(scale):
        raise broken_logits()
    weighed = known if seen is None else penalised(known, seen, sampling.repetition_penalty)
    return draw(weighed, noise, sampling), scale


def _weights(logits: Float[np.ndarray, " n"], highest: float, sampling: SamplingConfig) -> Float[np.ndarray, " n"]:
    """What each token weighs against the likeliest one, float64."""
    inverse = 1.0 / max(sampling.temperature, 1 / EXTREME)
    weights: Float[np.ndarray, " n"] = np.subtract(logits, highest, dtype=np.float64)
    weights *= inverse
    np.exp(weights, out=weights)
    return weights


def _kept(logits: Float[np.ndarray, " v"], highest: float, sampling: SamplingConfig) -> Int64[np.ndarray, " n"] | None:
    """The ids that top_k, top_p and min_p leave, in any order; None for all."""
    top_p = 1.0 if sampling.top_p is None else sampling.top_p
    ids = None if sampling.top_k is None else likeliest(logits, sampling.top_k)
    if ids is not None and top_p < 1.0:
        weights = _weights(logits[ids], highest, sampling)
        ids = ids[: _nucleus(weights, 0.0, top_p * float(weights.sum()))]
    elif top_p < 1.0:
        ids = _likeliest_of_mass(logits, _weights(logits, highest, sampling), top_p)
    if not sampling.min_p:
        return ids
    weights = _weights(logits if ids is None else logits[ids], highest, sampling)
    passing = np.flatnonzero(weights >= sampling.min_p)  # the likeliest weighs 1
    return passing if ids is None else ids[passing]


def _likeliest_of_mass(
    logits: Float[np.ndarray, " v"], weights: Float[np.ndarray, " v"], p: float
) -> Int64[np.ndarray, " n"]:
    """What top_p keeps: sorted out of a few candidates if these have the mass, else by a histogram of the weights."""
    total = float(weights.sum())
    ids = likeliest(logits, CANDIDATES)
    own = weights[ids]
    if len(ids) == len(logits) or float(own.sum()) >= p * total * (1 + 1e-12):  # surely past the crossing token
        return ids[: _nucleus(own, 0.0, p * total)]
    with np.errstate(divide="ignore"):
        bins = np.minimum(-np.log(weights) * (BINS / SPAN), BINS - 1).astype(np.intp)
    mass = np.bincount(bins, weights, minlength=BINS)
    before = mass.cumsum() - mass
    crossing = int(np.searchsorted(before, p * total, side="left")) - 1
    border = np.flatnonzero(bins == crossing)
    border = border[np.argsort(-logits[border], kind="stable")]
    kept = _nucleus(weights[border], float(before[crossing]), p * total)
    return np.concatenate((np.flatnonzero(bins < crossing), border[:kept]))


def _nucleus(weights: Float[np.ndarray, " n"], before: float, target: float) -> int:
    """How many of the likeliest, largest first, come before `target` is reached; the one that crosses it counts."""
    running = before + (weights.cumsum() - weights)
    return max(1, int(np.searchsorted(running, target, side="left")))


def _inverse_in_blocks(weights: Float[np.ndarray, " v"], noise: float) -> int:
    """The inverse CDF over all tokens: which block, then which token of it."""
    n_whole = len(weights) // GROUP * GROUP
    sums = weights[:n_whole].reshape(n_whole // GROUP, GROUP) @ np.ones(GROUP)
    blocks = np.append(sums, weights[n_whole:].sum()).cumsum()
    block = _position(blocks, noise)
    base = float(blocks[block - 1]) if block else 0.0
    cumulative = weights[block * GROUP : (block + 1) * GROUP].cumsum()
    target = max(0.0, noise * float(blocks[-1]) - base)  # below 0 by rounding, it would find a token that weighs 0
    target = min(target, math.nextafter(float(cumulative[-1]), 0.0))
    return block * GROUP + int(np.searchsorted(cumulative, target, side="right"))


def _position(cumulative: Float[np.ndarray, " n"], noise: float) -> int:
    """The first whose cumulative weight passes `noise` of the total."""
    total = float(cumulative[-1])
    return int(np.searchsorted(cumulative, min(noise * total, math.nextafter(total, 0.0)), side="right"))


def log_sum_exp(logits: Float[np.ndarray, " v"]) -> float:
    """log(sum(exp(logits))) of one row; not finite where the logits hold NaN or +inf, or nothing finite."""
    highest = logits.max()
    if not math.isfinite(highest):
        return float(highest)
    return float(highest) + math.log(float(np.exp(logits - highest).sum()))
