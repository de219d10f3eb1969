"""What several actions of `hornbook tokenizer` take: a tokenizer, and texts from files, options or stdin."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from hornbook.tokenizer.tokenizer import Tokenizer


def add_tokenizer(parser: argparse.ArgumentParser) -> None:
    """The argument TOKENIZER."""
    parser.add_argument("tokenizer", type=Path, metavar="TOKENIZER", help="its directory, or a tokenizer.json")


def add_texts(parser: argparse.ArgumentParser) -> None:
    """The arguments FILE and --text, which `texts` reads."""
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="text files; default: stdin, when piped")
    parser.add_argument("--text", dest="texts", action="append", default=[], metavar="TEXT", help="may be repeated")


def add_special(parser: argparse.ArgumentParser) -> None:
    """The option --special, which `ids_of` takes."""
    parser.add_argument(
        "--special",
        action="append",
        default=[],
        metavar="NAME",
        help="let this special token count in the text; `all` for each of them; may be repeated",
    )


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer at a path that the user gave."""
    from hornbook.tokenizer.tokenizer import Tokenizer

    return Tokenizer.load(path)


def texts(args: argparse.Namespace) -> Iterator[tuple[str, bytes]]:
    """Each text as (where it comes from, its bytes): --text, then files, else stdin unless it is a terminal."""
    from hornbook.tokenizer.documents import encode_utf8

    for text in args.texts:
        yield "--text", encode_utf8(text)
    for path in args.files:
        yield str(path), path.read_bytes()
    if not args.texts and not args.files and not sys.stdin.isatty():
        yield "stdin", sys.stdin.buffer.read()


def ids_of(tokenizer: Tokenizer, data: bytes, where: str, special: list[str]) -> list[int]:
    """Ids of a text in which the special tokens named by --special count.

    Raises:
        TokenizerError: for invalid UTF-8, naming where the text comes from, or an unknown special token.
    """
    from hornbook.tokenizer.documents import decode_utf8

    return tokenizer.encode(decode_utf8(data, where), allowed_special="all" if "all" in special else special)
