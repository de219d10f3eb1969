"""The next-token loss one target at a time, from whole logits, in Python floats."""

import math


def smoothed_cross_entropy(logits: list[float], target: int, epsilon: float) -> float:
    """-sum q log p with q = (1 - epsilon) one-hot + epsilon / V."""
    top = max(logits)
    log_z = top + math.log(math.fsum(math.exp(value - top) for value in logits))
    smoothing = epsilon / len(logits)
    return -math.fsum(
        (smoothing + (1 - epsilon if index == target else 0)) * (value - log_z) for index, value in enumerate(logits)
    )


def log_normaliser(logits: list[float]) -> float:
    """log sum exp."""
    top = max(logits)
    return top + math.log(math.fsum(math.exp(value - top) for value in logits))
