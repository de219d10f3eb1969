"""One process, one device: the plainest strategy, and the definition that the others must equal."""

import math

from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from hornbook.distributed.full_state import FullState, copy_in, copy_out
from hornbook.distributed.strategy import Flags, MakeOptimizer


class SingleProcess:
    """The Strategy of a lone process: nothing travels."""

    rank = 0
    world_size = 1
    cuts_up_model = False

    def prepare(self, model: nn.Module) -> None:
        """Nothing to do."""

    def optimizer(self, model: nn.Module, make: MakeOptimizer) -> Optimizer:
        """The optimizer of every parameter."""
        return make(model.named_parameters())

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Gradients accumulate in `.grad`, where summing is what torch does."""
        loss.backward()  # type: ignore[no-untyped-call]

    def abandon(self) -> None:
        """Nobody waits."""

    def clip_grad_norm(self, model: nn.Module, max_norm: float) -> Tensor:
        """Clip in place; returns the norm before, () on the model's device. A norm that is not finite clips nothing."""
        return clip_gradients(model, max_norm)

    def update(self, optimizer: Optimizer) -> None:
        """One step of the optimizer."""
        optimizer.step()

    def share(self) -> None:
        """Nothing to share."""

    def zero_grad(self, optimizer: Optimizer) -> None:
        """Free the gradients: the next backward writes instead of adding."""
        optimizer.zero_grad(set_to_none=True)

    def sum(self, value: Tensor) -> Tensor:
        """The value itself."""
        return value

    def agree(self, flags: Flags) -> Flags:
        """The flags themselves."""
        return flags

    def full_state(self, model: nn.Module, optimizer: Optimizer | None) -> FullState | None:
        """A copy of all tensors on the CPU."""
        return copy_out(model, optimizer)

    def load_full_state(self, model: nn.Module, optimizer: Optimizer, state: FullState) -> None:
        """Strict, all or nothing."""
        copy_in(model, optimizer, state)


def clip_gradients(model: nn.Module, max_norm: float) -> Tensor:
    """Scale gradients in place to a 2-norm of at most `max_norm`; a norm that is not finite clips nothing.

    Returns the norm before, () on the model's device.
    """
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = get_total_norm(gradients)
    if math.isfinite(max_norm) and norm.isfinite():
        clip_grads_with_norm_(model.parameters(), max_norm, norm)
    return norm
