"""Lion: the sign of a mixture of momentum and gradient; half of Adam's state.

    u  = sign(beta1 m + (1 - beta1) g)
    p <- p (1 - lr weight_decay) - lr u
    m <- beta2 m + (1 - beta2) g

Chen et al., "Symbolic discovery of optimization algorithms", arXiv:2302.06675, algorithm 2. Rates are 3 to 10 times
lower than AdamW's, and decays higher by as much.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hornbook.optim.rule import Counts, Numbers, Rule, Tensors, zeros


@dataclass(frozen=True, kw_only=True)
class Lion(Rule):
    """Decay beside the sign."""

    betas: tuple[float, float]
    weight_decay: float

    def first_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """Zero momentum."""
        return {"exp_avg": zeros(parameter)}

    def advance(self, counts: Counts, *, lr: float) -> tuple[Numbers, Counts]:
        """The rate, and what decay leaves."""
        return {"rate": -lr, "kept": 1.0 - lr * self.weight_decay}, {"step": counts["step"] + 1.0}

    def update(self, tensors: Tensors, numbers: Numbers) -> None:
        """Decay, move, momentum."""
        if self.weight_decay:
            torch._foreach_mul_(tensors.parameters, numbers["kept"])
        momentum = tensors.state["exp_avg"]
        moves = torch._foreach_lerp(momentum, tensors.gradients, 1.0 - self.betas[0])
        torch._foreach_sign_(moves)
        torch._foreach_mul_(moves, numbers["rate"])
        torch._foreach_add_(tensors.parameters, moves)
        torch._foreach_lerp_(momentum, tensors.gradients, 1.0 - self.betas[1])
