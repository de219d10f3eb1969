"""Which parameters move together, and how the learning rate reaches them.

A group is torch's dictionary of parameters that share settings. Ours carry the rule that moves them, `param_names`
(bare model names: checkpoints are keyed by them, never by position) and `initial_lr`, the peak that the schedule
multiplies.
"""

from typing import TypedDict

import torch
from torch.nn import Parameter

from hornbook.optim.rule import Rule


class ParameterGroup(TypedDict):
    """One group as handed to an optimizer."""

    params: list[tuple[str, Parameter]]
    rule: Rule
    lr: float
    initial_lr: float


def set_learning_rate(optimizer: torch.optim.Optimizer, multiplier: float) -> None:
    """Write `multiplier` times its own peak into every group."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * multiplier
