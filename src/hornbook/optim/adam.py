"""Adam with weight decay in its original form: an L2 penalty, added to the gradient before the moments.

    g <- g + weight_decay p, then Adam's update.

Kingma and Ba, "Adam", arXiv:1412.6980. AdamW (hornbook.optim.adamw) is what language models want; this is for recipes
that predate it, such as "Attention is all you need".
"""

from collections.abc import Callable, Iterable

import torch
from torch.optim import Optimizer

from hornbook.config.optim import OptimConfig
from hornbook.optim.adam_update import active, adam_update_, first_state, group_defaults
from hornbook.optim.groups import ParameterGroup


class Adam(Optimizer):
    """Decay inside the gradient; `groups` come from `parameter_groups`. All state exists from the start."""

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
            gradients = tensors.gradients
            if group["weight_decay"]:
                # Out of place: the gradient belongs to the caller, who may still log it.
                decay = group["weight_decay"]
                gradients = list(torch._foreach_add(gradients, tensors.parameters, alpha=decay))
            adam_update_(tensors, gradients, lr=group["lr"], betas=group["betas"], eps=group["eps"])
