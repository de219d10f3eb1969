"""The arithmetic that Adam and AdamW share: running moments of the gradient, and one move along them.

    m <- beta1 m + (1 - beta1) g            first moment
    v <- beta2 v + (1 - beta2) g^2          second moment
    p <- p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

Kingma and Ba, "Adam", arXiv:1412.6980, algorithm 1. The `torch._foreach_` functions take a whole list of tensors: a few
kernel launches on a GPU, whatever the number of parameters.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hornbook.config.optim import OptimConfig


def group_defaults(config: OptimConfig) -> dict[str, object]:
    """The numbers of `[optim]` under torch's names, for the groups that do not bring their own."""
    return {
        "lr": config.learning_rate,
        "initial_lr": config.learning_rate,
        "betas": config.betas,
        "eps": config.eps,
        "weight_decay": config.weight_decay,
    }


def first_state(parameter: Tensor) -> dict[str, Tensor]:
    """Zero moments, and the number of updates so far as a 0-d CPU tensor: float32 counts exactly to 2^24."""
    return {
        "step": torch.zeros((), dtype=torch.float32),
        "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
        "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
    }


@dataclass(frozen=True, kw_only=True)
class Active:
    """Those parameters of a group that have a gradient, in parallel lists."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    first: list[Tensor]
    second: list[Tensor]
    steps: list[Tensor]


def active(parameters: Iterable[Tensor], state: Mapping[Tensor, dict[str, Tensor]]) -> Active:
    """Parameters without a gradient are left alone: they neither move nor decay, and their step does not count."""
    chosen = [parameter for parameter in parameters if parameter.grad is not None]
    return Active(
        parameters=chosen,
        gradients=[parameter.grad for parameter in chosen if parameter.grad is not None],
        first=[state[parameter]["exp_avg"] for parameter in chosen],
        second=[state[parameter]["exp_avg_sq"] for parameter in chosen],
        steps=[state[parameter]["step"] for parameter in chosen],
    )


def adam_update_(
    tensors: Active, gradients: list[Tensor], *, lr: float, betas: tuple[float, float], eps: float
) -> None:
    """One update in place of `tensors.parameters`, their moments and their steps."""
    beta1, beta2 = betas
    torch._foreach_add_(tensors.steps, 1.0)
    torch._foreach_lerp_(tensors.first, gradients, 1.0 - beta1)
    torch._foreach_mul_(tensors.second, beta2)
    torch._foreach_addcmul_(tensors.second, gradients, gradients, 1.0 - beta2)

    counts = [step.item() for step in tensors.steps]
    denominators = torch._foreach_sqrt(tensors.second)
    torch._foreach_div_(denominators, [(1.0 - beta2**count) ** 0.5 for count in counts])
    torch._foreach_add_(denominators, eps)
    scales = [-lr / (1.0 - beta1**count) for count in counts]
    torch._foreach_addcdiv_(tensors.parameters, tensors.first, denominators, scales)
