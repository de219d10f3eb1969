"""AdamW: Adam whose weight decay shrinks the weights directly and never enters the moments.

    p <- p (1 - lr weight_decay), then Adam's update with the plain gradient.

Loshchilov and Hutter, "Decoupled weight decay regularization", arXiv:1711.05101, algorithm 2 (with torch's convention:
the decay is scaled by the learning rate of the step, so it follows the schedule).
"""

from collections.abc import Callable, Iterable

import torch
from torch.optim import Optimizer

from hornbook.config.optim import OptimConfig
from hornbook.optim.adam_update import active, adam_update_, first_state, group_defaults
from hornbook.optim.groups import ParameterGroup


class AdamW(Optimizer):
    """Decay beside the gradient; `groups` come from `parameter_groups`. All state exists from the start."""

    def __init__(self, groups: Iterable[ParameterGroup], config: OptimConfig) -> None:
        super().__init__([dict(group) for group in groups], group_defaults(config))
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter] = first_state(parameter)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient. A closure is not supported."""
        assert closure is None
        for group in self.param_groups:
            tensors = active(group["params"], self.state)
            if not tensors.parameters:
                continue
            if group["weight_decay"]:
                torch._foreach_mul_(tensors.parameters, 1.0 - group["lr"] * group["weight_decay"])
            adam_update_(tensors, tensors.gradients, lr=group["lr"], betas=group["betas"], eps=group["eps"])
