"""Records with a text field: JSON lines and streamed Hugging Face data sets. One record, one document."""

import json
import logging
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path

import orjson

from hornbook.config.data import HubSource, JsonlSource
from hornbook.data.documents import Block, Gate
from hornbook.data.files import JSONL_SUFFIXES, after_last_line, cut_blocks, input_files, opened
from hornbook.errors import DataError, MissingExtraError

_HUB_SECONDS = 10.0


def jsonl_blocks(source: JsonlSource, gate: Gate) -> Iterator[Block]:
    """One document for each JSON object, one object a line; blank lines are passed over."""
    for path in input_files(source.paths, JSONL_SUFFIXES, gate):
        with opened(path, gate) as blocks:
            found, first = False, 1
            for data in cut_blocks(blocks, after_last_line):
                found = found or not data.isspace()
                lines = BytesIO(data).readlines()
                for part in gate.parts(len(lines)):
                    yield _json_block(lines[part], source.text_field, path, first + part.start, gate)
                first += len(lines)
            if not found:
                gate.refuse("empty file", f"{path}: the file holds no records; remove it from data.source.paths")


def _json_block(lines: list[bytes], field: str, path: Path, first: int, gate: Gate) -> Block:
    """The texts of some lines; what a fast parser does not take for an object with such a field is read with care."""
    texts: list[bytes] = []
    numbers: list[int] = []
    for number, line in enumerate(lines, first):
        try:
            text = orjson.loads(line)[field].encode()
        except (ValueError, LookupError, TypeError, AttributeError):
            text = _json_text(line, field, path, number, gate)
            if text is None:
                continue
        texts.append(text)
        numbers.append(number)
    return gate.block(texts, str(path), numbers)


def _json_text(line: bytes, field: str, path: Path, number: int, gate: Gate) -> bytes | None:
    """The text of one line; None if that is blank, or bad and refused."""
    record = json_record(line, path, number, gate)
    if record is None:
        return None
    if field not in record:
        gate.missing_field(field, list(record), f"{path}:{number}")
        return None
    return gate.value_text(record[field], field, f"{path}:{number}")


def json_record(line: bytes, path: Path, number: int, gate: Gate) -> dict[str, object] | None:
    """The object on one line, read with care; None if that is blank, or bad and refused."""
    if line.isspace():
        return None
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
    return record


def hub_blocks(source: HubSource, gate: Gate) -> Iterator[Block]:
    """A block for each row that the gate's report does not count yet: a stopped stream goes on where it was."""
    row = gate.report.records
    for record in hub_rows(source, skip=row):
        row += 1
        if source.text_field in record:
            yield gate.value_block(record[source.text_field], source.text_field, source.dataset, row)
        else:
            gate.missing_field(source.text_field, list(record), f"{source.dataset}:{row}")


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
