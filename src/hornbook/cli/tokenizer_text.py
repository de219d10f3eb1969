"""`hornbook tokenizer encode | decode`: text to ids and back."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli.tokenizer_arguments import add_special, add_texts, add_tokenizer, ids_of, load_tokenizer, texts
from hornbook.errors import TokenizerError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `encode` and `decode`."""
    text = "text to ids: one line for each text, file, or stdin"
    encode = actions.add_parser("encode", help=text, description=text)
    add_tokenizer(encode)
    add_texts(encode)
    add_special(encode)
    encode.set_defaults(carry_out=_encode)
    text = "ids to text"
    decode = actions.add_parser("decode", help=text, description=text)
    add_tokenizer(decode)
    decode.add_argument(
        "ids", nargs="*", type=int, metavar="ID", help="default: lines of ids from stdin, or the output of encode"
    )
    decode.add_argument("--out", type=Path, metavar="FILE", help="write the exact bytes to a file instead")
    decode.set_defaults(carry_out=_decode)


def _encode(args: argparse.Namespace) -> None:
    from hornbook.tracking.console import emit, speaks_to_people

    tokenizer = load_tokenizer(args.tokenizer)
    for where, data in texts(args):
        ids = ids_of(tokenizer, data, where, args.special)
        if speaks_to_people():
            print(*ids)
        emit("encode", source=where, n_bytes=len(data), n_tokens=len(ids), ids=ids)


def _decode(args: argparse.Namespace) -> None:
    from hornbook.storage.atomic import replace_file
    from hornbook.tracking.console import emit, speaks_to_people

    tokenizer = load_tokenizer(args.tokenizer)
    rows = [args.ids] if args.ids else list(_rows_of_ids(sys.stdin))
    if args.out is not None:
        replace_file(args.out, b"".join(tokenizer.decode_bytes(ids) for ids in rows))
        return
    for ids in rows:
        text = tokenizer.decode(ids)
        if speaks_to_people():
            print(text)
        emit("decode", n_tokens=len(ids), text=text)


def _rows_of_ids(lines: Iterable[str]) -> Iterator[list[int]]:
    """Ids of each line: numbers with blanks or commas between, a JSON list, or what `encode` writes.

    Raises:
        TokenizerError: naming the line that is none of these.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line) if line.lstrip().startswith(("{", "[")) else line.replace(",", " ").split()
            yield [int(i) for i in (value["ids"] if isinstance(value, dict) else value)]
        except (ValueError, KeyError, TypeError) as error:
            raise TokenizerError(
                f"stdin line {number}: got {line.strip()!r:.60}; expected ids such as 15496 11 995"
            ) from error
