"""The arithmetic that Adam and AdamW share: running moments of the gradient, and one move along them.

    m <- beta1 m + (1 - beta1) g            first moment
    v <- beta2 v + (1 - beta2) g^2          second moment
    p <- p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

Kingma and Ba, "Adam", arXiv:1412.6980, algorithm 1.
"""

import torch
from torch import Tensor

from hornbook.optim.rule import Counts, Numbers, Tensors, zeros


def first_moments(parameter: Tensor) -> dict[str, Tensor]:
    """Zero moments."""
    return {"exp_avg": zeros(parameter), "exp_avg_sq": zeros(parameter)}


def adam_numbers(counts: Counts, *, lr: float, betas: tuple[float, float]) -> tuple[dict[str, float], Counts]:
    """The bias corrections of the next update, the first of them with the rate in it."""
    step = counts["step"] + 1.0
    numbers = {"rate": -lr / (1.0 - betas[0] ** step), "correction": (1.0 - betas[1] ** step) ** -0.5}
    return numbers, {"step": step}


def adam_update(
    tensors: Tensors, gradients: list[Tensor], numbers: Numbers, *, betas: tuple[float, float], eps: float
) -> None:
    """One update in place of `tensors.parameters` and their moments."""
    beta1, beta2 = betas
    first, second = tensors.state["exp_avg"], tensors.state["exp_avg_sq"]
    torch._foreach_lerp_(first, gradients, 1.0 - beta1)
    torch._foreach_mul_(second, beta2)
    torch._foreach_addcmul_(second, gradients, gradients, 1.0 - beta2)

    denominators = torch._foreach_sqrt(second)
    torch._foreach_mul_(denominators, numbers["correction"])
    torch._foreach_add_(denominators, eps)
    moves = torch._foreach_div(first, denominators)
    torch._foreach_mul_(moves, numbers["rate"])
    torch._foreach_add_(tensors.parameters, moves)
