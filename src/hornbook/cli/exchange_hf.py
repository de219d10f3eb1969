"""`hornbook export hf`, `hornbook import hf`: directories as Hugging Face's transformers has them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli.exchange_view import add_checkpoint, open_checkpoint, tell_export, tell_import

if TYPE_CHECKING:
    import argparse

LAYOUTS = ("llama", "qwen2", "qwen3", "gpt2", "llada")
DTYPES = ("float32", "bfloat16", "float16")


def add_export(forms: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `export hf`."""
    text = "a directory that transformers loads: config, safetensors, tokenizer and chat template"
    form = forms.add_parser("hf", help=text, description=text)
    add_checkpoint(form)
    form.add_argument("out", type=Path, metavar="OUT", help="a directory that does not exist yet")
    form.add_argument("--dtype", choices=DTYPES, default="float32", help="of the weights (default: float32)")
    form.add_argument(
        "--layout",
        choices=LAYOUTS,
        help="the architecture to write; default: the one that fits (docs/interop.md)",
    )
    form.set_defaults(carry_out=_export)


def add_import(forms: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `import hf`."""
    text = "a directory as transformers writes it: Llama, Mistral, Qwen 2 and 3, GPT-2 and LLaDA"
    form = forms.add_parser("hf", help=text, description=text)
    form.add_argument("source", metavar="SOURCE", help="the directory, or OWNER/NAME on the Hugging Face hub")
    form.add_argument("out", type=Path, metavar="OUT", help="the checkpoint to write, which does not exist yet")
    form.set_defaults(carry_out=_import)


def _export(args: argparse.Namespace) -> None:
    from hornbook.interop.hf_export import export_hf

    written = export_hf(open_checkpoint(args), args.out, dtype=args.dtype, layout=args.layout)
    tell_export("hf", args.out, **written)


def _import(args: argparse.Namespace) -> None:
    from hornbook.interop.hf import import_hf
    from hornbook.interop.hf_hub import find_hf
    from hornbook.interop.imported import save_imported

    path, source = find_hf(args.source)
    imported = import_hf(path, source)
    tell_import("hf", save_imported(imported, args.out), imported)
