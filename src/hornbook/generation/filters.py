"""From logits to a token: pure functions, applied in the one documented order (Hugging Face's).

    repetition penalty -> temperature -> top_k -> top_p -> min_p -> draw

Each filter keeps at least one token and marks what it drops with -inf. top_p is nucleus sampling (Holtzman et al.
2020, arXiv:1904.09751), min_p is Nguyen et al. 2024 (arXiv:2407.01082), the repetition penalty is CTRL's (Keskar et
al. 2019, arXiv:1909.05858). The draw is an inverse CDF in float64 of one uniform number a row, so it costs one random
number a token and a row's token depends on nothing but its own logits and its own number.
"""

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from hornbook.config.generate import SamplingConfig
from hornbook.errors import GenerationError

DROPPED = float("-inf")
EXTREME = 1e100
"""Settings count as at most this and at least its inverse: float32 logits cannot tell the difference, and in float64
nothing overflows, whatever is asked for."""


def repetition_penalty(
    logits: Float[Tensor, "b v"], seen: Bool[Tensor, "b v"], *, penalty: float
) -> Float[Tensor, "b v"]:
    """Logits (float64) with every seen token made less likely: divided by `penalty` if positive, else multiplied.

    `seen` marks the tokens of prompt and output; a token that occurs ten times is penalised once. 1 is no penalty.
    """
    logits = logits.double()
    penalty = min(max(penalty, 1 / EXTREME), EXTREME)
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def temperature(logits: Float[Tensor, "b v"], *, value: float) -> Float[Tensor, "b v"]:
    """Logits (float64) over `value` > 0: below 1 sharpens, above 1 flattens. (0 is greedy and never comes here.)"""
    return logits.double() / max(value, 1 / EXTREME)


def top_k(logits: Float[Tensor, "b v"], *, k: int) -> Float[Tensor, "b v"]:
    """Logits of exactly the k likeliest tokens; among equal ones at the border the lower ids stay."""
    kth = logits.topk(min(k, logits.shape[-1]), dim=-1).values[:, -1:]  # (B, 1)
    above = logits > kth
    tied = logits == kth
    room = k - above.sum(dim=-1, keepdim=True)
    return logits.masked_fill(~(above | (tied & (tied.cumsum(dim=-1) <= room))), DROPPED)


def top_p(logits: Float[Tensor, "b v"], *, p: float) -> Float[Tensor, "b v"]:
    """Logits of the smallest set of likeliest tokens whose mass is at least p; the token that crosses p stays."""
    if p >= 1.0:  # float sums may pass 1 early and drop a tail that the definition keeps
        return logits
    ordered, ids = logits.sort(dim=-1, descending=True, stable=True)  # stable: equal tokens leave highest id first
    mass = ordered.double().softmax(dim=-1)
    mass_before = mass.cumsum(dim=-1) - mass
    mass_before[:, 0] = 0.0  # exactly: the likeliest token always stays
    return torch.full_like(logits, DROPPED).scatter(-1, ids, ordered.masked_fill(mass_before >= p, DROPPED))


def min_p(logits: Float[Tensor, "b v"], *, p: float) -> Float[Tensor, "b v"]:
    """Logits of the tokens that are at least p times as likely as the likeliest one."""
    probabilities = logits.double().softmax(dim=-1)
    floor = p * probabilities.amax(dim=-1, keepdim=True)
    return logits.masked_fill(probabilities < floor, DROPPED)


def apply_filters(
    logits: Float[Tensor, "b v"], seen: Bool[Tensor, "b v"], sampling: SamplingConfig
) -> Float[Tensor, "b v"]:
    """Logits after every filter that `sampling` sets, in the order of this module; greedy needs only the penalty."""
    if sampling.repetition_penalty != 1.0:
        logits = repetition_penalty(logits, seen, penalty=sampling.repetition_penalty)
    if sampling.temperature == 0.0:
        return logits
    logits = temperature(logits, value=sampling.temperature)
    if sampling.top_k is not None:
        logits = top_k(logits, k=sampling.top_k)
    if sampling.top_p is not None:
        logits = top_p(logits, p=sampling.top_p)
    if sampling.min_p is not None:
        logits = min_p(logits, p=sampling.min_p)
    return logits


def sample(logits: Float[Tensor, "b v"], noise: Float64[Tensor, " b"]) -> Int64[Tensor, " b"]:
    """One token a row by inverse CDF: the first token whose cumulative probability passes noise in [0, 1)."""
    cumulative = logits.double().softmax(dim=-1).cumsum(dim=-1)
    total = cumulative[:, -1]
    # noise * total may round up to total, past the last token of positive probability
    target = torch.minimum(noise * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target[:, None], right=True)[:, 0]


def choose(
    logits: Float[Tensor, "b v"],
    seen: Bool[Tensor, "b v"],
    noise: Float64[Tensor, " b"],
    sampling: SamplingConfig,
) -> Int64[Tensor, " b"]:
    """The next token of each row: filters, then a draw; at temperature 0 the likeliest, of equals the lowest id.

    Raises:
        GenerationError: if a row's logits hold NaN or +inf, or nothing finite.
    """
    refuse_broken(logits)
    filtered = apply_filters(logits, seen, sampling)
    return filtered.argmax(dim=-1) if sampling.temperature == 0.0 else sample(filtered, noise)


def refuse_broken(logits: Float[Tensor, "b v"]) -> None:
    """Raise GenerationError where logits cannot be turned into probabilities."""
    if not bool(logits.amax(dim=-1).isfinite().all()):  # amax spreads NaN, and shows +inf and rows of only -inf
        raise broken_logits()


def broken_logits() -> GenerationError:
    """What is wrong where logits are not finite, and what to do."""
    return GenerationError(
        "the model's logits hold NaN or infinity, expected finite numbers; its weights are damaged or training "
        "diverged: try `hornbook checkpoint verify`, an earlier checkpoint or the best one"
    )
