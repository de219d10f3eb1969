"""Checkpoints whose perplexities are set beside one another, each with the text as its own tokenizer reads it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hornbook.cli import from_checkpoint
from hornbook.cli.eval_card import keep

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from hornbook.config.run import Config
    from hornbook.evaluation.perplexity_card import PerplexityCard
    from hornbook.evaluation.text_units import TextUnits
    from hornbook.evaluation.token_reader import TokenReader


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A run with its text, read by its own tokenizer."""

    name: str
    home: Path
    """Where files are written by default."""
    config: Config
    checkpoints: Sequence[Path]
    stream: TokenReader
    data: str
    units: TextUnits
    tokenizer_fingerprint: str


def open_contender(args: argparse.Namespace, path: Path | None, config: Config) -> Contender:
    """A run with its text, none of whose models is read yet.

    Raises:
        HornbookError: where there is no checkpoint, no tokenizer or no text.
    """
    from hornbook.errors import CheckpointError, ConfigError
    from hornbook.evaluation.perplexity import tokens_of_text
    from hornbook.evaluation.streams import open_stream
    from hornbook.evaluation.text_units import text_units
    from hornbook.storage.run_dir import list_checkpoints
    from hornbook.tokenizer.tokenizer import Tokenizer

    checkpoints = [from_checkpoint.find_checkpoint(path, table="eval", best=args.best)]
    run = from_checkpoint.find_run(checkpoints[0])
    if args.all_checkpoints:
        if run is None:
            raise ConfigError(f"{path}: is no run, and --all-checkpoints are those of a run; name a run's directory")
        checkpoints = [entry.path for entry in list_checkpoints(run.checkpoints)]
    if not (checkpoints[0] / "tokenizer").is_dir():
        raise CheckpointError(f"{checkpoints[0]}: holds no tokenizer/, without which texts cannot be compared")
    tokenizer = Tokenizer.load(checkpoints[0] / "tokenizer")
    stream, data = open_stream(config, tokenizer)
    return Contender(
        name=(checkpoints[0] if run is None else run.root).absolute().name,
        home=checkpoints[0].parent if run is None else run.evals,
        config=config,
        checkpoints=checkpoints,
        stream=stream,
        data=data,
        units=text_units(stream, tokenizer, tokens_of_text(stream, config.eval)),
        tokenizer_fingerprint=tokenizer.fingerprint,
    )


def named(contenders: Sequence[Contender]) -> list[Contender]:
    """The same with names that tell them apart."""
    names = [each.name for each in contenders]
    return [
        each if names.count(each.name) == 1 else replace(each, name=f"{each.name} ({number})")
        for number, each in enumerate(contenders, start=1)
    ]


def scored(contender: Contender, path: Path) -> PerplexityCard:
    """The card of one of its checkpoints, kept and told."""
    from hornbook.evaluation.noised_scorer import check_measure
    from hornbook.evaluation.perplexity import evaluate_perplexity
    from hornbook.evaluation.streams import open_truth
    from hornbook.tracking.progress import Progress

    config = contender.config
    opened = from_checkpoint.open_model(path, table="eval", best=False, config=config)
    check_measure("perplexity", opened.objective)
    task = f"eval perplexity, {contender.name} step {opened.step}"
    with Progress(task, unit="tokens", console=config.tracking.console) as progress:
        card = evaluate_perplexity(
            opened.model,
            opened.tokenizer,
            contender.stream,
            config.eval,
            data=contender.data,
            checkpoint=str(opened.path),
            step=opened.step,
            units=contender.units,
            truth=open_truth(config),
            progress=progress.update,
        )
    keep(opened, card, config, table=False)
    return card
