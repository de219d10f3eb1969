"""Data sets of the Hugging Face hub as local JSON lines, by short names or any id: one row, one line, all fields kept.

Rows are streamed, so `max_documents` costs no more than it takes, and a directory appears only when it is complete.
"""

import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from hornbook.config.data import HubSource, Stage
from hornbook.config.tokenizer import END_OF_TEXT
from hornbook.data.record_sources import hub_rows
from hornbook.errors import DataError
from hornbook.storage.atomic import commit_directory

Row = Mapping[str, object]
ProgressCallback = Callable[[str, int], None]
"""Called with a split and the number of its rows so far."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """Where a data set with a short name lies."""

    dataset: str
    subset: str | None = None
    splits: tuple[str, ...] = ("train",)
    files: Mapping[str, str] | None = None
    """Split -> a text file in the repository, in which end-of-text markers separate the documents."""
    text_field: str | None = "text"
    """None if a row is not one text."""
    heading: str | None = None
    """A regular expression: rows are lines, and one that is a heading begins a document."""
    stage: Stage = "pretrain"
    """What it is for."""
    about: str


_ARTICLE = r" = [^=].* = \n"
"""WikiText's title of an article; its sections have more equals signs."""

KNOWN: dict[str, Known] = {
    "TinyStories": Known(
        dataset="roneneldan/TinyStories", splits=("train", "validation"), about="2.1 million short stories, 1.9 GB"
    ),
    "TinyStoriesV2-GPT4": Known(
        dataset="roneneldan/TinyStories",
        splits=("train", "validation"),
        files={"train": "TinyStoriesV2-GPT4-train.txt", "validation": "TinyStoriesV2-GPT4-valid.txt"},
        about="the stories that GPT-4 wrote, 2.2 GB",
    ),
    "wikitext-2-raw": Known(
        dataset="Salesforce/wikitext",
        subset="wikitext-2-raw-v1",
        splits=("train", "validation", "test"),
        heading=_ARTICLE,
        about="good Wikipedia articles, 13 MB",
    ),
    "wikitext-103-raw": Known(
        dataset="Salesforce/wikitext",
        subset="wikitext-103-raw-v1",
        splits=("train", "validation", "test"),
        heading=_ARTICLE,
        about="the same, fifty times as much, 540 MB",
    ),
    "SlimPajama": Known(
        dataset="cerebras/SlimPajama-627B",
        splits=("train", "validation", "test"),
        about="web, books, code, papers, 627 billion tokens: use --max-documents",
    ),
    "SlimPajama-6B": Known(
        dataset="DKYoon/SlimPajama-6B",
        splits=("train", "validation", "test"),
        about="a hundredth of SlimPajama, 24 GB",
    ),
    "alpaca-cleaned": Known(
        dataset="yahma/alpaca-cleaned",
        text_field=None,
        stage="sft",
        about="52 thousand instructions with answers, 40 MB",
    ),
    "ultrafeedback-binarized": Known(
        dataset="trl-lib/ultrafeedback_binarized",
        splits=("train", "test"),
        text_field=None,
        stage="dpo",
        about="62 thousand pairs of answers, which GPT-4 judged",
    ),
    "hh-rlhf-helpful": Known(
        dataset="trl-lib/hh-rlhf-helpful-base",
        splits=("train", "test"),
        text_field=None,
        stage="dpo",
        about="44 thousand pairs of answers, which people judged (Anthropic/hh-rlhf)",
    ),
}
"""Short name -> place. Any other name is taken for a hub id."""


@dataclass(frozen=True)
class Fetched:
    """What was written."""

    directory: Path
    rows: Mapping[str, int]
    """Split -> rows."""
    text_field: str | None
    """The field that holds a row's text, where that is known."""
    stage: Stage = "pretrain"
    """What it is for, where that is known."""


def fetch(
    name: str,
    directory: Path,
    *,
    subset: str | None = None,
    splits: Iterable[str] = (),
    max_documents: int | None = None,
    force: bool = False,
    progress: ProgressCallback | None = None,
) -> Fetched:
    """Write DIRECTORY/SPLIT.jsonl.gz for each split, by default all that a known data set has, or else `train`.

    Raises:
        DataError: if the hub cannot be reached, or a row holds what JSON cannot.
        StorageError: if `directory` exists and `force` is false, or the disk refuses.
    """
    known = KNOWN.get(name) or Known(dataset=name, text_field=None, about="")
    chosen = tuple(splits) or known.splits
    counts = {}
    with commit_directory(directory, replace=force) as temporary:
        for split in chosen:
            rows = islice(_rows(known, split, subset or known.subset), max_documents)
            counts[split] = _write_rows(temporary / f"{split}.jsonl.gz", rows, split, progress)
    return Fetched(directory, counts, known.text_field, known.stage)


def _rows(known: Known, split: str, subset: str | None) -> Iterator[Row]:
    if known.files is None:
        rows = hub_rows(HubSource(dataset=known.dataset, subset=subset, split=split))
        return rows if known.heading is None else under_headings(rows, known.heading)
    if split not in known.files:
        raise DataError(f"{known.dataset}: no split {split!r}, only {', '.join(known.files)}")
    # A repository's text file is one split, always called train, of one row a line.
    return between_markers(hub_rows(HubSource(dataset=known.dataset), data_file=known.files[split]))


def between_markers(rows: Iterable[Row], marker: str = END_OF_TEXT) -> Iterator[Row]:
    """Rows of lines to rows of documents, which end at a line that is the marker."""
    lines: list[str] = []
    for row in rows:
        line = str(row["text"])
        if line.strip() != marker:
            lines.append(line)
            continue
        yield from _document(lines)
        lines = []
    yield from _document(lines)


def under_headings(rows: Iterable[Row], heading: str) -> Iterator[Row]:
    """Rows of lines, an empty one without its line break, to rows of documents, each from a heading to the next."""
    lines: list[str] = []
    for row in rows:
        line = str(row["text"]) or "\n"
        if re.fullmatch(heading, line):
            yield from _document([line.removesuffix("\n") for line in lines])
            lines = []
        lines.append(line)
    yield from _document([line.removesuffix("\n") for line in lines])


def _document(lines: list[str]) -> Iterator[Row]:
    if text := "\n".join(lines).strip("\n"):
        yield {"text": text}


def _write_rows(path: Path, rows: Iterable[Row], split: str, progress: ProgressCallback | None) -> int:
    count = 0
    # Without a name and a time inside, equal rows make equal files.
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as file:
        for row in rows:
            try:
                line = json.dumps(row, ensure_ascii=False)
            except TypeError as error:
                raise DataError(
                    f"{split}, row {count + 1}: not text ({error}); this data set cannot be fetched"
                ) from None
            file.write(line.encode("utf-8", "backslashreplace") + b"\n")  # half a character becomes JSON's \ud800
            count += 1
            if progress is not None:
                progress(split, count)
    return count
