"""`hornbook tokenizer encode | decode | warmup`: text to ids and back, and compiling what does it beforehand."""

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

    from hornbook.tokenizer.tokenizer import Tokenizer


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `encode`, `decode` and `warmup`."""
    text = "text to ids: one line for each text, file, or stdin; with --out, a file of any size to a file of ids"
    encode = actions.add_parser("encode", help=text, description=text)
    add_tokenizer(encode)
    add_texts(encode)
    add_special(encode)
    encode.add_argument("--out", type=Path, metavar="IDS", help="write the ids of one file as uint16 or uint32")
    encode.add_argument("--threads", type=int, metavar="N", help="with --out; default: the cores, at most 8")
    encode.add_argument("--replace", action="store_true", help="with --out: read broken UTF-8 as U+FFFD")
    encode.set_defaults(carry_out=_encode)
    text = "ids to text"
    decode = actions.add_parser("decode", help=text, description=text)
    add_tokenizer(decode)
    decode.add_argument(
        "ids", nargs="*", type=int, metavar="ID", help="default: lines of ids from stdin, or the output of encode"
    )
    decode.add_argument("--out", type=Path, metavar="FILE", help="write the exact bytes to a file instead")
    decode.set_defaults(carry_out=_decode)
    text = "compile the tokenizer's kernels now, so that no command has to wait for it"
    warmup = actions.add_parser("warmup", help=text, description=text)
    warmup.set_defaults(carry_out=_warm_up)


def _encode(args: argparse.Namespace) -> None:
    from hornbook.tracking.console import emit, speaks_to_people

    tokenizer = load_tokenizer(args.tokenizer)
    if args.out is not None:
        _encode_file(tokenizer, args)
        return
    if args.threads is not None or args.replace:
        raise TokenizerError("encode: --threads and --replace are for a file of ids; give --out too")
    for where, data in texts(args):
        ids = ids_of(tokenizer, data, where, args.special)
        if speaks_to_people():
            print(*ids)
        emit("encode", source=where, n_bytes=len(data), n_tokens=len(ids), ids=ids)


def _encode_file(tokenizer: Tokenizer, args: argparse.Namespace) -> None:
    import time

    from hornbook.tracking.console import emit, speaks_to_people
    from hornbook.tracking.progress import Progress

    if len(args.files) != 1 or args.texts:
        raise TokenizerError("encode --out: expected exactly one FILE, and no --text")
    source: Path = args.files[0]
    started = time.monotonic()
    with Progress("encode", unit="bytes") as bar:
        counts = tokenizer.encode_file(
            source,
            args.out,
            threads=args.threads,
            allowed_special="all" if "all" in args.special else args.special,
            errors="replace" if args.replace else "strict",
            progress=bar.update,
        )
    seconds = time.monotonic() - started
    bits = 16 if tokenizer.vocab_size <= 2**16 else 32
    if speaks_to_people():
        print(
            f"{args.out}: {counts.n_ids:,} ids as uint{bits} of {counts.n_bytes:,} bytes, "
            f"{counts.n_bytes / max(counts.n_ids, 1):.2f} bytes an id, {counts.n_bytes / 1e6 / seconds:.0f} MB/s"
        )
    emit(
        "encode",
        source=str(source),
        out=str(args.out),
        dtype=f"uint{bits}",
        n_bytes=counts.n_bytes,
        n_tokens=counts.n_ids,
        seconds=seconds,
    )


def _warm_up(_: argparse.Namespace) -> None:
    import time

    from hornbook.tokenizer import compiled
    from hornbook.tracking.console import emit, speaks_to_people

    for task in compiled.TASKS:
        if speaks_to_people():
            print(f"{task}: ", end="", flush=True)
        started = time.monotonic()
        reason = compiled.warm_up(task)
        if reason is not None:
            raise TokenizerError(f"the tokenizer's kernels cannot be used: {reason}")
        seconds = time.monotonic() - started
        if speaks_to_people():
            print(f"ready after {seconds:.1f} s")
        emit("warmup", task=task, seconds=seconds, directory=compiled.kept_in())
    if speaks_to_people():
        print(f"compiled code is kept in {compiled.kept_in()}")


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
