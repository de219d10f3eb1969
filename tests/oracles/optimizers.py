"""Optimizers that torch does not have, for one number at a time, in Python floats, straight from their papers."""

import math


def lion_path(
    weight: float, gradients: list[float], rates: list[float], *, betas: tuple[float, float], weight_decay: float
) -> list[float]:
    """arXiv:2302.06675, algorithm 2."""
    m, path = 0.0, []
    for g, rate in zip(gradients, rates, strict=True):
        mixed = betas[0] * m + (1 - betas[0]) * g
        sign = 0.0 if mixed == 0 else math.copysign(1.0, mixed)
        weight = weight - rate * (sign + weight_decay * weight)
        m = betas[1] * m + (1 - betas[1]) * g
        path.append(weight)
    return path


def sign_sgd_path(
    weight: float, gradients: list[float], rates: list[float], *, momentum: float, weight_decay: float
) -> list[float]:
    """arXiv:1802.04434, algorithm 2 (Signum), on one worker, with decoupled decay."""
    m, path = 0.0, []
    for g, rate in zip(gradients, rates, strict=True):
        m = momentum * m + (1 - momentum) * g
        sign = 0.0 if m == 0 else math.copysign(1.0, m)
        weight = weight - rate * (sign + weight_decay * weight)
        path.append(weight)
    return path


def schedule_free_path(
    weight: float,
    gradients: list[float],
    rates: list[float],
    *,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> list[tuple[float, float]]:
    """(y, x) after each update: arXiv:2405.15682, equations 3 to 5 with z, x and y all kept, Adam's second moment."""
    beta1, beta2 = betas
    x = z = y = weight
    v = weight_sum = lr_max = 0.0
    path = []
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        v = beta2 * v + (1 - beta2) * g * g
        u = g / (math.sqrt(v / (1 - beta2**t)) + eps) + weight_decay * y
        z = z - rate * u
        lr_max = max(lr_max, rate)
        weight_sum += lr_max**2
        c = lr_max**2 / weight_sum
        x = (1 - c) * x + c * z
        y = (1 - beta1) * z + beta1 * x
        path.append((y, x))
    return path


def ema_path(weights: list[float], start: float, decay: float) -> list[float]:
    """The average after each update of a weight that took these values, short at first."""
    average, path = start, []
    for t, weight in enumerate(weights, start=1):
        kept = min(decay, (1 + t) / (10 + t))
        average = kept * average + (1 - kept) * weight
        path.append(average)
    return path
