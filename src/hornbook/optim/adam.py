"""Adam with weight decay in its original form: an L2 penalty, added to the gradient before the moments.

    g <- g + weight_decay p, then Adam's update.

Kingma and Ba, "Adam", arXiv:1412.6980. AdamW (hornbook.optim.adamw) is what language models want; this is for recipes
that predate it, such as "Attention is all you need".
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hornbook.optim.adam_update import adam_numbers, adam_update, first_moments
from hornbook.optim.rule import Counts, Numbers, Rule, Tensors


@dataclass(frozen=True, kw_only=True)
class Adam(Rule):
    """Decay inside the gradient."""

    betas: tuple[float, float]
    eps: float
    weight_decay: float

    def first_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """Zero moments."""
        return first_moments(parameter)

    def advance(self, counts: Counts, *, lr: float) -> tuple[Numbers, Counts]:
        """Bias corrections."""
        return adam_numbers(counts, lr=lr, betas=self.betas)

    def update(self, tensors: Tensors, numbers: Numbers) -> None:
        """Decay into the gradient, then moments and move."""
        gradients = tensors.gradients
        if self.weight_decay:
            gradients = list(torch._foreach_add(gradients, tensors.parameters, alpha=self.weight_decay))
        adam_update(tensors, gradients, numbers, betas=self.betas, eps=self.eps)
