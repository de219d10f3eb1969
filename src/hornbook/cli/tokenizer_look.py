"""`hornbook tokenizer inspect | compare`: what a tokenizer is, and what it makes of a text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import tokenizer_view
from hornbook.cli.tokenizer_arguments import add_special, add_texts, add_tokenizer, ids_of, load_tokenizer, texts

if TYPE_CHECKING:
    import argparse


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `inspect` and `compare`."""
    text = "the tokens of a text; without one, the tokenizer itself"
    inspect = actions.add_parser("inspect", help=text, description=text)
    add_tokenizer(inspect)
    add_texts(inspect)
    add_special(inspect)
    inspect.set_defaults(carry_out=_inspect)
    text = "two tokenizers side by side, on a text too if one is given"
    compare = actions.add_parser("compare", help=text, description=text)
    add_tokenizer(compare)
    compare.add_argument("other", type=Path, metavar="OTHER", help="the second tokenizer")
    add_texts(compare)
    compare.set_defaults(carry_out=_compare)


def _inspect(args: argparse.Namespace) -> None:
    tokenizer = load_tokenizer(args.tokenizer)
    filled = [(where, data) for where, data in texts(args) if data]
    if not filled:
        tokenizer_view.show_tokenizer(tokenizer, args.tokenizer)
    for where, data in filled:
        tokenizer_view.show_tokens(tokenizer, ids_of(tokenizer, data, where, args.special), where)


def _compare(args: argparse.Namespace) -> None:
    one, two = load_tokenizer(args.tokenizer), load_tokenizer(args.other)
    data = b"".join(data for _, data in texts(args))
    tokenizer_view.show_comparison({str(args.tokenizer): one, str(args.other): two}, data)
