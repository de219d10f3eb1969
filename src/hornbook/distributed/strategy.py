"""The seam between one optimizer step and who computes it: one process now, many later, the same arithmetic.

After `backward(..., last=True)` every rank sees, in each parameter shard that it owns, the gradient SUMMED over ranks
and micro-batches. A strategy never divides: the step does, once. No strategy wraps the model, so names are bare.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from hornbook.distributed.full_state import FullState

MakeOptimizer = Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer]


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What one rank wants; agreed, it holds on every rank if it held on any."""

    skip: bool = False
    """The update would be harmful (a loss or gradient is not finite): leave weights and optimizer as they are."""
    preempted: bool = False
    """The system or the user asked the process to end."""
    out_of_time: bool = False
    """The minutes that were granted are over."""
    too_large: bool = False
    """Memory ran out in a forward or backward pass."""
    not_compiled: bool = False
    """A forward or backward pass could not be compiled."""


class Strategy(Protocol):
    """How gradients, sums and decisions travel between ranks."""

    @property
    def rank(self) -> int:
        """This process, from 0."""
        ...

    @property
    def world_size(self) -> int:
        """How many processes train together."""
        ...

    @property
    def cuts_up_model(self) -> bool:
        """Whether each rank has only parts of the model: then a pass is made by all ranks at once, or by none."""
        ...

    def prepare(self, model: nn.Module) -> None:
        """Make the model ready, in place, before the optimizer is built."""
        ...

    def optimizer(self, model: nn.Module, make: MakeOptimizer) -> Optimizer:
        """The optimizer of the parameters that this rank updates; `make` is given their bare names."""
        ...

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add this micro-batch's gradient; with `last`, gradients are complete on return."""
        ...

    def abandon(self) -> None:
        """This step's gradients come to nothing here: give the other ranks, who wait for them, anything in their place.

        They must be told by `agree`, and everybody goes on by `zero_grad`.
        """
        ...

    def clip_grad_norm(self, model: nn.Module, max_norm: float) -> Tensor:
        """Scale the gradient to a global 2-norm of at most `max_norm` (inf: never) and return the norm before."""
        ...

    def update(self, optimizer: Optimizer) -> None:
        """One step of the optimizer; every rank then has all updated parameters. Gradients are used up."""
        ...

    def share(self) -> None:
        """Where ranks own parameters: give all of them those that their owners have changed otherwise."""
        ...

    def zero_grad(self, optimizer: Optimizer) -> None:
        """Forget the gradients of every parameter, owned or not."""
        ...

    def sum(self, value: Tensor) -> Tensor:
        """Elementwise sum over ranks, the same on each."""
        ...

    def agree(self, flags: Flags) -> Flags:
        """Every rank's flags joined by `or`."""
        ...

    def full_state(self, model: nn.Module, optimizer: Optimizer | None) -> FullState | None:
        """A copy of everything on the CPU of rank 0, without an optimizer of the model alone; None on the others."""
        ...

    def load_full_state(self, model: nn.Module, optimizer: Optimizer, state: FullState) -> None:
        """Put a full state, which every rank is given, back, strictly: CheckpointError lists all that does not fit."""
        ...
