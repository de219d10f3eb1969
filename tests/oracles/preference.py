"""Preference losses and scores one number at a time, in Python floats, from what a label may mean."""

import itertools
import math

from oracles.next_token import smoothed_cross_entropy


def surprise(margin: float, beta: float) -> float:
    """-log of the probability, by Bradley and Terry, that the chosen answer is the better one."""
    return math.log1p(math.exp(-beta * margin))


def loss(kind: str, margin: float, beta: float, flipped: float) -> float:
    """Of one pair, whose label is the wrong way round with probability `flipped`."""
    match kind:
        case "sigmoid":
            return math.fsum([(1 - flipped) * surprise(margin, beta), flipped * surprise(-margin, beta)])
        case "robust":  # what has the plain loss as its mean over labels that are flipped so often
            return ((1 - flipped) * surprise(margin, beta) - flipped * surprise(-margin, beta)) / (1 - 2 * flipped)
        case "ipo":
            return (margin - 0.5 / beta) * (margin - 0.5 / beta)
        case "hinge":
            return max(0.0, 1 - beta * margin)
    raise AssertionError(kind)


def log_probability(logits: list[list[float]], tokens: list[int], counted: list[bool]) -> float:
    """Of the counted tokens, each by the logits at the token before it."""
    return -math.fsum(
        smoothed_cross_entropy(logits[place - 1], tokens[place], 0.0)
        for place in range(1, len(tokens))
        if counted[place]
    )


def masks_of(answer: list[int]) -> list[tuple[tuple[int, ...], float]]:
    """Every way to mask some of an answer's places, with the share that a count uniform on 1..L gives it."""
    length = len(answer)
    return [
        (places, 1 / length / math.comb(length, count))
        for count in range(1, length + 1)
        for places in itertools.combinations(answer, count)
    ]


def masked_score(logits: list[list[float]], tokens: list[int], places: tuple[int, ...], length: int) -> float:
    """L / k times the log-probability of the masked tokens, each by the logits at its own place."""
    nll = math.fsum(smoothed_cross_entropy(logits[place], tokens[place], 0.0) for place in places)
    return -length / len(places) * nll
