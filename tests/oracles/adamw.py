"""Adam and AdamW for one number at a time, in Python floats, straight from algorithm 2 of arXiv:1711.05101."""

import math


def adam_path(
    start: float,
    gradients: list[float],
    *,
    learning_rates: list[float],
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> list[float]:
    """The weight after each update. `decoupled` true is AdamW, false adds the decay to the gradient."""
    beta1, beta2 = betas
    weight, m, v, path = start, 0.0, 0.0, []
    for t, (gradient, rate) in enumerate(zip(gradients, learning_rates, strict=True), start=1):
        g = gradient if decoupled else gradient + weight_decay * weight
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        move = rate * m_hat / (math.sqrt(v_hat) + eps)
        weight = weight - move - (rate * weight_decay * weight if decoupled else 0.0)
        path.append(weight)
    return path
