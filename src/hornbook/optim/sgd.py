"""Stochastic gradient descent with momentum, decay inside the gradient, as torch.optim.SGD has them.

    g <- g + weight_decay p
    m <- momentum m + g
    p <- p - lr m,   or with Nesterov   p <- p - lr (g + momentum m)

Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hornbook.optim.rule import Counts, Numbers, Rule, Tensors, zeros


@dataclass(frozen=True, kw_only=True)
class Sgd(Rule):
    """Momentum 0 is plain gradient descent, without state."""

    momentum: float
    nesterov: bool
    weight_decay: float

    def first_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """Zero momentum."""
        return {"momentum": zeros(parameter)} if self.momentum else {}

    def advance(self, counts: Counts, *, lr: float) -> tuple[Numbers, Counts]:
        """The rate."""
        return {"rate": -lr}, {"step": counts["step"] + 1.0}

    def update(self, tensors: Tensors, numbers: Numbers) -> None:
        """Decay into the gradient, momentum, move."""
        gradients = tensors.gradients
        if self.weight_decay:
            gradients = list(torch._foreach_add(gradients, tensors.parameters, alpha=self.weight_decay))
        moves = gradients
        if self.momentum:
            buffers = tensors.state["momentum"]
            torch._foreach_mul_(buffers, self.momentum)
            torch._foreach_add_(buffers, gradients)
            moves = list(torch._foreach_add(gradients, buffers, alpha=self.momentum)) if self.nesterov else buffers
        torch._foreach_add_(tensors.parameters, torch._foreach_mul(moves, numbers["rate"]))
