"""Where documents come from: one function for every kind of `[data.source]`."""

from collections.abc import Iterator

from hornbook.config.data import (
    EmbeddedSource,
    HubSource,
    JsonlSource,
    OnError,
    ParquetSource,
    Source,
    SyntheticSource,
    TasksSource,
    TextSource,
    TokensSource,
)
from hornbook.data.documents import Block, Document, Gate, SourceReport
from hornbook.data.embedded import embedded_blocks
from hornbook.data.files import JSONL_SUFFIXES, PARQUET_SUFFIXES, TEXT_SUFFIXES, files_below
from hornbook.data.parquet_source import parquet_blocks
from hornbook.data.record_sources import hub_blocks, jsonl_blocks
from hornbook.data.synthetic import synthetic_blocks
from hornbook.data.tasks import task_blocks
from hornbook.data.text_source import text_blocks
from hornbook.errors import DataError

__all__ = ["Document", "SourceReport", "input_state", "open_blocks", "open_source"]


def open_source(source: Source, *, on_error: OnError, report: SourceReport) -> Iterator[Document]:
    """The documents of a source, in an order that is always the same.

    `report` counts what has been read, which is up to a block more than what has been given.

    Raises:
        DataError, MissingExtraError: as `open_blocks`.
    """
    for block in open_blocks(source, on_error=on_error, report=report):
        yield from block.documents()


def open_blocks(
    source: Source, *, on_error: OnError, report: SourceReport, max_documents: int | None = None
) -> Iterator[Block]:
    """The documents of a source in blocks, until the report counts `max_documents`.

    `report` is kept up to date while the blocks are read. It is new and empty, except that a hub stream goes on after
    the rows that it counts already.

    Raises:
        DataError: at the first bad input if `on_error` is stop; if the source is one of tokens, which has no text.
        MissingExtraError: if the kind needs a package that is not installed.
    """
    gate = Gate(on_error, report, max_documents)
    blocks = _blocks(source, gate)
    while not gate.is_full and (block := next(blocks, None)) is not None:
        if len(block):
            yield block


def _blocks(source: Source, gate: Gate) -> Iterator[Block]:
    match source:
        case TextSource():
            return text_blocks(source, gate)
        case JsonlSource():
            return jsonl_blocks(source, gate)
        case ParquetSource():
            return parquet_blocks(source, gate)
        case HubSource():
            return hub_blocks(source, gate)
        case EmbeddedSource():
            return embedded_blocks(gate)
        case SyntheticSource():
            return synthetic_blocks(source, gate)
        case TasksSource():
            return task_blocks(source, gate)
        case TokensSource():
            raise DataError('a source of kind "tokens" holds ids, not text; use the files that they were made from')


def input_state(source: Source) -> list[tuple[str, int, int]]:
    """Path, bytes and modification time (ns) of each local input file: what tells that a source has changed."""
    match source:
        case TextSource():
            files = files_below(source.paths, TEXT_SUFFIXES)
        case JsonlSource():
            files = files_below(source.paths, JSONL_SUFFIXES)
        case ParquetSource():
            files = files_below(source.paths, PARQUET_SUFFIXES)
        case TokensSource():
            files = files_below(source.paths, ())
        case _:
            files = []
    return [(str(path), (state := path.stat()).st_size, state.st_mtime_ns) for path in files]
