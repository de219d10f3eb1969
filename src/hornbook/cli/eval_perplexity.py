"""`hornbook eval perplexity`: of one checkpoint, of every checkpoint of a run, of several runs on one text."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import from_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hornbook.cli.contenders import Contender
    from hornbook.config.run import Config
    from hornbook.evaluation.perplexity_card import PerplexityCard

FLAGS = (
    *("precision", "protocol", "reset_documents", "last_token_batch"),
    *("bootstrap.block_tokens", "bootstrap.resamples", "bootstrap.seed", "bootstrap.level"),
)
"""Settings of [eval] that are the perplexity's alone, each with a flag."""
METRICS = {
    "perplexity": "perplexity by token",
    "word_perplexity": "perplexity by word",
    "bits_per_byte": "bits per byte",
}
"""What --metric draws, and what is written beside it."""
NUMBERS = tuple(f"{name}{end}" for name in (*METRICS, "nats_per_token") for end in ("", "_low", "_high"))
COLUMNS = (
    *("run", "step", *NUMBERS, "tokens_scored", "bytes_scored", "words_scored", "nats", "standard_error"),
    *("protocol_name", "window", "stride", "reset_documents", "precision", "level", "block_tokens"),
    *("text_bytes", "text_sha256", "seconds", "checkpoint"),
)
"""Of the CSV file."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the perplexity takes beside model, text and windows."""
    protocols = ("strided", "chunked", "exact", "last-token", "overlap-all")
    parser.add_argument("--protocol", choices=protocols, help="which tokens count, after how much context")
    parser.add_argument(
        "--reset-documents",
        action="store_const",
        const=True,
        help="no token sees what stands before its document but the end-of-text token there",
    )
    parser.add_argument(
        "--last-token-batch", type=int, metavar="WINDOWS", help="of last-token: leave out a last batch that is not full"
    )
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16", "int8"), help="of the weights, as decoding rounds them"
    )
    of_interval = parser.add_argument_group("interval, by blocks of the text drawn anew")
    for name, kind, shown, text in (
        ("level", float, "SHARE", "default: 0.95"),
        ("block-tokens", int, "TOKENS", "default: the window"),
        ("resamples", int, "N", "default: 2000"),
        ("seed", int, "SEED", "the same seed gives the same interval"),
    ):
        of_interval.add_argument(
            f"--{name}", dest=f"bootstrap.{name.replace('-', '_')}", type=kind, metavar=shown, help=text
        )
    several = parser.add_argument_group("several checkpoints")
    several.add_argument(
        "--all-checkpoints", action="store_true", help="every checkpoint of the run: a CSV file and a picture"
    )
    several.add_argument(
        "--compare", nargs="+", default=[], metavar="RUN", help="with these on the same text, or not at all"
    )
    several.add_argument("--csv", type=Path, metavar="FILE", help="default: RUN/evals/perplexity-checkpoints-....csv")
    several.add_argument("--plot", type=Path, metavar="FILE", help="to a name that ends in .svg, .html or .png")
    several.add_argument(
        "--metric",
        choices=tuple(METRICS),
        help="of the picture; default: perplexity, bits_per_byte of other tokenizers",
    )


def is_of_several(args: argparse.Namespace) -> bool:
    """Whether more than one checkpoint is asked for.

    Raises:
        ConfigError: for a flag without effect.
    """
    from hornbook.errors import ConfigError

    given = [f"--{name}" for name in ("csv", "plot", "metric") if getattr(args, name) is not None]
    if given and not args.all_checkpoints:
        raise ConfigError(f"{given[0]} is of --all-checkpoints; give that as well")
    if args.best and args.all_checkpoints:
        raise ConfigError("--best takes one checkpoint, --all-checkpoints every one; leave one of them out")
    return bool(args.all_checkpoints or args.compare)


def run_several(args: argparse.Namespace, config: Config, settings: Callable[[str], Config]) -> None:
    """Score every checkpoint that is asked for, if all texts are one; `settings` are those for another checkpoint.

    Raises:
        ConfigError: if texts or protocols differ or files cannot be written, before anything is scored.
    """
    from hornbook.cli.contenders import named, open_contender, scored
    from hornbook.evaluation.comparison import refuse_other_protocol, refuse_other_text

    _check_files(args)
    asked = [(config.eval.checkpoint, config), *((Path(path), settings(path)) for path in args.compare)]
    for path, own in asked[1:]:
        refuse_other_protocol(str(asked[0][0]), config.eval, str(path), own.eval)
    contenders = named([open_contender(args, path, own) for path, own in asked])
    for other in contenders[1:]:
        refuse_other_text(contenders[0].name, contenders[0].units, other.name, other.units)
    found = [(each, [scored(each, path) for path in each.checkpoints]) for each in contenders]
    if args.all_checkpoints:
        _write(args, found)
    else:
        _compare([(each.name, cards[0]) for each, cards in found], contenders[0].config)


def _check_files(args: argparse.Namespace) -> None:
    from hornbook.errors import ConfigError
    from hornbook.reporting.checkpoint_curves import check_picture

    if args.plot is not None:
        check_picture(args.plot)
    if args.csv is not None and (not args.csv.parent.is_dir() or args.csv.is_dir()):
        raise ConfigError(f"--csv {args.csv}: expected the name of a file in a folder that exists")


