"""`hornbook tokenizer ACTION`: train a tokenizer, use one on text, look at one, and trade with other libraries.

On a terminal the answers are words and colours; whenever stdout is not a terminal it carries JSON lines. Each of the
files `tokenizer_*` declares its actions' arguments, and with `set_defaults(carry_out=...)` what carries an action out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hornbook.cli import tokenizer_compare, tokenizer_exchange, tokenizer_look, tokenizer_text, tokenizer_train

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook tokenizer` takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for part in (tokenizer_train, tokenizer_text, tokenizer_look, tokenizer_compare, tokenizer_exchange):
        part.add_actions(actions)


def run(args: argparse.Namespace) -> int:
    """Carry out the action."""
    args.carry_out(args)
    return 0
