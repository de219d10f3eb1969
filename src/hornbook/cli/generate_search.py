"""Flags of `hornbook generate` for beam search and for guesses, and what they forbid."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli.configuration import positive

if TYPE_CHECKING:
    from hornbook.config.run import Config

_SETTINGS = {
    "strategy": "strategy",
    "beam_width": "beam.width",
    "length_penalty": "beam.length_penalty",
    "draft": "draft.checkpoint",
    "draft_lookup": "draft.lookup",
    "draft_tokens": "draft.tokens",
}
"""Flag -> setting of [generate]."""


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    beam = parser.add_argument_group("beam search")
    beam.add_argument("--strategy", choices=("sample", "beam"), help="draw tokens, or search the likeliest text")
    beam.add_argument("--beam-width", type=int, metavar="N", help="unfinished texts that are kept; default: 10")
    beam.add_argument("--n-best", type=positive, metavar="N", help="texts a prompt, the likeliest first; default: 1")
    beam.add_argument("--length-penalty", type=float, metavar="A", help="above 0: long texts may win; default: 0, none")
    draft = parser.add_argument_group("guesses, checked several at a time: the same distribution, sooner")
    draft.add_argument("--draft", type=Path, metavar="CHECKPOINT", help="a smaller model of the same tokenizer guesses")
    draft.add_argument(
        "--draft-lookup", type=int, metavar="N", help="what followed the same N tokens before is guessed"
    )
    draft.add_argument("--draft-tokens", type=int, metavar="N", help="guesses at a time; default: 4")


def search_settings(args: argparse.Namespace) -> dict[str, str | int | float]:
    """The settings that the flags stand for."""
    given = {f"generate.{setting}": getattr(args, flag) for flag, setting in _SETTINGS.items()}
    return {key: str(value) if isinstance(value, Path) else value for key, value in given.items() if value is not None}


def check_search_arguments(args: argparse.Namespace, config: Config) -> None:
    """Refuse arguments that have no effect with the strategy.

    Raises:
        ConfigError: naming them.
    """
    from hornbook.errors import ConfigError

    searches = config.generate.strategy == "beam"
    if args.n_best is not None and not searches:
        raise ConfigError("--n-best has no effect without --strategy beam; for several texts, take --num-samples")
    if searches and args.num_samples > 1:
        raise ConfigError(
            "--num-samples has no effect on a search, which draws nothing; for several texts, take --n-best"
        )


def draft_words(guessed: int, accepted: int, tokens: int) -> str:
    """How good guesses were."""
    share = f" ({100 * accepted / guessed:.0f} %)" if guessed else ""
    readings = max(1, tokens - accepted)
    return f"note: {accepted} of {guessed} guesses stood{share}; {tokens / readings:.2f} tokens a reading"
