"""`hornbook import nanogpt | nanochat | llama2c | plainlm | diffusionlm`: checkpoints of other projects.

Those that torch.save wrote are read without running what is pickled in them.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli.exchange_view import tell_import

if TYPE_CHECKING:
    import argparse

SOURCES = {
    "nanogpt": ("hornbook.interop.foreign_checkpoints", "ckpt.pt of nanoGPT"),
    "nanochat": (
        "hornbook.interop.foreign_checkpoints",
        "model_000000.pt of nanochat (of 2025), its meta file beside it",
    ),
    "llama2c": ("hornbook.interop.llama2c", "a .bin model of llama2.c; --tokenizer is its tokenizer.bin"),
    "plainlm": ("hornbook.interop.foreign_llamas", "ckpt_step_0.pth of plainLM, config.yaml beside it"),
    "diffusionlm": ("hornbook.interop.foreign_llamas", "a versions/v000000 directory of diffusionLM"),
}
"""Form -> (where its import_FORM stands, what it reads)."""


def add_import(forms: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare all of them."""
    for name, (_, text) in SOURCES.items():
        form = forms.add_parser(name, help=text, description=text)
        form.add_argument("source", type=Path, metavar="SOURCE", help=text)
        form.add_argument("out", type=Path, metavar="OUT", help="the checkpoint to write, which does not exist yet")
        form.add_argument(
            "--tokenizer", type=Path, metavar="PATH", help="the tokenizer that the model was trained with"
        )
        form.set_defaults(carry_out=_import)


def _import(args: argparse.Namespace) -> None:
    from hornbook.interop.imported import save_imported

    read = getattr(importlib.import_module(SOURCES[args.form][0]), f"import_{args.form}")
    imported = read(args.source, tokenizer=args.tokenizer)
    tell_import(args.form, save_imported(imported, args.out), imported)
