"""`hornbook export FORM`: a checkpoint in the form of another system.

Each of the files `exchange_*` declares one form, for `export` and for `import`, and with `set_defaults(carry_out=...)`
what carries it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hornbook.cli import exchange_gguf, exchange_hf, exchange_tokenizer

if TYPE_CHECKING:
    import argparse

FORMS = (exchange_hf, exchange_gguf, exchange_tokenizer)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook export` takes."""
    forms = parser.add_subparsers(dest="form", required=True, metavar="FORM")
    for form in FORMS:
        form.add_export(forms)


def run(args: argparse.Namespace) -> int:
    """Write the form that was asked for."""
    args.carry_out(args)
    return 0
