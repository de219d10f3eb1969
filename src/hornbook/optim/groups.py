"""Which parameters decay, and how the learning rate reaches every group.

A group is torch's dictionary of parameters that share settings. Ours carry `param_names` (bare model names: checkpoints
are keyed by them, never by position) and `initial_lr`, the peak that the schedule multiplies.
"""

from collections.abc import Iterable, Mapping
from typing import NotRequired, TypedDict

from torch.nn import Parameter
from torch.optim import Optimizer

from hornbook.config.optim import OptimConfig, Role


class ParameterGroup(TypedDict):
    """One group as handed to an optimizer; what is left out comes from `[optim]`."""

    params: list[tuple[str, Parameter]]
    weight_decay: float
    lr: NotRequired[float]
    initial_lr: NotRequired[float]


def parameter_groups(
    named_parameters: Iterable[tuple[str, Parameter]], roles: Mapping[str, Role], config: OptimConfig
) -> list[ParameterGroup]:
    """At most two groups: parameters whose role is in `config.decay`, and the others, which never decay.

    Frozen parameters (requires_grad false) belong to no group. Every other name must have a role.
    """
    decaying: list[tuple[str, Parameter]] = []
    fixed: list[tuple[str, Parameter]] = []
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            (decaying if roles[name] in config.decay else fixed).append((name, parameter))
    groups: list[ParameterGroup] = [
        {"params": decaying, "weight_decay": config.weight_decay},
        {"params": fixed, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def set_learning_rate(optimizer: Optimizer, multiplier: float) -> None:
    """Write `multiplier` times its own peak into every group."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * multiplier