Found = list[tuple["Contender", list["PerplexityCard"]]]


def _write(args: argparse.Namespace, found: Found) -> None:
    """The CSV file and the picture of all checkpoints."""
    from hornbook.evaluation.perplexity_card import percent
    from hornbook.reporting.checkpoint_curves import CheckpointLine, save_checkpoint_curves
    from hornbook.storage.atomic import replace_file
    from hornbook.storage.digest import bytes_sha256
    from hornbook.storage.disk import explained
    from hornbook.tracking.console import emit

    first, cards = found[0]
    one = len({each.tokenizer_fingerprint for each, _ in found}) == 1
    metric = args.metric or ("perplexity" if one else "bits_per_byte")
    stem = "-".join(["perplexity-checkpoints", cards[0].protocol_name, f"{cards[0].window}", f"{cards[0].stride}"])
    measured = " ".join([first.units.sha256, *(f"{each.name} {own[0].identity}" for each, own in found)])
    stem += f"-{bytes_sha256(measured.encode())[:8]}"
    csv, plot = args.csv or first.home / f"{stem}.csv", args.plot or first.home / f"{stem}.svg"
    with explained(first.home):
        first.home.mkdir(exist_ok=True)
    replace_file(csv, _csv(found))
    lines = []
    for each, own in found:
        values = [value for card in own if (value := card.values())[metric] is not None]
        sides = [[_number(value[f"{metric}{end}"]) for value in values] for end in ("", "_low", "_high")]
        known = all(value[f"{metric}_low"] is not None for value in values)
        low, high = (sides[1], sides[2]) if known else ([], [])
        steps = [int(_number(value["step"] or 0)) for value in values]
        if steps:
            lines.append(CheckpointLine(label=each.name, steps=steps, values=sides[0], lows=low, highs=high))
    level = f", {percent(cards[0].level)} intervals" if any(line.lows for line in lines) else ""
    title = f"{cards[0].protocol_name}, window {cards[0].window}, stride {cards[0].stride}, {first.data}"
    if lines:
        save_checkpoint_curves(lines, plot, title=title, unit=f"{METRICS[metric]}{level}")
    _print([(each.name, card) for each, own in found for card in own], first.config, differences=False)
    emit(
        "eval_checkpoints",
        console=first.config.tracking.console,
        csv=csv,
        plot=plot if lines else None,
        metric=metric,
        runs=[each.name for each, _ in found],
        checkpoints=sum(len(own) for _, own in found),
    )
    drawn = f" and {plot}" if lines else f"; there is no picture, as no {METRICS[metric]} is finite"
    from_checkpoint.note(f"written to {csv}{drawn}")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("inf")


def _csv(found: Found) -> str:
    import csv
    import io

    file = io.StringIO()
    rows = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
    rows.writeheader()
    for each, cards in found:
        rows.writerows({**card.values(), "run": each.name} for card in cards)
    return file.getvalue()


def _compare(cards: Sequence[tuple[str, PerplexityCard]], config: Config) -> None:
    """Every card less the first."""
    from hornbook.evaluation.comparison import difference
    from hornbook.tracking.console import emit

    name, first = cards[0]
    for other_name, card in cards[1:]:
        found = difference(card, first)
        assert found is not None, "tokenizers are known here"
        low, high = found.interval or (None, None)
        emit(
            "eval_compare",
            console=config.tracking.console,
            run=other_name,
            other=name,
            bits_per_byte=card.bits_per_byte,
            other_bits_per_byte=first.bits_per_byte,
            difference=found.bits_per_byte,
            difference_low=low,
            difference_high=high,
            level=first.level,
            blocks=found.blocks,
            text_bytes=first.text_bytes,
            text_sha256=first.text_sha256,
        )
    _print(cards, config, differences=True)


def _print(cards: Sequence[tuple[str, PerplexityCard]], config: Config, *, differences: bool) -> None:
    """A table for people: a row a checkpoint."""
    from hornbook.evaluation.comparison import difference
    from hornbook.tracking.console import speaks_to_people

    if not speaks_to_people(config.tracking.console):
        return
    from rich.console import Console
    from rich.table import Table

    first = cards[0][1]
    table = Table(title=f"{first.data}: {first.text_bytes:,} bytes, {first.text_words:,} words")
    heads = ["", "step", "window", "tokens scored", "perplexity", "by word", "bits per byte"]
    for head in [*heads, "less the first"] if differences else heads:
        table.add_column(head, justify="left" if not head else "right")
    for name, card in cards:
        values = card.values()
        row = [name, f"{card.step or 0:,}", f"{card.window}, {card.stride}", f"{card.tokens_scored:,}"]
        row += [_between(values, metric) for metric in METRICS]
        if differences and card is not first:
            found = difference(card, first)
            if found is not None:
                ends = "" if found.interval is None else f" ({found.interval[0]:+.4f} to {found.interval[1]:+.4f})"
                row.append(f"{found.bits_per_byte:+.4f}{ends}")
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print(first.protocol, style="dim", highlight=False)


def _between(values: dict[str, str | int | float | None], metric: str) -> str:
    value, low, high = (values[f"{metric}{end}"] for end in ("", "_low", "_high"))
    if not isinstance(value, int | float):
        return ""
    ends = "" if low is None or high is None else f" ({_number(low):.4g} to {_number(high):.4g})"
    return f"{value:.5g}{ends}"
