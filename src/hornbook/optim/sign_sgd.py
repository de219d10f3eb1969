"""signSGD with momentum ("Signum"): every weight moves by the learning rate, against the sign of its momentum.

    m <- momentum m + (1 - momentum) g
    p <- p (1 - lr weight_decay) - lr sign(m)

The sign is taken of the momentum, not of each gradient before averaging; sign(0) = 0.
Bernstein et al., "signSGD: compressed optimisation for non-convex problems", arXiv:1802.04434, algorithm 2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hornbook.optim.rule import Counts, Numbers, Rule, Tensors, zeros


@dataclass(frozen=True, kw_only=True)
class SignSgd(Rule):
    """Momentum 0 takes the sign of the gradient itself, without state."""

    momentum: float
    weight_decay: float

    def first_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """Zero momentum."""
        return {"momentum": zeros(parameter)} if self.momentum else {}

    def advance(self, counts: Counts, *, lr: float) -> tuple[Numbers, Counts]:
        """The rate, and what decay leaves."""
        return {"rate": -lr, "kept": 1.0 - lr * self.weight_decay}, {"step": counts["step"] + 1.0}

    def update(self, tensors: Tensors, numbers: Numbers) -> None:
        """Decay, momentum, move."""
        if self.weight_decay:
            torch._foreach_mul_(tensors.parameters, numbers["kept"])
        directions = tensors.gradients
        if self.momentum:
            directions = tensors.state["momentum"]
            torch._foreach_lerp_(directions, tensors.gradients, 1.0 - self.momentum)
        moves = torch._foreach_sign(directions)
        torch._foreach_mul_(moves, numbers["rate"])
        torch._foreach_add_(tensors.parameters, moves)
