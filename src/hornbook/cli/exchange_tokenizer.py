"""`hornbook export tokenizer`: the tokenizer of a checkpoint in the form of another library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hornbook.cli.exchange_view import add_checkpoint, open_checkpoint
from hornbook.cli.tokenizer_exchange import add_format, write_tokenizer

if TYPE_CHECKING:
    import argparse


def add_export(forms: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `export tokenizer`."""
    text = "its tokenizer alone: tokenizer.json, tiktoken, vocab.json and merges.txt, or llama.cpp's fields"
    form = forms.add_parser("tokenizer", help=text, description=text)
    add_checkpoint(form)
    add_format(form)
    form.set_defaults(carry_out=_export)


def _export(args: argparse.Namespace) -> None:
    from hornbook.errors import CheckpointError

    checkpoint = open_checkpoint(args)
    if checkpoint.tokenizer is None:
        raise CheckpointError(f"{checkpoint.path}: holds no tokenizer/ to export")
    if args.out.exists():
        raise CheckpointError(f"{args.out}: exists already; choose another name or remove it")
    write_tokenizer(checkpoint.tokenizer, args)
