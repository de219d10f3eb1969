"""AdamW: Adam whose weight decay shrinks the weights directly and never enters the moments.

    p <- p (1 - lr weight_decay), then Adam's update with the plain gradient.

Loshchilov and Hutter, "Decoupled weight decay regularization", arXiv:1711.05101, algorithm 2 (with torch's convention:
the decay is scaled by the learning rate of the step, so it follows the schedule).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hornbook.optim.adam_update import adam_numbers, adam_update, first_moments
from hornbook.optim.rule import Counts, Numbers, Rule, Tensors


@dataclass(frozen=True, kw_only=True)
class AdamW(Rule):
    """Decay beside the gradient."""

    betas: tuple[float, float]
    eps: float
    weight_decay: float

    def first_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """Zero moments."""
        return first_moments(parameter)

    def advance(self, counts: Counts, *, lr: float) -> tuple[Numbers, Counts]:
        """Bias corrections, and what decay leaves."""
        numbers, after = adam_numbers(counts, lr=lr, betas=self.betas)
        return {**numbers, "kept": 1.0 - lr * self.weight_decay}, after

    def update(self, tensors: Tensors, numbers: Numbers) -> None:
        """Decay, then moments and move."""
        if self.weight_decay:
            torch._foreach_mul_(tensors.parameters, numbers["kept"])
        adam_update(tensors, tensors.gradients, numbers, betas=self.betas, eps=self.eps)
