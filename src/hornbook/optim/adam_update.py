"""The arithmetic that the forms of Adam share: running moments of the gradient, and one move along them.

    m <- beta1 m + (1 - beta1) g            first moment
    v <- beta2 v + (1 - beta2) g^2          second moment
    p <- p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

Kingma and Ba, "Adam", arXiv:1412.6980, algorithm 1.
"""

import torch
from torch import Tensor

from hornbook.optim.rule import Counts, Number, Numbers, Tensors, zeros


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
    update_moments(tensors, gradients, betas=betas)
    moves = torch._foreach_div(tensors.state["exp_avg"], root_of_second(tensors, numbers["correction"], eps=eps))
    torch._foreach_mul_(moves, numbers["rate"])
    torch._foreach_add_(tensors.parameters, moves)


def update_moments(tensors: Tensors, gradients: list[Tensor], *, betas: tuple[float, float]) -> None:
    """Both moments, in place."""
    torch._foreach_lerp_(tensors.state["exp_avg"], gradients, 1.0 - betas[0])
    update_second(tensors, gradients, beta2=betas[1])


def update_second(tensors: Tensors, gradients: list[Tensor], *, beta2: float) -> None:
    """The second moment, in place."""
    torch._foreach_mul_(tensors.state["exp_avg_sq"], beta2)
    torch._foreach_addcmul_(tensors.state["exp_avg_sq"], gradients, gradients, 1.0 - beta2)


def root_of_second(tensors: Tensors, correction: Number, *, eps: float) -> tuple[Tensor, ...]:
    """What moves are divided by: sqrt(v) times the root of its bias correction, plus eps."""
    roots: tuple[Tensor, ...] = torch._foreach_sqrt(tensors.state["exp_avg_sq"])
    torch._foreach_mul_(roots, correction)
    torch._foreach_add_(roots, eps)
    return roots
