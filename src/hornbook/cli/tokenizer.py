"""`hornbook tokenizer ACTION`: train a tokenizer, use one on text, look at one, and trade with other libraries.

On a terminal the answers are words and colours; whenever stdout is not a terminal it carries JSON lines.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import tokenizer_view
from hornbook.cli.configuration import add_config_arguments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hornbook.config.run import Config
    from hornbook.config.tokenizer import TokenizerConfig
    from hornbook.tokenizer.tokenizer import Tokenizer

SAMPLE_BYTES = 2**20
"""Text from the beginning of the source on which bytes per token are measured."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook tokenizer` takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_train(actions)
    for name, text in (
        ("encode", "text to ids: one line for each text, file, or stdin"),
        ("inspect", "the tokens of a text; without one, the tokenizer itself"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        _add_tokenizer(action)
        _add_texts(action)
        action.add_argument(
            "--special",
            action="append",
            default=[],
            metavar="NAME",
            help="let this special token count in the text; `all` for each of them; may be repeated",
        )
    _add_decode(actions)
    text = "two tokenizers side by side, on a text too if one is given"
    compare = actions.add_parser("compare", help=text, description=text)
    _add_tokenizer(compare)
    compare.add_argument("other", type=Path, metavar="OTHER", help="the second tokenizer")
    _add_texts(compare)
    _add_import(actions)
    text = "write a Hugging Face tokenizer.json"
    export = actions.add_parser("export", help=text, description=text)
    _add_tokenizer(export)
    export.add_argument("out", type=Path, metavar="OUT", help="the file to write")


def run(args: argparse.Namespace) -> int:
    """Carry out the action."""
    match args.action:
        case "train":
            _train(args)
        case "encode":
            _encode(args)
        case "decode":
            _decode(args)
        case "inspect":
            _inspect(args)
        case "compare":
            _compare(args)
        case "import":
            _import(args)
        case "export":
            _export(args)
    return 0


def _add_train(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "learn a vocabulary from [data.source] as [tokenizer] says, and write tokenizer.path"
    train = actions.add_parser("train", help=text, description=text)
    add_config_arguments(train, required=True)
    train.add_argument("--force", action="store_true", help="replace another tokenizer that stands at tokenizer.path")


def _add_decode(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "ids to text"
    decode = actions.add_parser("decode", help=text, description=text)
    _add_tokenizer(decode)
    decode.add_argument(
        "ids", nargs="*", type=int, metavar="ID", help="default: lines of ids from stdin, or the output of encode"
    )
    decode.add_argument("--out", type=Path, metavar="FILE", help="write the exact bytes to a file instead")


def _add_import(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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


def _add_tokenizer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tokenizer", type=Path, metavar="TOKENIZER", help="its directory, or a tokenizer.json")


def _add_texts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="text files; default: stdin, when piped")
    parser.add_argument("--text", dest="texts", action="append", default=[], metavar="TEXT", help="may be repeated")


def _train(args: argparse.Namespace) -> None:
    from hornbook.cli.configuration import load, maybe_print

    config = load(args)
    if not maybe_print(args, config):
        _refuse_early(config.tokenizer, force=args.force)
        _train_from(config, force=args.force)


def _refuse_early(config: TokenizerConfig, *, force: bool) -> None:
    """Say before the work what saving would say after it, as far as settings tell.

    A smaller vocabulary than asked for tells nothing: short texts give one. Saving compares the tokenizers themselves.
    """
    from hornbook.errors import TokenizerError
    from hornbook.tokenizer import files
    from hornbook.tokenizer.byte_pair import BytePairScheme
    from hornbook.tokenizer.train import special_names

    files.check_place(config.path)
    if force or not config.path.exists() or not any(config.path.iterdir()):
        return
    try:
        there = _load(config.path)
    except TokenizerError as error:
        raise files.another_tokenizer(config.path, f", which cannot be read ({error})") from None
    differences = [
        ("kind", there.scheme.kind, config.kind),
        ("special tokens", ", ".join(there.special_tokens) or "none", ", ".join(special_names(config)) or "none"),
    ]
    if isinstance(there.scheme, BytePairScheme) and config.kind == "bpe":
        differences.append(("pattern", there.scheme.pattern, config.pattern))
        if there.vocab_size > config.vocab_size:
            differences.append(("ids", f"{there.vocab_size:,}", f"{config.vocab_size:,}"))
    if how := "; ".join(f"{what}: {had} there, {asked} now" for what, had, asked in differences if had != asked):
        raise files.another_tokenizer(config.path, f" ({how})")


def _train_from(config: Config, *, force: bool) -> None:
    import time

    from hornbook.data.sources import SourceReport, open_source
    from hornbook.tokenizer.tokenizer import Tokenizer

    report, sample, started = SourceReport(), bytearray(), time.monotonic()

    def texts() -> Iterator[bytes]:
        for document in open_source(config.data.source, on_error=config.data.on_error, report=report):
            sample.extend(document.text[: SAMPLE_BYTES - len(sample)])
            yield document.text

    with tokenizer_view.TrainBars(config.tracking.console) as bars:
        tokenizer = Tokenizer.train(texts(), config.tokenizer, progress=bars.show)
    tokenizer.save(config.tokenizer.path, overwrite=force)
    ids = tokenizer.encode_bytes(bytes(sample), errors="replace")
    tokenizer_view.show_trained(
        tokenizer,
        config,
        {
            "seconds": round(time.monotonic() - started, 2),
            "documents": report.documents,
            "skipped": sum(report.skipped.values()),
            "bytes_per_token": round(len(sample) / len(ids), 3) if ids else None,
        },
    )


def _encode(args: argparse.Namespace) -> None:
    from hornbook.tracking.console import emit, speaks_to_people

    tokenizer = _load(args.tokenizer)
    for where, data in _texts(args):
        ids = _ids(tokenizer, data, where, args.special)
        if speaks_to_people():
            print(*ids)
        emit("encode", source=where, n_bytes=len(data), n_tokens=len(ids), ids=ids)


def _decode(args: argparse.Namespace) -> None:
    from hornbook.storage.atomic import replace_file
    from hornbook.tracking.console import emit, speaks_to_people

    tokenizer = _load(args.tokenizer)
    rows = [args.ids] if args.ids else list(tokenizer_view.rows_of_ids(sys.stdin))
    if args.out is not None:
        replace_file(args.out, b"".join(tokenizer.decode_bytes(ids) for ids in rows))
        return
    for ids in rows:
        text = tokenizer.decode(ids)
        if speaks_to_people():
            print(text)
        emit("decode", n_tokens=len(ids), text=text)


def _inspect(args: argparse.Namespace) -> None:
    tokenizer = _load(args.tokenizer)
    texts = [(where, data) for where, data in _texts(args) if data]
    if not texts:
        tokenizer_view.show_tokenizer(tokenizer, args.tokenizer)
    for where, data in texts:
        tokenizer_view.show_tokens(tokenizer, _ids(tokenizer, data, where, args.special), where)


def _compare(args: argparse.Namespace) -> None:
    one, two = _load(args.tokenizer), _load(args.other)
    data = b"".join(data for _, data in _texts(args))
    tokenizer_view.show_comparison({str(args.tokenizer): one, str(args.other): two}, data)


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
    tokenizer_view.show_tokenizer(tokenizer, args.out)


def _export(args: argparse.Namespace) -> None:
    from hornbook.storage.atomic import replace_file
    from hornbook.tracking.console import emit, speaks_to_people

    tokenizer = _load(args.tokenizer)
    replace_file(args.out, tokenizer.to_hugging_face())
    if speaks_to_people():
        print(f"{args.out}: {tokenizer.vocab_size:,} ids in Hugging Face's form")
    emit("export", path=str(args.out), vocab_size=tokenizer.vocab_size)


def _load(path: Path) -> Tokenizer:
    from hornbook.tokenizer.tokenizer import Tokenizer

    return Tokenizer.load(path)


def _ids(tokenizer: Tokenizer, data: bytes, where: str, special: list[str]) -> list[int]:
    from hornbook.tokenizer.documents import decode_utf8

    return tokenizer.encode(decode_utf8(data, where), allowed_special="all" if "all" in special else special)


def _texts(args: argparse.Namespace) -> Iterator[tuple[str, bytes]]:
    """Each text as (where it comes from, its bytes): --text, then files, else stdin unless it is a terminal."""
    from hornbook.tokenizer.documents import encode_utf8

    for text in args.texts:
        yield "--text", encode_utf8(text)
    for path in args.files:
        yield str(path), path.read_bytes()
    if not args.texts and not args.files and not sys.stdin.isatty():
        yield "stdin", sys.stdin.buffer.read()
