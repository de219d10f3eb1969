"""All tensors of a run under names that depend on neither strategy nor world size: what a checkpoint holds.

Model tensors carry their bare names, optimizer tensors "name/key": `layers.3.attention.q_proj.weight/exp_avg`. Scalars
of an optimizer, such as its step, are 0-d tensors.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hornbook.errors import CheckpointError


class StoredTensors(Mapping[str, Tensor]):
    """Tensors that are read whenever they are asked for, and whose shapes are known without."""

    shapes: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class FullState:
    """The model's and the optimizer's tensors on the CPU; of the optimizer none where it was not asked for."""

    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's live tensors as "name/key". Its groups must have been given (name, parameter) pairs."""
    tensors: dict[str, Tensor] = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            for key, value in optimizer.state[parameter].items():
                assert isinstance(value, Tensor), f"{name}/{key} is not a tensor"
                tensors[f"{name}/{key}"] = value
    return tensors


def copy_out(model: nn.Module, optimizer: Optimizer | None) -> FullState:
    """Copies on the CPU that later updates do not touch."""
    state = {} if optimizer is None else on_cpu(optimizer_tensors(optimizer))
    return FullState(model=on_cpu(model.state_dict()), optimizer=state)


def copy_in(model: nn.Module, optimizer: Optimizer, state: FullState) -> None:
    """Write `state` into the live tensors, all or nothing.

    Raises:
        CheckpointError: naming every missing, unexpected and mis-shaped tensor of model and optimizer together.
    """
    model_live, optimizer_live = model.state_dict(), optimizer_tensors(optimizer)
    check_fit(model_live, optimizer_live, state)
    with torch.no_grad():
        for live, saved in ((model_live, state.model), (optimizer_live, state.optimizer)):
            for name, tensor in live.items():
                tensor.copy_(saved[name])


def check_fit(model_live: Mapping[str, Tensor], optimizer_live: Mapping[str, Tensor], state: FullState) -> None:
    """Make sure that `state` has every live tensor, and no other.

    Raises:
        CheckpointError: naming every missing, unexpected and mis-shaped tensor of model and optimizer together.
    """
    problems = misfits(model_live, state.model) + misfits(optimizer_live, state.optimizer)
    if problems:
        raise CheckpointError(
            "the saved state does not fit this model and optimizer: "
            + "; ".join(problems)
            + ". Resume with the configuration that the checkpoint was made with"
        )


def misfits(live: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> list[str]:
    """One phrase for each tensor of `saved` that cannot be put into `live`, and for each that is not there."""
    missing = [f"missing {name}" for name in live if name not in saved]
    unexpected = [f"unexpected {name}" for name in saved if name not in live]
    if isinstance(saved, StoredTensors):
        found = saved.shapes
    else:
        found = {name: tuple(tensor.shape) for name, tensor in saved.items()}
    shapes = [
        f"{name} has shape {found[name]}, expected {tuple(tensor.shape)}"
        for name, tensor in live.items()
        if name in found and found[name] != tuple(tensor.shape)
    ]
    return missing + unexpected + shapes


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that later updates do not touch."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
