"""`hornbook data inspect CONFIG` as training sees the data: the N-th sample, and what each part of a mixture gives."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from hornbook.cli import data_view

if TYPE_CHECKING:
    import argparse

    from hornbook.config.run import Config
    from hornbook.data.mixture import MixedOrder, Mixture
    from hornbook.data.windows import JoinedWindows


@dataclass(frozen=True, kw_only=True)
class Part:
    """One data set of a mixture."""

    name: str
    weight: float
    wanted: float
    """Share of the windows, by weight."""
    windows: int
    """In its training split."""
    samples: int
    """Windows that the run reads of it, repetitions counted."""
    achieved: float
    """Share of all that the run reads."""
    epochs: float
    """How often the run goes through it."""


def inspect(args: argparse.Namespace, config: Config) -> None:
    """The sample that --sample names; without, the parts of the mixture.

    Raises:
        HornbookError: if there are no such data, or an option means nothing here.
    """
    from hornbook.data.mixture import Mixture
    from hornbook.errors import DataError

    for option in ("window", "document", "length"):
        if getattr(args, option) is not None:
            why = "the configuration says it" if args.sample is not None else "data.mixture names several data sets"
            raise DataError(f"--{option} means nothing here: {why}; name the directory of a data set instead")
    if args.split != "train":
        raise DataError(
            f"--split {args.split} means nothing here: what training reads is shown; name a data set instead"
        )
    data = Mixture.open(config.data)
    windows, order = _reading(data, config)
    if args.sample is not None:
        part, own = order.locate(args.sample)
        which = f"sample {args.sample:,}, read in step {args.sample // config.rows_per_step + 1:,}: "
        data_view.show_window(data.datasets[part], windows.sets[part], own, which=which)
        return
    _show(_parts(data, order, config), config)


def _reading(data: Mixture, config: Config) -> tuple[JoinedWindows, MixedOrder]:
    from hornbook.training.reading import windows_of
    from hornbook.training.start import build_objective, tokenizer_of

    tokenizer = tokenizer_of(config, data, None)
    return windows_of(config, data, lookahead=build_objective(config, mask_id=tokenizer.mask_id).lookahead)


def _parts(data: Mixture, order: MixedOrder, config: Config) -> list[Part]:
    total = config.train.steps * config.rows_per_step
    counts, epochs = order.proportions.counts(total), order.epochs(total)
    return [
        Part(
            name=name,
            weight=data.weights[number],
            wanted=order.proportions.shares[number],
            windows=order.orders[number].n_windows,
            samples=counts[number],
            achieved=counts[number] / total,
            epochs=epochs[number],
        )
        for number, name in enumerate(data.names)
    ]


def _show(parts: list[Part], config: Config) -> None:
    from hornbook.tracking.console import emit, speaks_to_people

    console = config.tracking.console
    if speaks_to_people(console):
        print(f"{'data set':<24}{'weight':>8}{'wanted':>10}{'windows':>12}{'samples':>12}{'achieved':>10}{'epochs':>9}")
        for part in parts:
            print(
                f"{part.name:<24}{part.weight:>8g}{part.wanted:>10.3%}{part.windows:>12,}{part.samples:>12,}"
                f"{part.achieved:>10.3%}{part.epochs:>9.2f}"
            )
        rows, length = config.rows_per_step, config.model.context_length
        print(f"in {config.train.steps:,} steps of {rows:,} windows of {length:,} tokens")
    for part in parts:
        emit("mixture", console=console, **asdict(part))
