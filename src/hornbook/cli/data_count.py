"""`hornbook data count`: what a prepared data set holds, or what sources would give, without writing anything."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import data_tuning, data_view
from hornbook.cli.configuration import add_print_argument, add_set_argument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hornbook.config.data import DataConfig, Source
    from hornbook.config.run import Config
    from hornbook.data.count import ByFile, Counts
    from hornbook.data.documents import SourceReport
    from hornbook.tokenizer.tokenizer import Tokenizer

_NO_FOLDER_OF_TEXT = ("index.json", "journal.json", "vocab.json", "tokenizer.json", "config.toml")
"""What a data set, an unfinished one, a tokenizer or a run holds."""
FILES_SHOWN = 20
"""Rows of files on a terminal; the rest is one row."""
TOKENS_PER_PARAMETER = 20
"""About where more parameters and more tokens help equally. Source: Hoffmann et al. 2022, arXiv 2203.15556, table 3."""


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `count`."""
    text = (
        "documents, bytes and tokens of a prepared data set; of sources that are not prepared yet, by file and split, "
        "words as well; of conversations and pairs of answers, how many, their trained tokens and lengths"
    )
    count = actions.add_parser("count", help="documents, bytes, words and tokens, prepared or not", description=text)
    count.add_argument(
        "places",
        nargs="+",
        type=Path,
        metavar="DATASET|CONFIG|FILE",
        help="the directory of a data set, a TOML file that names one or its sources, or files and folders of text",
    )
    add_set_argument(count)
    add_print_argument(count)
    count.add_argument("--verify", action="store_true", help="of a data set, compare the digest of every file as well")
    count.add_argument("--source", action="store_true", help="of a CONFIG, count its sources though they are prepared")
    count.add_argument(
        "--tokenizer", type=Path, metavar="TOKENIZER", help="for the tokens of files; default: that of CONFIG"
    )
    count.add_argument("--text-field", metavar="NAME", help="of JSON lines and Parquet files; default: text")
    add_stage(count)


def add_stage(parser: argparse.ArgumentParser) -> None:
    """Declare --stage."""
    parser.add_argument(
        "--stage",
        choices=("pretrain", "sft", "dpo"),
        help="of a CONFIG: text, conversations, or pairs of answers (data.stage)",
    )


def of_stage(stage: str | None) -> list[str]:
    """What --stage overrides; pairs go with no other objective."""
    if stage is None:
        return []
    return [f'data.stage="{stage}"', *(['objective.kind="preference"'] if stage == "dpo" else [])]


def run(args: argparse.Namespace) -> None:
    """Carry it out."""
    from hornbook.cli.configuration import maybe_print
    from hornbook.data.index import INDEX_FILE
    from hornbook.errors import ConfigError

    place: Path = args.places[0]
    if len(args.places) == 1 and place.suffix == ".toml" and not place.is_dir():
        config = _config(place, [*args.overrides, *of_stage(args.stage)])
        if maybe_print(args, config):
            return
        if (config.data.path / INDEX_FILE).exists() and not args.source and args.tokenizer is None:
            _count_prepared(config.data.path, verify=args.verify)
        else:
            _count_config(args, config)
        return
    if args.print_config is not None or args.overrides or args.stage:
        raise ConfigError(f"{place}: no configuration to set or print; name a TOML file")
    if len(args.places) == 1 and place.is_dir() and _is_data_set(place):
        _count_prepared(place, verify=args.verify)
    else:
        _count_files(args)


def _is_data_set(directory: Path) -> bool:
    """Whether it is a data set, or was to be one: anything but a folder of text is refused in the words for that."""
    if any((directory / name).exists() for name in _NO_FOLDER_OF_TEXT):
        return True
    return not _sources([directory], "text")


def _config(path: Path, overrides: Sequence[str]) -> Config:
    from hornbook.config.load import load_config

    return load_config(path, overrides).config


def _count_prepared(path: Path, *, verify: bool) -> None:
    from hornbook.data.dataset import Dataset

    data_view.show_counts(Dataset.open(path, verify=verify), verified=verify)


def _count_config(args: argparse.Namespace, config: Config) -> None:
    _refuse(args, "verify", "text_field", why=f"{config.data.path} is not prepared yet; its sources are counted")
    path = args.tokenizer or (config.tokenizer.path if config.tokenizer.path.exists() else None)
    if config.data.stage != "pretrain":
        data_tuning.count_sources(config, path, str(args.places[0]))
        return
    _count([config.data], path, str(args.places[0]))


def _count_files(args: argparse.Namespace) -> None:
    from hornbook.config.data import DataConfig
    from hornbook.errors import DataError

    _refuse(args, "verify", "source", why="files are counted")
    for path in args.places:
        if not path.exists():
            raise DataError(f"{path}: no such data set, configuration, file or folder")
    sources = _sources(args.places, args.text_field or "text")
    if not sources:
        raise DataError(f"{', '.join(map(str, args.places))}: no text, JSON lines or Parquet files there")
    configs = [DataConfig(source=source, valid_fraction=0.0, end_of_text=False) for source in sources]
    _count(configs, args.tokenizer, ", ".join(map(str, args.places)))


def _refuse(args: argparse.Namespace, *options: str, why: str) -> None:
    from hornbook.errors import DataError

    for option in options:
        if getattr(args, option):
            raise DataError(f"--{option.replace('_', '-')} means nothing here: {why}")


