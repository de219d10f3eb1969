"""`hornbook import FORM`: a checkpoint of ours from the files of another system."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hornbook.cli import exchange_gguf, exchange_hf, exchange_others

if TYPE_CHECKING:
    import argparse

FORMS = (exchange_hf, exchange_gguf, exchange_others)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook import` takes."""
    forms = parser.add_subparsers(dest="form", required=True, metavar="FORM")
    for form in FORMS:
        form.add_import(forms)


def run(args: argparse.Namespace) -> int:
    """Read the form that was asked for."""
    args.carry_out(args)
    return 0
