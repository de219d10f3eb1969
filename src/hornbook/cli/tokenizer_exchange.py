"""`hornbook tokenizer import | export`: trade with other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli.tokenizer_arguments import add_tokenizer, load_tokenizer
from hornbook.cli.tokenizer_view import show_tokenizer

if TYPE_CHECKING:
    import argparse


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `import` and `export`."""
    text = "read another library's tokenizer and write it as a directory of ours"
    imported = actions.add_parser("import", help=text, description=text)
    imported.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="a tokenizer.json or its directory, a vocab.json (with --merges) or a .tiktoken file (with --pattern)",
    )
    imported.add_argument("out", type=Path, metavar="OUT", help="the directory to write")
    imported.add_argument("--merges", type=Path, metavar="FILE", help="the merges.txt that belongs to SOURCE")
    imported.add_argument("--pattern", default="gpt2", help="how its text was split; default: gpt2")
    imported.add_argument("--special", action="append", default=[], metavar="NAME", help="a special token's name")
    imported.add_argument("--force", action="store_true", help="replace another tokenizer that stands at OUT")
    imported.set_defaults(carry_out=_import)
    text = "write a Hugging Face tokenizer.json"
    export = actions.add_parser("export", help=text, description=text)
    add_tokenizer(export)
    export.add_argument("out", type=Path, metavar="OUT", help="the file to write")
    export.set_defaults(carry_out=_export)


def _import(args: argparse.Namespace) -> None:
    from hornbook.tokenizer.tokenizer import Tokenizer

    source: Path = args.source
    if args.merges is not None:
        tokenizer = Tokenizer.from_files(source, args.merges, special_tokens=args.special, pattern=args.pattern)
    elif source.suffix == ".tiktoken":
        tokenizer = Tokenizer.from_tiktoken(source, pattern=args.pattern, special_tokens=args.special)
    else:
        tokenizer = Tokenizer.load(source)
    tokenizer.save(args.out, overwrite=args.force)
    show_tokenizer(tokenizer, args.out)


def _export(args: argparse.Namespace) -> None:
    from hornbook.storage.atomic import replace_file
    from hornbook.tracking.console import emit, speaks_to_people

    tokenizer = load_tokenizer(args.tokenizer)
    replace_file(args.out, tokenizer.to_hugging_face())
    if speaks_to_people():
        print(f"{args.out}: {tokenizer.vocab_size:,} ids in Hugging Face's form")
    emit("export", path=str(args.out), vocab_size=tokenizer.vocab_size)