def _sources(places: Sequence[Path], text_field: str) -> list[Source]:
    """Files by their kind: JSON lines, Parquet, and text for all others that were named."""
    from hornbook.config.data import JsonlSource, ParquetSource, TextSource
    from hornbook.data.files import JSONL_SUFFIXES, PARQUET_SUFFIXES, TEXT_SUFFIXES, files_below

    def of(suffixes: tuple[str, ...]) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(path for path in files_below(places, suffixes) if _ends_in(path, suffixes)))

    jsonl, parquet = of(JSONL_SUFFIXES), of(PARQUET_SUFFIXES)
    text = tuple(path for path in dict.fromkeys(files_below(places, TEXT_SUFFIXES)) if path not in {*jsonl, *parquet})
    sources: list[Source] = []
    if text:
        sources.append(TextSource(paths=text))
    if jsonl:
        sources.append(JsonlSource(paths=jsonl, text_field=text_field))
    if parquet:
        sources.append(ParquetSource(paths=parquet, text_field=text_field))
    return sources


def _ends_in(path: Path, suffixes: tuple[str, ...]) -> bool:
    from hornbook.data.files import COMPRESSED_SUFFIXES

    plain = path.with_suffix("") if path.suffix in COMPRESSED_SUFFIXES else path
    return plain.suffix.lower() in suffixes


def _count(configs: Sequence[DataConfig], tokenizer_path: Path | None, what: str) -> None:
    from hornbook.data.count import count_source
    from hornbook.data.documents import SourceReport
    from hornbook.tokenizer.tokenizer import Tokenizer
    from hornbook.tracking.progress import Progress

    tokenizer: Tokenizer | None = Tokenizer.load(tokenizer_path) if tokenizer_path is not None else None
    found: ByFile = {}
    report, started = SourceReport(), time.monotonic()
    with Progress("count", unit="bytes") as progress:

        def show(at: SourceReport, so_far: ByFile) -> None:
            done = report.text_bytes + at.text_bytes
            tokens = {"tokens": sum(counts.tokens or 0 for counts in so_far.values())} if tokenizer else {}
            rate = done / max(time.monotonic() - started, 1e-9)
            progress.update(done, documents=report.documents + at.documents, **tokens, bytes_per_second=round(rate))

        for config in configs:
            found |= count_source(config, tokenizer, report, progress=show)
    result = Result(found, report, time.monotonic() - started, tokenizer_path, what, configs[0].max_tokens)
    show_result(result)


@dataclass(frozen=True)
class Result:
    """What was counted."""

    by_file: ByFile
    report: SourceReport
    seconds: float
    tokenizer: Path | None
    what: str
    max_tokens: int | None


def show_result(result: Result) -> None:
    """A line for each file and split, and one for each split."""
    from hornbook.tracking.console import emit, speaks_to_people

    splits = _by_split(result.by_file)
    if speaks_to_people():
        _print_result(result, splits)
    for (file, split), counts in result.by_file.items():
        emit("count", console="auto", file=file, split=split, **_numbers(counts))
    for name, counts in splits.items():
        emit("count", console="auto", source=result.what, split=name, tokenizer=result.tokenizer, **_numbers(counts))
    for reason, skipped in result.report.skipped.items():
        emit("skipped", reason=reason, count=skipped, first=result.report.examples[reason])


def _by_split(by_file: ByFile) -> dict[str, Counts]:
    splits = dict.fromkeys(split for _, split in by_file)
    return {split: _sum(counts for (_, own), counts in by_file.items() if own == split) for split in splits}


def _numbers(counts: Counts) -> dict[str, int | float | None]:
    return {
        "documents": counts.documents,
        "text_bytes": counts.text_bytes,
        "words": counts.words,
        "tokens": counts.tokens,
        "bytes_per_token": round(counts.text_bytes / counts.tokens, 3) if counts.tokens else None,
        "tokens_per_word": round(counts.tokens / counts.words, 3) if counts.tokens and counts.words else None,
    }


def _print_result(result: Result, splits: Mapping[str, Counts]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from hornbook.tracking.figures import count as figure

    largest = sorted(result.by_file.items(), key=lambda item: -item[1].text_bytes)
    table = Table()
    table.add_column("file", overflow="fold")
    table.add_column("split")
    for column in ("documents", "bytes", "words", "tokens", "bytes/token", "tokens/word"):
        table.add_column(column, justify="right")
    for (file, split), counts in largest[:FILES_SHOWN]:
        table.add_row(Text(file), split, *_cells(counts))
    if rest := largest[FILES_SHOWN:]:
        table.add_row(f"{len(rest):,} smaller ones", "", *_cells(_sum(counts for _, counts in rest)))
    table.add_section()
    for name, counts in splits.items():
        table.add_row("all", name, *_cells(counts), style="bold")
    console = Console()
    console.print(table)
    n_bytes = sum(counts.text_bytes for counts in splits.values())
    said = [f"{figure(n_bytes)}B in {result.seconds:.1f} s, {figure(n_bytes / max(result.seconds, 1e-9))}B a second"]
    if result.tokenizer is None:
        said.append("no tokenizer, so no tokens: --tokenizer names one")
    elif "train" in splits and splits["train"].tokens:
        n_parameters = splits["train"].tokens / TOKENS_PER_PARAMETER
        said.append(
            f"tokens by {result.tokenizer}; at {TOKENS_PER_PARAMETER} tokens a parameter, one pass over them is enough "
            f"for a model of about {figure(n_parameters)} parameters"
        )
    if result.max_tokens is not None:
        said.append(f"data.max_tokens = {result.max_tokens:,} ends preparing, not counting")
    for reason, skipped in result.report.skipped.items():
        said.append(f"skipped {skipped:,}: {reason}, first {result.report.examples[reason]}")
    for line in said:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _sum(all_counts: Iterable[Counts]) -> Counts:
    from hornbook.data.count import Counts

    total = Counts()
    for counts in all_counts:
        total.add(counts.documents, counts.text_bytes, counts.words, counts.tokens)
    return total


def _cells(counts: Counts) -> list[str]:
    return [
        "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
        for value in _numbers(counts).values()
    ]
