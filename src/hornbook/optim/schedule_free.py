"""Schedule-free AdamW: an average of the iterates takes the place of a decaying learning rate.

    u  = g / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay y      gradient and decay at y
    z <- z - lr u                                                  the iterate
    x <- (1 - c) x + c z,   c = lr_max^2 / sum of lr_max^2          the average, later updates and larger rates first
    y  = (1 - beta1) z + beta1 x                                   where gradients are taken

The parameters are y while training; x is what to evaluate, sample and save (hornbook.optim.averaging). Only y and z are
kept, since x follows from them. Rates rise by the warm-up of `[schedule]` and then stay: lr_max is the largest so far.

Defazio et al., "The road less scheduled", arXiv:2405.15682, algorithm 1, with the weights of its published code.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hornbook.optim.adam_update import root_of_second, update_second
from hornbook.optim.rule import Counts, Numbers, Rule, Tensors, zeros


@dataclass(frozen=True, kw_only=True)
class ScheduleFreeAdamW(Rule):
    """beta1, above 0, mixes average and iterate; there is no other momentum."""

    betas: tuple[float, float]
    eps: float
    weight_decay: float

    def first_counts(self) -> Counts:
        """No updates, no weights."""
        return {"step": 0.0, "lr_max": 0.0, "weight_sum": 0.0}

    def first_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """z begins where the parameter does."""
        return {"z": parameter.detach().clone(), "exp_avg_sq": zeros(parameter)}

    def advance(self, counts: Counts, *, lr: float) -> tuple[Numbers, Counts]:
        """The weight of the new iterate, rates for y and z, the bias correction."""
        step = counts["step"] + 1.0
        lr_max = max(lr, counts["lr_max"])
        weight_sum = counts["weight_sum"] + lr_max**2
        share = lr_max**2 / weight_sum if weight_sum else 0.0
        numbers = {
            "share": share,
            "rest": 1.0 - share,
            "y_rate": lr * (self.betas[0] * (1.0 - share) - 1.0),
            "z_rate": -lr,
            "correction": (1.0 - self.betas[1] ** step) ** -0.5,
        }
        return numbers, {"step": step, "lr_max": lr_max, "weight_sum": weight_sum}

    def update(self, tensors: Tensors, numbers: Numbers) -> None:
        """Second moment, then y and z."""
        y, z = tensors.parameters, tensors.state["z"]
        update_second(tensors, tensors.gradients, beta2=self.betas[1])
        moves = torch._foreach_div(tensors.gradients, root_of_second(tensors, numbers["correction"], eps=self.eps))
        if self.weight_decay:
            torch._foreach_add_(moves, y, alpha=self.weight_decay)
        # y' = (1 - c) y + c z + lr (beta1 (1 - c) - 1) u, which is y of the new z and x.
        torch._foreach_mul_(y, numbers["rest"])
        torch._foreach_add_(y, torch._foreach_mul(z, numbers["share"]))
        torch._foreach_add_(y, torch._foreach_mul(moves, numbers["y_rate"]))
        torch._foreach_mul_(moves, numbers["z_rate"])
        torch._foreach_add_(z, moves)

    def average_(self, y: Tensor, z: Tensor) -> None:
        """Turn y into x, in place."""
        y.lerp_(z, 1.0 - 1.0 / self.betas[0])
