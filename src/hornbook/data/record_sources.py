"""Records with a text field: JSON lines, Parquet rows and streamed Hugging Face data sets. One record, one document."""

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.config.data import HubSource, JsonlSource, ParquetSource
from hornbook.data.documents import Document, Gate
from hornbook.data.files import JSONL_SUFFIXES, PARQUET_SUFFIXES, input_files, opened
from hornbook.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_ROWS = 1024
_HUB_SECONDS = 10.0


def jsonl_documents(source: JsonlSource, gate: Gate) -> Iterator[Document]:
    """One document for each JSON object, one object a line; blank lines are passed over."""
    for path in input_files(source.paths, JSONL_SUFFIXES, gate):
        with opened(path, gate) as file:
            found = False
            for number, line in enumerate(file, start=1):
                if line.isspace():
                    continue
                found = True
                if document := _json_document(line, source.text_field, path, number, gate):
                    yield document
            if not found:
                gate.refuse("empty file", f"{path}: the file holds no records; remove it from data.source.paths")


def _json_document(line: bytes, field: str, path: Path, number: int, gate: Gate) -> Document | None:
    where = f"{path}:{number}"
    try:
        # A byte-order mark, which some editors put first, is no part of the JSON.
        record = json.loads(line.rstrip(b"\r\n").decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        gate.refuse("invalid UTF-8", f"{where}: byte {error.start} of the line is not valid UTF-8; convert the file")
        return None
    except (ValueError, RecursionError) as error:
        what = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        gate.refuse("broken JSON", f"{where}: not a JSON object on one line ({what}); mend the line")
        return None
    if not isinstance(record, dict):
        gate.refuse("not an object", f"{where}: {type(record).__name__}, expected a JSON object; mend the line")
        return None
    return _record_document(record, field, where, gate)


def _record_document(record: Mapping[str, object], field: str, where: str, gate: Gate) -> Document | None:
    if field not in record:
        gate.missing_field(field, list(record), where)
        return None
    return gate.value_document(record[field], field, where)


def parquet_documents(source: ParquetSource, gate: Gate) -> Iterator[Document]:
    """One document for each row; one row group is in memory at a time, and of it only the text column."""
    try:
        from pyarrow.lib import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise MissingExtraError("reading Parquet files", package="pyarrow", extra="data") from None
    for path in input_files(source.paths, PARQUET_SUFFIXES, gate):
        try:
            with ParquetFile(path) as file:
                yield from _rows(file, source.text_field, path, gate)
        except (OSError, ArrowException) as error:
            gate.refuse("unreadable file", f"{path}: not a readable Parquet file ({error}); check the file")


def _rows(file: "ParquetFile", field: str, path: Path, gate: Gate) -> Iterator[Document]:
    columns = file.schema_arrow.names
    if field not in columns:
        gate.missing_field(field, columns, str(path))
        return
    row = 0
    for batch in file.iter_batches(batch_size=_ROWS, columns=[field]):
        for value in batch.column(0).to_pylist():
            row += 1
            if document := gate.value_document(value, field, f"{path}:{row}"):
                yield document
    if not row:
        gate.refuse("empty file", f"{path}: the file holds no rows; remove it from data.source.paths")


def hub_rows(source: HubSource, *, skip: int = 0, data_file: str | None = None) -> Iterator[Mapping[str, object]]:
    """The rows of a streamed data set after the first `skip`, or of one file in its repository.

    Raises:
        DataError: if the data set cannot be reached or the stream breaks.
    """
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("a Hugging Face data set", package="datasets", extra="hf") from None
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries end in the error that we explain
    name = source.dataset + (f" ({source.subset})" if source.subset else "")
    row = skip
    try:
        ask_hub(source)
        rows = datasets.load_dataset(
            source.dataset,
            source.subset,
            split=source.split,
            revision=source.revision,
            data_files=data_file,
            streaming=True,
        )
        for record in rows.skip(skip) if skip else rows:
            yield record
            row += 1
    except Exception as error:
        # What `datasets` and the libraries beneath it raise for an unknown name, a private data set, a missing subset,
        # a proxy or a time-out is of no one family. Errors of the consumer do not pass through here.
        raise DataError(_hub_message(name, row, error)) from error


def ask_hub(source: HubSource) -> None:
    """Ask the hub once whether it has the data set: one that nobody can reach `datasets` asks for half a minute.

    Raises what the library raises, of no one family.
    """
    if Path(source.dataset).exists():  # a local folder, which `datasets` reads as well
        return
    import huggingface_hub

    huggingface_hub.HfApi().dataset_info(source.dataset, revision=source.revision, timeout=_HUB_SECONDS)


def _hub_message(name: str, row: int, error: Exception) -> str:
    cause = " ".join(str(error).split())[:300] or type(error).__name__
    if row:
        return f"{name}: the stream broke after row {row} ({cause}); run the same command again to go on from there"
    return (
        f"{name}: cannot be read from the Hugging Face hub ({cause}); check the name, subset and split. "
        "Offline? Use local files: [data.source] kind = text, jsonl or parquet"
    )


def hub_documents(source: HubSource, gate: Gate) -> Iterator[Document]:
    """One document for each row that the gate's report does not count yet: a stopped stream goes on where it was."""
    row = gate.report.records
    for record in hub_rows(source, skip=row):
        row += 1
        if document := _record_document(record, source.text_field, f"{source.dataset}:{row}", gate):
            yield document
