"""The arguments of every verb that takes a configuration: CONFIG, --set and --print-config."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # these import pydantic, which no --help may wait for
    from hornbook.config.load import LoadedConfig
    from hornbook.config.run import Config


def add_config_arguments(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Give a verb CONFIG (optional unless `required`), --set and --print-config."""
    parser.add_argument(
        "config", metavar="CONFIG", nargs=None if required else "?", help="TOML file; see `hornbook config --help`"
    )
    add_set_argument(parser)
    add_print_argument(parser)


def add_set_argument(parser: argparse.ArgumentParser) -> None:
    """Give a verb --set KEY=VALUE."""
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override one setting, with VALUE as TOML writes it: --set train.steps=100 --set 'run.name=\"x\"'",
    )


def add_print_argument(parser: argparse.ArgumentParser) -> None:
    """Give a verb --print-config."""
    parser.add_argument(
        "--print-config",
        dest="print_config",
        action="store_const",
        const="toml",
        help="print the resolved configuration as TOML and exit",
    )
    # An option string of its own: with nargs="?" a CONFIG after --print-config would be taken for the format.
    parser.add_argument(
        "--print-config=json", dest="print_config", action="store_const", const="json", help="the same as JSON"
    )


def positive(text: str) -> int:
    """A whole number of at least 1, as argparse's type of an argument."""
    return _at_least(1, text)


def not_negative(text: str) -> int:
    """A whole number of at least 0, as argparse's type of an argument."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least {least}")
    return number


def load_with_origins(args: argparse.Namespace) -> LoadedConfig:
    """The configuration that the arguments ask for, and where each value came from."""
    from hornbook.config.load import load_config

    return load_config(args.config, args.overrides)


def load(args: argparse.Namespace) -> Config:
    """The configuration that the arguments ask for.

    Raises:
        ConfigError: listing all that is wrong with it.
    """
    return load_with_origins(args).config


def maybe_print(args: argparse.Namespace, config: Config) -> bool:
    """Print the configuration when --print-config asks for it; then the verb has nothing more to do."""
    from hornbook.config.dump import to_json, to_toml

    match args.print_config:
        case None:
            return False
        case "json":
            sys.stdout.write(to_json(config) + "\n")
        case _:
            sys.stdout.write(to_toml(config))
    return True
