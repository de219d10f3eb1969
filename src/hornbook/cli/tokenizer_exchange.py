"""`hornbook tokenizer import | export`: trade with other libraries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli.tokenizer_arguments import add_tokenizer, load_tokenizer
from hornbook.cli.tokenizer_view import show_tokenizer

if TYPE_CHECKING:
    import argparse

    from hornbook.tokenizer.tokenizer import Tokenizer

FORMATS = ("tokenizer.json", "tiktoken", "gpt2", "gguf")


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `import` and `export`."""
    text = "read another library's tokenizer and write it as a directory of ours"
    imported = actions.add_parser("import", help=text, description=text)
    imported.add_argument(
        "source",
        metavar="SOURCE",
        help="gpt2, r50k_base, p50k_base, cl100k_base, o200k_base, OWNER/NAME on the Hugging Face hub, or a file: "
        "tokenizer.json or its directory, vocab.json (with --merges), or a .tiktoken file",
    )
    imported.add_argument("out", type=Path, metavar="OUT", help="the directory to write")
    imported.add_argument("--merges", type=Path, metavar="FILE", help="the merges.txt that belongs to a vocab.json")
    imported.add_argument(
        "--pattern",
        help="how text is split, for a vocab.json (default: gpt2) or a .tiktoken file (default: by its name)",
    )
    imported.add_argument(
        "--special",
        action="append",
        default=[],
        metavar="NAME[=ID]",
        help="a special token of a vocab.json or a .tiktoken file; may be repeated",
    )
    imported.add_argument("--force", action="store_true", help="replace another tokenizer that stands at OUT")
    imported.set_defaults(carry_out=_import)
    text = "write a tokenizer in the form of another library"
    export = actions.add_parser("export", help=text, description=text)
    add_tokenizer(export)
    add_format(export)
    export.set_defaults(carry_out=_export)


def add_format(parser: argparse.ArgumentParser) -> None:
    """Give a command OUT and --format."""
    parser.add_argument("out", type=Path, metavar="OUT", help="the file to write; for gpt2 the directory")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="tokenizer.json: Hugging Face; tiktoken: ranks alone; gpt2: vocab.json and merges.txt; gguf: llama.cpp's "
        "fields. Default: by a name that ends with .tiktoken or .gguf, otherwise tokenizer.json",
    )


def _import(args: argparse.Namespace) -> None:
    tokenizer = _read(args)
    tokenizer.save(args.out, overwrite=args.force)
    show_tokenizer(tokenizer, args.out)


def _read(args: argparse.Namespace) -> Tokenizer:
    from hornbook.errors import TokenizerError
    from hornbook.tokenizer.published import is_published, load_published
    from hornbook.tokenizer.tokenizer import Tokenizer

    path = Path(args.source)
    if args.merges is not None:
        return Tokenizer.from_files(
            path, args.merges, special_tokens=_special(args.special), pattern=args.pattern or "gpt2"
        )
    if path.suffix == ".tiktoken":
        return Tokenizer.from_tiktoken(path, pattern=args.pattern, special_tokens=_special(args.special))
    if args.pattern or args.special:
        raise TokenizerError(
            f"{args.source}: --pattern and --special are for a vocab.json with --merges and for a .tiktoken file; "
            "other sources say themselves what these are"
        )
    if not path.exists() and is_published(args.source):
        return load_published(args.source)
    return Tokenizer.load(path)


def _special(names: list[str]) -> list[str] | dict[str, int]:
    """Special tokens as options give them: names, or each with its id.

    Raises:
        TokenizerError: if only some have an id.
    """
    from hornbook.errors import TokenizerError

    with_ids = {match[1]: int(match[2]) for name in names if (match := re.fullmatch(r"(.+)=(\d+)", name, re.DOTALL))}
    if not with_ids:
        return names
    if len(with_ids) != len(names):
        raise TokenizerError(f"--special: got {', '.join(names)}; expected NAME=ID for all of them or for none")
    return with_ids


def _export(args: argparse.Namespace) -> None:
    write_tokenizer(load_tokenizer(args.tokenizer), args)


def write_tokenizer(tokenizer: Tokenizer, args: argparse.Namespace) -> None:
    """Write it to args.out in the form args.format, and say so.

    Raises:
        TokenizerError: if that form does not hold it.
    """
    from hornbook.storage.atomic import commit_directory, replace_file
    from hornbook.tracking.console import emit, speaks_to_people

    form = args.format or {".tiktoken": "tiktoken", ".gguf": "gguf"}.get(args.out.suffix, "tokenizer.json")
    not_held: dict[str, object] = _not_held(tokenizer, form)
    match form:
        case "gguf":
            from hornbook.interop.gguf_export import export_vocabulary

            notes = export_vocabulary(tokenizer, args.out)
            not_held = {"notes": notes} if notes else {}
        case "tokenizer.json":
            replace_file(args.out, tokenizer.to_hugging_face())
        case "tiktoken":
            replace_file(args.out, tokenizer.to_tiktoken())
        case _:
            files = tokenizer.to_gpt2()
            with commit_directory(args.out) as directory:
                for name, text in files.items():
                    (directory / name).write_bytes(text.encode())
    if speaks_to_people():
        print(f"{args.out}: {tokenizer.vocab_size:,} ids in the form {form}")
        if not_held:
            print(f"That form does not hold: {'; '.join(f'{key} {value}' for key, value in not_held.items())}")
    emit("export", path=str(args.out), vocab_size=tokenizer.vocab_size, format=form, not_held=not_held)


def _not_held(tokenizer: Tokenizer, form: str) -> dict[str, object]:
    """What a reader of this form must be told besides."""
    if form in ("tokenizer.json", "gguf"):
        return {}
    facts: dict[str, object] = {"pattern": getattr(tokenizer.scheme, "pattern", None)}
    if form == "tiktoken":
        facts |= {"special_tokens": tokenizer.special_tokens, "added_tokens": tokenizer.added_tokens}
    if any(tokenizer.template):
        facts["template"] = tokenizer.template._asdict()
    return {key: value for key, value in facts.items() if value}
