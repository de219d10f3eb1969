"""`hornbook export gguf`, `hornbook import gguf`: one file, which llama.cpp runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli.exchange_view import add_checkpoint, open_checkpoint, tell_export, tell_import

if TYPE_CHECKING:
    import argparse

TYPES = ("F32", "BF16", "Q8_0")


def add_export(forms: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `export gguf`."""
    text = "a file that llama.cpp runs: weights, tokenizer and chat template"
    form = forms.add_parser("gguf", help=text, description=text)
    add_checkpoint(form)
    form.add_argument("out", type=Path, metavar="FILE", help="a file that does not exist yet")
    form.add_argument("--type", choices=TYPES, default="F32", help="of the matrices (default: F32)")
    form.set_defaults(carry_out=_export)


def add_import(forms: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `import gguf`."""
    text = "a GGUF file of llama.cpp: Llama, Qwen 2 and 3, GPT-2, LLaDA, in any of the usual types"
    form = forms.add_parser("gguf", help=text, description=text)
    form.add_argument("source", type=Path, metavar="FILE", help="the file")
    form.add_argument("out", type=Path, metavar="OUT", help="the checkpoint to write, which does not exist yet")
    form.add_argument("--tokenizer", type=Path, metavar="PATH", help="a tokenizer in place of the one in the file")
    form.set_defaults(carry_out=_import)


def _export(args: argparse.Namespace) -> None:
    from hornbook.interop.gguf_export import export_gguf

    tell_export("gguf", args.out, **export_gguf(open_checkpoint(args), args.out, kind=args.type))


def _import(args: argparse.Namespace) -> None:
    from hornbook.interop.gguf_import import import_gguf
    from hornbook.interop.imported import save_imported

    imported = import_gguf(args.source, tokenizer=args.tokenizer)
    tell_import("gguf", save_imported(imported, args.out), imported)
