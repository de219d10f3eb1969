"""NAdamW: AdamW that looks one step ahead along its momentum, whose strength follows a schedule of its own.

    mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)          Mu_t = mu_1 ... mu_t
    d    = (1 - mu_t) / (1 - Mu_t) g + mu_(t+1) / (1 - Mu_(t+1)) m
    p   <- p (1 - lr weight_decay) - lr d / (sqrt(v / (1 - beta2^t)) + eps)

with Adam's moments m and v. Dozat, "Incorporating Nesterov momentum into Adam", 2016, algorithm 2; decay as in AdamW,
so it equals torch.optim.NAdam with decoupled_weight_decay.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hornbook.optim.adam_update import first_moments, root_of_second, update_moments
from hornbook.optim.rule import Counts, Numbers, Rule, Tensors


@dataclass(frozen=True, kw_only=True)
class NAdamW(Rule):
    """Nesterov momentum in Adam, decay beside the gradient."""

    betas: tuple[float, float]
    eps: float
    weight_decay: float
    momentum_decay: float

    def first_counts(self) -> Counts:
        """No updates; the empty product of momenta."""
        return {"step": 0.0, "mu_product": 1.0}

    def first_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """Zero moments."""
        return first_moments(parameter)

    def advance(self, counts: Counts, *, lr: float) -> tuple[Numbers, Counts]:
        """Weights of gradient and momentum, the bias correction, and what decay leaves."""
        step = counts["step"] + 1.0
        mu, mu_next = self._momentum(step), self._momentum(step + 1.0)
        product = counts["mu_product"] * mu
        numbers = {
            "gradient_rate": -lr * (1.0 - mu) / (1.0 - product),
            "momentum_rate": -lr * mu_next / (1.0 - product * mu_next),
            "correction": (1.0 - self.betas[1] ** step) ** -0.5,
            "kept": 1.0 - lr * self.weight_decay,
        }
        return numbers, {"step": step, "mu_product": product}

    def _momentum(self, step: float) -> float:
        return self.betas[0] * (1.0 - 0.5 * math.pow(0.96, step * self.momentum_decay))

    def update(self, tensors: Tensors, numbers: Numbers) -> None:
        """Decay, then moments and move."""
        if self.weight_decay:
            torch._foreach_mul_(tensors.parameters, numbers["kept"])
        update_moments(tensors, tensors.gradients, betas=self.betas)
        moves = torch._foreach_mul(tensors.gradients, numbers["gradient_rate"])
        torch._foreach_add_(moves, torch._foreach_mul(tensors.state["exp_avg"], numbers["momentum_rate"]))
        torch._foreach_div_(moves, root_of_second(tensors, numbers["correction"], eps=self.eps))
        torch._foreach_add_(tensors.parameters, moves)
