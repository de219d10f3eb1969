"""`hornbook data ACTION`: documents to shards, what is in them, and data sets of the hub by name.

On a terminal the answers are words and colours; whenever stdout is not a terminal it carries JSON lines.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import data_count, data_inspect, data_view
from hornbook.cli.configuration import add_config_arguments, positive

if TYPE_CHECKING:
    from hornbook.config.run import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook data` takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_prepare(actions)
    data_count.add_action(actions)
    data_inspect.add_action(actions)
    _add_fetch(actions)


def run(args: argparse.Namespace) -> int:
    """Carry out the action."""
    match args.action:
        case "prepare":
            _prepare(args)
        case "count":
            data_count.run(args)
        case "inspect":
            data_inspect.run(args)
        case "fetch":
            _fetch(args)
    return 0


def _add_prepare(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = (
        "turn [data.source] into token shards at data.path: text, or conversations and pairs of answers to tune with; "
        "after an interruption the same command goes on"
    )
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
    data_count.add_stage(prepare)
    prepare.add_argument("--force", action="store_true", help="replace another data set that stands at data.path")
    prepare.set_defaults(short_forms={option.strip("-").replace("-", "_"): key for option, key, *_ in short_forms})


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


def _prepare(args: argparse.Namespace) -> None:
    from hornbook.cli.configuration import load, maybe_print

    for name, key in {**args.short_forms, "on_error": "data.on_error"}.items():
        value = getattr(args, name)
        if value is not None:
            args.overrides.append(f"{key}={json.dumps(value, ensure_ascii=False)}")  # TOML writes them in the same way
    args.overrides += data_count.of_stage(args.stage)
    config = load(args)
    if not maybe_print(args, config):
        _prepare_from(config, force=args.force)


def _prepare_from(config: Config, *, force: bool) -> None:
    from hornbook.data.prepare import PrepareProgress, find_prepared, prepare
    from hornbook.data.tuning import find_tuning, prepare_tuning
    from hornbook.errors import DataError
    from hornbook.tokenizer.tokenizer import Tokenizer
    from hornbook.tracking.progress import Progress

    if not config.tokenizer.path.exists():
        raise DataError(
            f"{config.tokenizer.path}: no tokenizer there; train it first: hornbook tokenizer train CONFIG, "
            "or name another in tokenizer.path"
        )
    tokenizer = Tokenizer.load(config.tokenizer.path)
    is_text = config.data.stage == "pretrain"
    found = None
    if not force:
        found = find_prepared(config.data, tokenizer) if is_text else find_tuning(config, tokenizer)
    if found is not None:
        data_view.show_prepared(found, config, was_there=True)
        return
    with Progress("prepare", unit="bytes", console=config.tracking.console) as progress:

        def show(at: PrepareProgress) -> None:
            progress.update(at.text_bytes, at.total_bytes, documents=at.documents, tokens=at.tokens, skipped=at.skipped)

        if is_text:
            made = prepare(config.data, tokenizer, force=force, progress=show)
        else:
            made = prepare_tuning(config, tokenizer, force=force, progress=show)
    data_view.show_prepared(made, config, was_there=False)


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
