"""What several actions of `hornbook tokenizer` take: a tokenizer, and texts from files, options or stdin."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hornbook.tokenizer.tokenizer import Tokenizer


HELP = "its directory, a tokenizer.json, a .tiktoken file, or gpt2, cl100k_base, ..."


def add_tokenizer(parser: argparse.ArgumentParser) -> None:
    """The argument TOKENIZER."""
    parser.add_argument("tokenizer", type=Path, metavar="TOKENIZER", help=HELP)


def add_texts(parser: argparse.ArgumentParser) -> None:
    """The arguments FILE and --text, which `texts` reads."""
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="text files; default: stdin, when piped")
    parser.add_argument("--text", dest="texts", action="append", default=[], metavar="TEXT", help="may be repeated")


def html_file(text: str) -> Path:
    """The type of --html: another name may be that of a text which the page would replace."""
    path = Path(text)
    if path.suffix.lower() not in (".html", ".htm"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a name that ends with .html")
    return path


def add_special(parser: argparse.ArgumentParser) -> None:
    """The option --special, which `ids_of` takes."""
    parser.add_argument(
        "--special",
        action="append",
        default=[],
        metavar="NAME",
        help="let this special token count in the text; `all` for each of them; may be repeated",
    )


def load_tokenizer(path: Path, *, pattern: str | None = None) -> Tokenizer:
    """The tokenizer that the user named: a directory, a tokenizer.json, a .tiktoken file, or a name such as gpt2.

    Repositories of the hub are left to `import`: a mistyped path looks like one.

    Args:
        path: where it is.
        pattern: how the text of a .tiktoken file was split, if its name does not tell.

    Raises:
        TokenizerError: if it cannot be read.
    """
    from hornbook.tokenizer.published import NAMES, load_published
    from hornbook.tokenizer.tiktoken_ranks import ENCODINGS
    from hornbook.tokenizer.tokenizer import Tokenizer

    if path.suffix == ".tiktoken":
        return Tokenizer.from_tiktoken(path, pattern=None if path.stem in ENCODINGS else pattern)
    if str(path) in NAMES and not path.exists():
        return load_published(str(path))
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
