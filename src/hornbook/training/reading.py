"""What a run reads: the micro-batches of each step, in which order, and what it is validated on."""

from dataclasses import dataclass
from typing import Any

from hornbook.config.objective import BlockDiffusionConfig, JointConfig
from hornbook.config.run import Config
from hornbook.data.index import SplitName
from hornbook.data.known_truth import least_loss_of_windows
from hornbook.data.loader import Order, Readable, StepBatches, WindowSamples, fixed_batches
from hornbook.data.mixture import HeldOut, MixedOrder, Mixture
from hornbook.data.order import SampleOrder
from hornbook.data.pairs import Pairs
from hornbook.data.rows import Rows
from hornbook.data.windows import JoinedWindows
from hornbook.distributed.process_group import Processes
from hornbook.training.choices import Choices


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One process's share, and what all of them share."""

    order: Order
    """Which window, row or pair each global sample reads."""
    batches: StepBatches[Any]
    """This process's micro-batches."""
    held_out: HeldOut | None
    """This process's samples to validate on; None without validation."""
    least_loss: float | None = None
    """What a token of the validation windows costs at least, in nats, where the text is of known entropy."""


def windows_of(config: Config, data: Mixture, *, lookahead: int) -> tuple[JoinedWindows, MixedOrder]:
    """All windows that training reads of `data`, and which of them each global sample reads.

    Raises:
        DataError: if a data set is too short for a window.
    """
    length = config.model.context_length
    return data.reading(
        context_length=length,
        lookahead=lookahead,
        stride=config.data.stride or length,
        seed=config.run.seed,
        kind=config.data.order,
        rows=config.rows_per_step,
    )


def tuning_samples(config: Config, data: Mixture, split: SplitName, *, lookahead: int) -> Rows | Pairs:
    """The rows of conversations, or the pairs, that training or validation reads of a split of `data`.

    Raises:
        DataError: if there is no such split, or a conversation or answer is longer than a row.
    """
    (dataset,) = data.datasets
    stream, tokenizer, tuning = dataset.split(split), dataset.tokenizer(), config.data.tuning
    length, end_of_text = config.model.context_length, tokenizer.end_of_text_id
    pad_id = next((each for each in (tokenizer.pad_id, end_of_text) if each is not None), 0)
    if config.data.stage == "dpo":
        return Pairs(stream, context_length=length, lookahead=lookahead, pad_id=pad_id)
    objective = config.objective
    return Rows(
        stream,
        context_length=length,
        lookahead=lookahead,
        packing=tuning.packing,
        pad_id=pad_id,
        answer_padding=tuning.answer_padding,
        end_of_text_id=end_of_text,
        block_length=objective.block_length if isinstance(objective, BlockDiffusionConfig) else 1,
        keeps_end_free=isinstance(objective, JointConfig),
    )


def read(config: Config, data: Mixture, choices: Choices, processes: Processes, *, lookahead: int) -> Reading:
    """What `[data]` and `[train]` ask for of `data`; an objective looks `lookahead` tokens past a window.

    Raises:
        DataError: if a data set is too short for a window, or has what is too long for a row.
    """
    samples: Readable[Any]
    order: Order
    if config.data.stage == "pretrain":
        windows, order = windows_of(config, data, lookahead=lookahead)
        samples = WindowSamples(windows)
    else:
        samples = tuning_samples(config, data, "train", lookahead=lookahead)
        order = SampleOrder(len(samples), seed=config.run.seed, kind=config.data.order, lanes=config.rows_per_step)
    batches = StepBatches(
        samples,
        order,
        samples_per_step=config.rows_per_step,
        micro_batch_size=choices.micro_batch_size,
        rank=processes.rank,
        world_size=processes.world_size,
    )
    held_out = least = None
    if config.train.eval_every:
        of_stage = _held_out_windows if config.data.stage == "pretrain" else _held_out_rows
        held_out = of_stage(config, data, choices, processes, lookahead)
        least = _least_loss(config, data, lookahead)
    return Reading(order=order, batches=batches, held_out=held_out, least_loss=least)


def _least_loss(config: Config, data: Mixture, lookahead: int) -> float | None:
    if config.data.stage != "pretrain" or len(data.datasets) > 1:
        return None
    length = config.model.context_length
    size = {"context_length": length, "lookahead": lookahead, "n_windows": _n_windows(config)}
    return least_loss_of_windows(data.datasets[0], "valid", **size)


def _n_windows(config: Config) -> int:
    return max(1, config.train.eval_tokens // config.model.context_length)


def _held_out_windows(config: Config, data: Mixture, choices: Choices, processes: Processes, lookahead: int) -> HeldOut:
    length = config.model.context_length
    return data.held_out(
        context_length=length,
        lookahead=lookahead,
        n_windows=_n_windows(config),
        batch_size=choices.eval_batch_size,
        rank=processes.rank,
        world_size=processes.world_size,
    )


def _held_out_rows(config: Config, data: Mixture, choices: Choices, processes: Processes, lookahead: int) -> HeldOut:
    """Rows or pairs with about train.eval_tokens tokens, padding not counted; all of a smaller split."""
    samples = tuning_samples(config, data, "valid", lookahead=lookahead)
    batches = fixed_batches(
        samples,
        n_samples=max(1, config.train.eval_tokens * len(samples) // samples.stream.n_tokens),
        batch_size=choices.eval_batch_size,
        rank=processes.rank,
        world_size=processes.world_size,
    )
    return HeldOut(batches=batches, parts=data.names * len(batches), remark=None)
