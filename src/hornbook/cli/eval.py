"""`hornbook eval perplexity`: how surprised a model is by a text, with a card that says how that was measured.

Without --config the configuration of the checkpoint's own run counts, its tracking.console aside, so that `hornbook
eval perplexity RUN` scores the validation split that the run was validated on, whole.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import from_checkpoint

if TYPE_CHECKING:
    from hornbook.config.run import Config
    from hornbook.evaluation.card import EvaluationCard
    from hornbook.storage.run_dir import RunDir

FLAGS = ("checkpoint", "text", "split", "window", "stride", "batch_size", "max_tokens")
"""Settings of [eval] that have a flag of their own."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook eval` takes."""
    measures = parser.add_subparsers(dest="measure", required=True, metavar="MEASURE")
    perplexity = measures.add_parser(
        "perplexity",
        help="strided sliding-window perplexity and bits per byte",
        description="Strided sliding-window perplexity and bits per byte: every token is scored once.",
    )
    from_checkpoint.add_checkpoint_arguments(perplexity)
    perplexity.add_argument("--text", nargs="+", metavar="FILE", help="score these text files, not a prepared split")
    perplexity.add_argument("--split", choices=("train", "valid", "test"), help="of the data set at data.path")
    perplexity.add_argument("--window", type=int, metavar="TOKENS", help="default: the model's context_length")
    perplexity.add_argument("--stride", type=int, metavar="TOKENS", help="default: half the window; 1 is exact, slow")
    perplexity.add_argument("--batch-size", type=int, metavar="WINDOWS", help="windows at a time; changes speed only")
    perplexity.add_argument("--max-tokens", type=int, metavar="N", help="score the first N tokens")


def run(args: argparse.Namespace) -> int:
    """Evaluate; the exit status is 0."""
    from hornbook.cli.configuration import maybe_print
    from hornbook.evaluation.perplexity import evaluate_perplexity
    from hornbook.evaluation.streams import open_stream
    from hornbook.tracking.progress import Progress

    config = _settings(args)
    if maybe_print(args, config):
        return 0
    opened = from_checkpoint.open_model(config.eval.checkpoint, table="eval", best=args.best, config=config)
    stream, data = open_stream(config, opened.tokenizer)
    with Progress("eval perplexity", unit="tokens", console=config.tracking.console) as progress:
        card = evaluate_perplexity(
            opened.model,
            opened.tokenizer,
            stream,
            config.eval,
            data=data,
            checkpoint=str(opened.path),
            step=opened.step,
            progress=progress.update,
        )
    written = None if opened.run is None else write_card(opened.run, card)
    _tell(card, config, written)
    _log(opened, config, card)
    return 0


def _settings(args: argparse.Namespace) -> Config:
    if args.config is None and args.checkpoint is not None:
        home = from_checkpoint.find_run(Path(args.checkpoint))
        if home is not None and home.config_file.is_file():
            args.config = str(home.config_file)
            args.overrides = ['tracking.console="auto"', *args.overrides]  # how training spoke says nothing of now
    return from_checkpoint.load_settings(args, "eval", FLAGS)


def _tell(card: EvaluationCard, config: Config, written: Path | None) -> None:
    from hornbook.tracking.console import emit, speaks_to_people

    emit("eval", console=config.tracking.console, measure="perplexity", file=written, **card.values())
    if speaks_to_people(config.tracking.console):
        from rich.console import Console

        Console().print(card.table())
        if written is not None:
            print(f"written to {written}")


def _log(opened: from_checkpoint.OpenedModel, config: Config, card: EvaluationCard) -> None:
    from hornbook.cli.run_events import RunEvents

    events = RunEvents(opened.run, config.tracking, step=opened.step)
    events.log("eval", {"measure": "perplexity", **card.values()})
    events.close()


def write_card(run: RunDir, card: EvaluationCard) -> Path | None:
    """Write the card as RUN/evals/perplexity-step-N-WINDOW-STRIDE-DATA.json; None, with a note, if that fails.

    The same measurement of the same checkpoint replaces its file; another one has another name.
    """
    from hornbook.storage.atomic import replace_file
    from hornbook.storage.digest import bytes_sha256
    from hornbook.storage.disk import StorageError

    data = bytes_sha256(f"{card.data} {card.tokens_scored}".encode())[:8]
    path = run.evals / f"perplexity-step-{card.step or 0:08d}-{card.window}-{card.stride}-{data}.json"
    try:
        run.evals.mkdir(exist_ok=True)
        replace_file(path, card.to_json())
    except (OSError, StorageError) as error:
        from_checkpoint.note(f"note: the card is not kept: {error}")
        return None
    return path
