"""What `hornbook data` shows: words and colours for people, JSON lines for programs."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hornbook.cli import data_tuning
from hornbook.cli.token_text import tokens_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from hornbook.cli.token_text import Token
    from hornbook.config.run import Config
    from hornbook.data.dataset import Dataset
    from hornbook.data.fetch import Fetched, Known
    from hornbook.data.index import SplitName
    from hornbook.data.shards import TokenStream
    from hornbook.data.windows import Windows


def counts(dataset: Dataset) -> Mapping[SplitName, Mapping[str, float | int | None]]:
    """Documents, tokens, bytes of text, bytes per token and shards of each split; or what counts in tuning."""
    if dataset.stage != "pretrain":
        return data_tuning.counts(dataset)
    return {
        name: {
            "documents": split.documents,
            "tokens": split.tokens,
            "text_bytes": split.text_bytes,
            "bytes_per_token": round(split.text_bytes / split.tokens, 3) if split.tokens else None,
            "shards": len(split.shards),
        }
        for name, split in dataset.index.splits.items()
    }


def show_prepared(dataset: Dataset, config: Config, *, was_there: bool) -> None:
    """The result of `prepare`: counts, what was skipped, and splits that came out empty."""
    from hornbook.tracking.console import emit, speaks_to_people

    console = config.tracking.console
    if speaks_to_people(console):
        print(f"{dataset.path}: {'prepared already, nothing to do' if was_there else 'prepared'}")
        print_table(counts(dataset))
        for reason, skipped in dataset.index.skipped.items():
            print(f"skipped {skipped.count:,}: {reason}, first {skipped.first}")
        for note, count in dataset.index.notes.items():
            print(f"{note}: {count:,}")
        for name in dataset.empty_splits:
            print(f"the split {name} is empty: {_why_empty(config)}")
    emit(
        "prepare",
        console=console,
        path=dataset.path,
        already=was_there,
        stage=dataset.stage,
        splits=counts(dataset),
        empty_splits=dataset.empty_splits,
        skipped={reason: {"count": s.count, "first": s.first} for reason, s in dataset.index.skipped.items()},
        notes=dict(dataset.index.notes),
    )


def _why_empty(config: Config) -> str:
    if config.data.split == "position":
        return "the text is too short for its fraction"
    return 'too few documents for its fraction; more of them, or data.split = "position", would fill it'


def show_counts(dataset: Dataset, *, verified: bool) -> None:
    """The result of `count`."""
    from hornbook.tracking.console import emit, speaks_to_people

    if speaks_to_people():
        print_table(counts(dataset))
        if verified:
            print("every digest is right")
    for name, numbers in counts(dataset).items():
        emit("count", console="auto", path=dataset.path, split=name, verified=verified, **numbers)
    if dataset.stage != "pretrain":
        left_out = {reason: (skipped.count, skipped.first) for reason, skipped in dataset.index.skipped.items()}
        data_tuning.show_left_out(left_out, dataset.index.notes)


def print_table(splits: Mapping[SplitName, Mapping[str, float | int | None]]) -> None:
    """A line for each split, a column for each number."""
    rows: list[tuple[str, ...]] = [("split", *next(iter(splits.values())))]
    for name, numbers in splits.items():
        rows.append((name, *(f"{value:,}" if value is not None else "-" for value in numbers.values())))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *cells in rows:
        print("  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells, widths[1:], strict=True))]))


def show_window(dataset: Dataset, windows: Windows, number: int, *, which: str = "") -> None:
    """The tokens of one window; `which` says in front why this one."""
    ids = windows[number]
    title = f"{which}window {number} of {len(windows):,}"
    _show_tokens(dataset, windows.stream, ids, windows.start(number), title=title)


def show_document(dataset: Dataset, stream: TokenStream, number: int) -> None:
    """The tokens of one document."""
    ids = stream.document(number)
    start = int(stream.document_starts[number])
    _show_tokens(dataset, stream, ids, start, title=f"document {number} of {stream.n_documents:,}")


def _show_tokens(dataset: Dataset, stream: TokenStream, ids: np.ndarray, start: int, *, title: str) -> None:
    """Tokens from place `start` of the stream on: coloured with their ids, a rule where a document begins."""
    import numpy as np

    from hornbook.tracking.console import emit, speaks_to_people

    tokenizer = dataset.tokenizer()
    first_document = int(np.searchsorted(stream.document_starts, start, side="right")) - 1
    beginnings = set(
        (stream.document_starts[max(first_document, 0) :][: len(ids) + 1].astype(np.int64) - start).tolist()
    )
    shown = list(tokens_of(tokenizer, ids))
    if speaks_to_people():
        _print_tokens(shown, beginnings, first_document)
        print(f"{stream.name}: {title}, tokens {start:,}..{start + len(ids) - 1:,}")
    document = first_document
    for place, token in enumerate(shown):
        document += place in beginnings and place > 0
        emit(
            "token",
            split=stream.split,
            position=start + place,
            document=document,
            id=token.id,
            text=token.data.decode("utf-8", "backslashreplace"),
            special=token.special,
        )


def _print_tokens(shown: list[Token], beginnings: set[int], document: int) -> None:
    """Text beside tokens, with a rule where a document begins or goes on."""
    from rich.console import Console

    from hornbook.cli.token_rows import rows, widths

    console = Console()
    edges = sorted({0, len(shown), *(place for place in beginnings if place < len(shown))})
    for number, (start, end) in enumerate(itertools.pairwise(edges), start=document):
        console.rule(f"document {number}", align="left")
        for row in rows(shown[start:end], widths(console.width)):
            for line in row.lines:
                console.print(line, no_wrap=True, overflow="ignore", crop=False)


def show_known(known: Mapping[str, Known]) -> None:
    """The result of `fetch --list`."""
    from hornbook.tracking.console import emit, speaks_to_people

    for name, place in known.items():
        if speaks_to_people():
            print(f"{name:<25}{place.dataset:<34}{place.about}")
        emit("known", name=name, dataset=place.dataset, subset=place.subset, splits=place.splits, about=place.about)


def show_fetched(fetched: Fetched) -> None:
    """The result of `fetch`, and how a configuration names it."""
    from hornbook.tracking.console import emit, speaks_to_people

    files = [str(fetched.directory / f"{split}.jsonl.gz") for split in fetched.rows]
    if speaks_to_people():
        for file, rows in zip(files, fetched.rows.values(), strict=True):
            print(f"{file}: {rows:,} rows")
        print(_source_of(fetched, files))
    emit(
        "fetch",
        path=fetched.directory,
        files=files,
        rows=fetched.rows,
        text_field=fetched.text_field,
        stage=fetched.stage,
    )


def _source_of(fetched: Fetched, files: list[str]) -> str:
    """How a configuration names what was fetched."""
    if fetched.stage == "pretrain":
        field = f'text_field = "{fetched.text_field}"' if fetched.text_field else "text_field = ..."
        return f'\n[data.source]\nkind = "jsonl"\npaths = ["{files[0]}"]\n{field}'
    by_split = dict(zip(fetched.rows, files, strict=True))
    tables = {"source": files[0], **({"test": by_split["test"]} if "test" in by_split and len(files) > 1 else {})}
    said = [f'\n[data.{name}]\nkind = "jsonl"\npaths = ["{file}"]' for name, file in tables.items()]
    return "\n".join([f'\n[data]\nstage = "{fetched.stage}"', *said])
