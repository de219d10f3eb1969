"""`hornbook generate --compare`: greedy, beams and three ways to sample, side by side on one prompt."""

from __future__ import annotations

import argparse
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import from_checkpoint
from hornbook.cli.tokenizer_arguments import html_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hornbook.cli.from_checkpoint import OpenedModel
    from hornbook.config.run import Config
    from hornbook.generation.comparison import Written
    from hornbook.generation.prompt_ids import Prompt

NARROWEST = 36
"""Columns of a terminal that a text needs to be read beside another."""


def add_comparison_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    compared = parser.add_argument_group("comparison")
    compared.add_argument(
        "--compare",
        action="store_true",
        help="one prompt continued greedily, by beam search and by three ways to sample, with log-probabilities and "
        "repetition; of --prompt-from, the document itself as well",
    )
    compared.add_argument(
        "--html", type=html_file, metavar="OUT.html", help="with --compare: write it as one file, too"
    )


def check_comparison_arguments(args: argparse.Namespace) -> None:
    """Refuse arguments that have no effect together.

    Raises:
        ConfigError: naming them.
    """
    from hornbook.errors import ConfigError

    if args.html is not None and not args.compare:
        raise ConfigError("--html has no effect without --compare")
    names = ("infill", "no_stream", "show_denoising", "compare_cache", "n_best")
    useless = [name for name in names if args.compare and getattr(args, name)]
    useless += ["num_samples"] if args.compare and args.num_samples > 1 else []
    if useless:
        raise ConfigError(f"--{useless[0].replace('_', '-')} has no effect with --compare; leave one of them out")


def compare(
    args: argparse.Namespace,
    config: Config,
    opened: OpenedModel,
    prompts: Sequence[Prompt],
    *,
    rest: Sequence[int],
) -> int:
    """Carry it out; `rest` is what really follows the prompt, if that is known. The exit status is 0."""
    from hornbook.errors import GenerationError
    from hornbook.generation.comparison import compare_texts
    from hornbook.tracking.console import emit, speaks_to_people

    if len(prompts) != 1:
        raise GenerationError(f"--compare continues one prompt in several ways, and {len(prompts)} were given")
    [prompt] = prompts
    found = compare_texts(
        opened.model,
        opened.tokenizer,
        prompt,
        config.generate,
        objective=opened.objective,
        reference=rest,
        note=from_checkpoint.note,
    )
    text = prompt if isinstance(prompt, str) else opened.tokenizer.decode(prompt)
    console = "json" if args.json else config.tracking.console
    if speaks_to_people(console):
        _print(text, found)
    for one in found:
        emit(
            "generate_compare",
            console=console,
            step=opened.step,
            way=one.way,
            parameters=dict(one.settings),
            prompt=text,
            output=one.text,
            tokens=one.tokens,
            finish_reason=one.finish_reason,
            logprob=round(one.logprob, 4),
            logprob_per_token=round(one.logprob_per_token, 4),
            repetition=round(one.repetition, 4),
            latency_ms=None if one.seconds is None else round(1000 * one.seconds, 3),
            checkpoint=str(opened.path),
        )
    if args.html is not None:
        _write_page(args.html, opened.path, text, found)
        if speaks_to_people(console):
            print(f"{args.html}: {len(found)} texts")
    return 0


def figures(one: Written) -> tuple[tuple[str, str], ...]:
    """What is said of a text, by name."""
    return (
        ("log-probability", f"{one.logprob:.1f}"),
        ("per token", f"{one.logprob_per_token:.2f}"),
        ("repetition", f"{100 * one.repetition:.0f} %"),
        ("tokens", f"{one.tokens}, {one.finish_reason}"),
    )


def _print(prompt: str, found: Sequence[Written]) -> None:
    """As many texts beside each other as the terminal has room for."""
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    from hornbook.tracking.figures import printable

    console = Console()
    console.print(Panel(Text(printable(prompt)), title="prompt", title_align="left"))
    across = max(1, min(len(found), console.width // NARROWEST))
    for first in range(0, len(found), across):
        row = found[first : first + across]
        table = Table(expand=True, show_lines=True)
        for one in row:
            table.add_column(Text(one.way), ratio=1, overflow="fold")
        table.add_row(*(Text(printable(one.text)) for one in row))
        table.add_row(*(Text("\n".join(f"{name} {value}" for name, value in figures(one)), style="dim") for one in row))
        console.print(table)


def _write_page(out: Path, checkpoint: Path, prompt: str, found: Sequence[Written]) -> None:
    """Write the file.

    Raises:
        StorageError: if it cannot be written.
    """
    from hornbook.cli import token_page
    from hornbook.storage.atomic import replace_file

    body = [f'<p class="facts">{escape(str(checkpoint))}</p>\n<h2>prompt</h2>\n<pre>{escape(prompt)}</pre>\n']
    replace_file(out, token_page.page("Ways to decode, compared", [*body, *_sections(found)], {}, beside=None))


def _sections(found: Sequence[Written]) -> Iterator[str]:
    for one in found:
        said = "; ".join(f"{name} {value}" for name, value in figures(one))
        yield f'<h2>{escape(one.way)}</h2>\n<p class="facts">{escape(said)}</p>\n<pre>{escape(one.text)}</pre>\n'
