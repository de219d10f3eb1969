"""What becomes of an evaluation's card: a file in its run, words or a JSON line, and an event for trackers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hornbook.cli.from_checkpoint import note

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from hornbook.cli.from_checkpoint import OpenedModel
    from hornbook.config.run import Config
    from hornbook.evaluation.card import Card
    from hornbook.storage.run_dir import RunDir


def keep(opened: OpenedModel, card: Card, config: Config, *, table: bool = True) -> None:
    """Write the card into its run, show it (to people as a table, unless another one follows), tell the trackers."""
    written = None if opened.run is None else write_card(opened.run, card)
    _tell(card, config, written, table=table)
    _log(opened, config, card)


def _tell(card: Card, config: Config, written: Path | None, *, table: bool) -> None:
    from hornbook.tracking.console import emit, speaks_to_people

    emit("eval", console=config.tracking.console, measure=card.measure, file=written, **card.values())
    if table and speaks_to_people(config.tracking.console):
        from rich.console import Console

        Console().print(card.table())
        if written is not None:
            print(f"written to {written}")


def _log(opened: OpenedModel, config: Config, card: Card) -> None:
    from hornbook.cli.run_events import RunEvents

    events = RunEvents(opened.run, config.tracking, step=opened.step)
    events.log("eval", {"measure": card.measure, **card.values()})
    events.close()


def refuse_draws(args: argparse.Namespace, opened: OpenedModel) -> None:
    """Refuse --draws and --seed for a model that has no bound.

    Raises:
        ConfigError: naming them.
    """
    from hornbook.config.objective import BOUND_ALONE, likelihood_kind
    from hornbook.errors import ConfigError

    given = [f"--{name}" for name in ("draws", "seed") if getattr(args, f"bound.{name}") is not None]
    if given and likelihood_kind(opened.objective) not in BOUND_ALONE:
        raise ConfigError(
            f"{' and '.join(given)}: of a diffusion model's bound, and the likelihood of {opened.path} is exact; leave "
            f"{'it' if len(given) == 1 else 'them'} out"
        )


def write_card(run: RunDir, card: Card) -> Path | None:
    """Write the card as RUN/evals/MEASURE-step-N-[WINDOW-STRIDE-]DATA.json; None, with a note, if that fails.

    The same measurement of the same checkpoint replaces its file; another one has another name.
    """
    from hornbook.storage.atomic import replace_file
    from hornbook.storage.digest import bytes_sha256
    from hornbook.storage.disk import StorageError

    data = bytes_sha256(card.identity.encode())[:8]
    parts = (card.measure, "step", f"{card.step or 0:08d}", *map(str, card.place), data)
    path = run.evals / f"{'-'.join(parts)}.json"
    try:
        run.evals.mkdir(exist_ok=True)
        replace_file(path, card.to_json())
    except (OSError, StorageError) as error:
        note(f"note: the card is not kept: {error}")
        return None
    return path
