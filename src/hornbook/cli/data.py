"""`hornbook data ACTION`: documents to shards, what is in them, and data sets of the hub by name.

On a terminal the answers are words and colours; whenever stdout is not a terminal it carries JSON lines.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import data_count, data_mixture, data_view
from hornbook.cli.configuration import (
    add_config_arguments,
    add_print_argument,
    add_set_argument,
    not_negative,
    positive,
)

if TYPE_CHECKING:
    from hornbook.config.run import Config
    from hornbook.data.dataset import Dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook data` takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_prepare(actions)
    data_count.add_action(actions)
    _add_inspect(actions)
    _add_fetch(actions)


def run(args: argparse.Namespace) -> int:
    """Carry out the action."""
    if args.action == "inspect" and _printed(args):
        return 0
    match args.action:
        case "prepare":
            _prepare(args)
        case "count":
            data_count.run(args)
        case "inspect":
            _inspect(args)
        case "fetch":
            _fetch(args)
    return 0


def _add_prepare(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "turn [data.source] into token shards at data.path; after an interruption the same command goes on"
    prepare = actions.add_parser("prepare", help=text, description=text)
    add_config_arguments(prepare, required=True)
    short_forms: tuple[tuple[str, str, type, str, str], ...] = (
        ("--max-tokens", "data.max_tokens", int, "N", "stop after the document that reaches so many tokens"),
        ("--max-documents", "data.max_documents", int, "N", "stop after so many documents"),
        ("--subset", "data.source.subset", str, "NAME", "of a hub data set"),
        ("--text-field", "data.source.text_field", str, "NAME", "of a jsonl, parquet or hub source"),
        ("--workers", "data.workers", int, "N", "threads that tokenise; default: one a core, up to four"),
    )
    for option, key, kind, metavar, about in short_forms:
        prepare.add_argument(option, type=kind, metavar=metavar, help=f"{about} ({key})")
    prepare.add_argument(
        "--on-error", choices=("stop", "skip"), help="bad input: stop with file and line, or count (data.on_error)"
    )
    prepare.add_argument("--force", action="store_true", help="replace another data set that stands at data.path")
    prepare.set_defaults(short_forms={option.strip("-").replace("-", "_"): key for option, key, *_ in short_forms})


def _add_inspect(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "the tokens of one window, sample or document, decoded; of a mixture, what each data set gives to the run"
    inspect = actions.add_parser("inspect", help=text, description=text)
    _add_place(inspect)
    inspect.add_argument("--split", choices=("train", "valid", "test"), default="train", help="default: train")
    what = inspect.add_mutually_exclusive_group()
    what.add_argument("--window", type=int, metavar="N", help="as they lie in the split, from 0; default: 0")
    what.add_argument(
        "--sample",
        type=not_negative,
        metavar="N",
        help="the window that training with CONFIG reads as its N-th, from 0",
    )
    what.add_argument("--document", type=int, metavar="N", help="from 0")
    inspect.add_argument(
        "--length",
        type=positive,
        metavar="TOKENS",
        help="of a window; default: model.context_length, or 256 of a data set",
    )


def _add_fetch(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "write a Hugging Face data set as local JSON lines: a short name (see --list) or any hub id"
    fetch = actions.add_parser("fetch", help=text, description=text)
    fetch.add_argument("name", metavar="NAME", nargs="?", help="such as TinyStories, or owner/name")
    fetch.add_argument("--list", action="store_true", help="the short names")
    fetch.add_argument("--out", type=Path, metavar="DIR", help="default: data/raw/NAME")
    fetch.add_argument("--subset", metavar="NAME", help="a configuration of the data set")
    fetch.add_argument("--split", action="append", default=[], metavar="NAME", help="may be repeated; default: all")
    fetch.add_argument("--max-documents", type=positive, metavar="N", help="the first N of each split")
    fetch.add_argument("--force", action="store_true", help="replace what stands at DIR")


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "place", type=Path, metavar="DATASET|CONFIG", help="the directory of a data set, or a TOML file that names it"
    )
    add_set_argument(parser)
    add_print_argument(parser)


def _prepare(args: argparse.Namespace) -> None:
    from hornbook.cli.configuration import load, maybe_print

    for name, key in {**args.short_forms, "on_error": "data.on_error"}.items():
        value = getattr(args, name)
        if value is not None:
            args.overrides.append(f"{key}={json.dumps(value, ensure_ascii=False)}")  # TOML writes them in the same way
    config = load(args)
    if not maybe_print(args, config):
        _prepare_from(config, force=args.force)


def _prepare_from(config: Config, *, force: bool) -> None:
    from hornbook.data.prepare import PrepareProgress, find_prepared, prepare
    from hornbook.errors import DataError
    from hornbook.tokenizer.tokenizer import Tokenizer
    from hornbook.tracking.progress import Progress

    if not config.tokenizer.path.exists():
        raise DataError(
            f"{config.tokenizer.path}: no tokenizer there; train it first: hornbook tokenizer train CONFIG, "
            "or name another in tokenizer.path"
        )
    tokenizer = Tokenizer.load(config.tokenizer.path)
    dataset = None if force else find_prepared(config.data, tokenizer)
    was_there = dataset is not None
    if dataset is None:
        with Progress("prepare", unit="bytes", console=config.tracking.console) as progress:

            def show(at: PrepareProgress) -> None:
                progress.update(
                    at.text_bytes, at.total_bytes, documents=at.documents, tokens=at.tokens, skipped=at.skipped
                )

            dataset = prepare(config.data, tokenizer, force=force, progress=show)
    data_view.show_prepared(dataset, config, was_there=was_there)


def _printed(args: argparse.Namespace) -> bool:
    """Whether --print-config was asked for: a data set's directory has no configuration to print."""
    from hornbook.cli.configuration import maybe_print
    from hornbook.errors import ConfigError

    if args.print_config is None:
        return False
    if args.place.is_dir():
        raise ConfigError(f"{args.place}: a data set, which has no configuration; name a TOML file to print it")
    return maybe_print(args, _config(args))


