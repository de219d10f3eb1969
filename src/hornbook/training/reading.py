"""What a run reads: the micro-batches of each step, in which order, and the windows that it is validated on."""

from dataclasses import dataclass

from hornbook.config.run import Config
from hornbook.data.loader import WindowBatches
from hornbook.data.mixture import HeldOut, MixedOrder, Mixture
from hornbook.distributed.process_group import Processes
from hornbook.training.choices import Choices


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One process's share, and what all of them share."""

    order: MixedOrder
    """Which window each global sample reads."""
    batches: WindowBatches
    """This process's micro-batches."""
    held_out: HeldOut | None
    """This process's windows to validate on; None without validation."""


def read(config: Config, data: Mixture, choices: Choices, processes: Processes, *, lookahead: int) -> Reading:
    """What `[data]` and `[train]` ask for of `data`; an objective looks `lookahead` tokens past a window.

    Raises:
        DataError: if a data set is too short for a window.
    """
    length = config.model.context_length
    samples_per_step = config.train.tokens_per_step // length
    windows, order = data.reading(
        context_length=length,
        lookahead=lookahead,
        stride=config.data.stride or length,
        seed=config.run.seed,
        kind=config.data.order,
        rows=samples_per_step,
    )
    batches = WindowBatches(
        windows,
        order,
        samples_per_step=samples_per_step,
        micro_batch_size=choices.micro_batch_size,
        rank=processes.rank,
        world_size=processes.world_size,
    )
    held_out = None
    if config.train.eval_every:
        held_out = data.held_out(
            context_length=length,
            lookahead=lookahead,
            n_windows=max(1, config.train.eval_tokens // length),
            batch_size=choices.eval_batch_size,
            rank=processes.rank,
            world_size=processes.world_size,
        )
    return Reading(order=order, batches=batches, held_out=held_out)
