"""The weights to evaluate, sample and save, where they are not those that training moves.

Two kinds: the exponential moving average of any optimizer (`optim.ema_decay`), and the x of schedule-free AdamW. While
they are shown, the parameters hold them, and the optimizer's state holds the trained ones under "trained". So a
checkpoint made meanwhile has both, bit for bit; loaded into an optimizer that shows its averages too, it is put back to
training by `resume_training`, exactly: y of schedule-free could not be had back from x without rounding.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from hornbook.optim.schedule_free import ScheduleFreeAdamW

TRAINED = "trained"
AVERAGE = "average"


def _nobody() -> None:
    """No other process is to be told."""


@contextmanager
def averaged(optimizer: torch.optim.Optimizer, share: Callable[[], None] = _nobody) -> Iterator[None]:
    """Inside, parameters are the averages, if the optimizer has any; afterwards the trained ones, whatever happened.

    `share` is called whenever they have changed: where processes own parameters, averages are with their owners. After
    an error only the owners have the trained weights back.
    """
    if not has_averages(optimizer) or _are_shown(optimizer):
        yield
        return
    try:
        show_averages(optimizer)
        share()
        yield
    except BaseException:
        resume_training(optimizer)  # unshared: the other processes, if they have not failed too, would take no part
        raise
    resume_training(optimizer)
    share()


def has_averages(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the weights to evaluate are others than those that training moves."""
    averages = getattr(optimizer, "ema_decay", None) is not None
    return averages or any(isinstance(group.get("rule"), ScheduleFreeAdamW) for group in optimizer.param_groups)


@torch.no_grad()
def show_averages(optimizer: torch.optim.Optimizer) -> None:
    """Put the averages into the parameters, and the trained weights into the state."""
    for rule, parameter, state in _entries(optimizer):
        if AVERAGE in state:
            state[TRAINED] = state.pop(AVERAGE)
            _exchange(parameter, state[TRAINED])
        elif isinstance(rule, ScheduleFreeAdamW) and TRAINED not in state and "z" in state:
            state[TRAINED] = parameter.detach().clone()
            rule.average_(parameter, state["z"])


@torch.no_grad()
def resume_training(optimizer: torch.optim.Optimizer) -> None:
    """Undo `show_averages`: the trained weights are back in the parameters, bit for bit."""
    for rule, parameter, state in _entries(optimizer):
        if TRAINED not in state:
            continue
        trained = state.pop(TRAINED)
        if isinstance(rule, ScheduleFreeAdamW):
            parameter.copy_(trained)
        else:
            _exchange(parameter, trained)
            state[AVERAGE] = trained


def _are_shown(optimizer: torch.optim.Optimizer) -> bool:
    return any(TRAINED in state for _, _, state in _entries(optimizer))


def _entries(optimizer: torch.optim.Optimizer) -> Iterator[tuple[Any, Tensor, dict[str, Tensor]]]:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            yield group.get("rule"), parameter, optimizer.state[parameter]


def _exchange(one: Tensor, other: Tensor) -> None:
    kept = one.clone()
    one.copy_(other)
    other.copy_(kept)