def _open(args: argparse.Namespace) -> Dataset:
    from hornbook.data.dataset import Dataset

    path = args.place if args.place.is_dir() else _config(args).data.path
    return Dataset.open(path)


def _config(args: argparse.Namespace) -> Config:
    from hornbook.config.load import load_config

    return load_config(args.place, args.overrides).config


def _inspect(args: argparse.Namespace) -> None:
    from hornbook.data.windows import Windows
    from hornbook.errors import DataError

    if not args.place.is_dir() and (args.sample is not None or _config(args).data.mixture):
        data_mixture.inspect(args, _config(args))
        return
    if args.sample is not None:
        raise DataError(
            f"--sample: which window is read when depends on the training; name a TOML file, not {args.place}"
        )
    dataset = _open(args)
    stream = dataset.split(args.split)
    try:
        if args.document is not None:
            data_view.show_document(dataset, stream, args.document)
            return
        is_dataset = args.place.is_dir()
        length = args.length or (256 if is_dataset else _config(args).model.context_length)
        stride = None if is_dataset else _config(args).data.stride
        windows = Windows(stream, context_length=length, stride=stride or length, lookahead=0)
        data_view.show_window(dataset, windows, args.window or 0)
    except IndexError as error:
        raise DataError(str(error)) from None


def _fetch(args: argparse.Namespace) -> None:
    from hornbook.data.fetch import KNOWN, fetch
    from hornbook.errors import DataError
    from hornbook.tracking.progress import Progress

    if args.list:
        data_view.show_known(KNOWN)
        return
    if args.name is None:
        raise DataError("name a data set: one of hornbook data fetch --list, or any id of the Hugging Face hub")
    with Progress("fetch", unit="rows") as progress:
        fetched = fetch(
            args.name,
            args.out or Path("data/raw") / args.name.replace("/", "--"),
            subset=args.subset,
            splits=args.split,
            max_documents=args.max_documents,
            force=args.force,
            progress=lambda split, rows: progress.update(rows, args.max_documents, split=split),
        )
    data_view.show_fetched(fetched)
