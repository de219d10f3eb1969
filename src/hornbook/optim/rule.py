"""What an optimizer is here: a rule for how parameters move, written once for every way of running it.

A rule keeps no state and no time. Its tensors come as parallel lists, so that one `torch._foreach_` call moves all of
them; what changes from update to update (rates, corrections) is worked out on the host in double precision and comes as
`Numbers`: Python floats where the update runs eagerly, 0-d tensors where it is compiled, because a compiled function
would be compiled anew for every new float. Both round the same numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Number = float | Tensor
"""A float, or a 0-d float64 tensor on the CPU; torch lets either scale a tensor of any type without promoting it."""
Numbers = Mapping[str, Number]
Counts = Mapping[str, float]
"""A parameter's state in single numbers: how many updates it has had ("step", in every rule), and sums over them."""


OnWhole = Callable[[Sequence[Tensor], Sequence[Tensor], Callable[[list[Tensor]], list[Tensor]]], list[Tensor]]
"""Given parameters, tensors of the same rows, and what makes moves of whole tensors: the moves of those rows."""


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """Parameters that move together, with gradient and state of each, in parallel lists."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    state: dict[str, list[Tensor]]
    """{key: one tensor a parameter}, each of its parameter's shape."""
    on_whole: OnWhole | None = None
    """Where other processes have the other rows of each parameter: how a rule that is not elementwise sees them all."""


class Rule(Protocol):
    """How parameters move; frozen, and equal where its settings are, so that it tells groups apart."""

    @property
    def elementwise(self) -> bool:
        """Whether each number moves by itself: then the update may be given parts of tensors."""
        return True

    def first_counts(self) -> Counts:
        """Counts before the first update; most rules count nothing but updates."""
        return {"step": 0.0}

    def first_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """State before the first update: tensors of the parameter's shape."""
        ...

    def advance(self, counts: Counts, *, lr: float) -> tuple[Numbers, Counts]:
        """What the next update needs, at this learning rate, and the counts after it."""
        ...

    def cost(self, parameter: Tensor) -> int:
        """How long an update of it takes, in numbers that move by themselves."""
        return parameter.numel()

    def update(self, tensors: Tensors, numbers: Numbers) -> None:
        """Move the parameters and their state in place. Gradients are the caller's and stay as they are."""
        ...


def zeros(parameter: Tensor) -> Tensor:
    """A buffer of a parameter's shape, type, device and layout."""
    return torch.zeros_like(parameter, memory_format=torch.preserve_format)
