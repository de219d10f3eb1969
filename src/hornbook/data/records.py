"""Records of a source, whole: what conversations and pairs of answers are made of.

jsonl     an object a line, .gz and .zst included, at path:line; a .json file may be one array of objects instead
parquet   a row, at path:row
hf        a row of a streamed data set, at name:row
tasks     a row that is made here, at tasks:row
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import orjson

from hornbook.config.data import HubSource, JsonlSource, ParquetSource, Source, TasksSource
from hornbook.data.documents import Gate
from hornbook.data.files import JSONL_SUFFIXES, after_last_line, cut_blocks, input_files, opened
from hornbook.data.parquet_source import parquet_rows
from hornbook.data.record_sources import hub_rows, json_record
from hornbook.data.tasks import task_records
from hornbook.errors import DataError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Record(NamedTuple):
    """One object and the place it comes from, `path:line`."""

    where: str
    fields: Mapping[str, object]


def open_records(source: Source, gate: Gate, *, stage: Literal["sft", "dpo"]) -> Iterator[Record]:
    """The records of a source in an order that is always the same, until the gate is full.

    The gate's report counts each as a document.

    Raises:
        DataError: at the first bad input if that is to stop everything; if the source holds no records.
        MissingExtraError: if the kind needs a package that is not installed.
    """
    records = _records(source, gate, stage)
    while not gate.is_full and (record := next(records, None)) is not None:
        gate.report.documents += 1
        yield record


def _records(source: Source, gate: Gate, stage: Literal["sft", "dpo"]) -> Iterator[Record]:
    match source:
        case JsonlSource():
            return _of_json_files(source, gate)
        case ParquetSource():
            return (Record(where, row) for where, row in parquet_rows(source, gate))
        case HubSource():
            return _numbered(source.dataset, hub_rows(source))
        case TasksSource():
            return _numbered("tasks", task_records(source, stage))
        case _:
            raise DataError(
                f'data.source.kind = "{source.kind}" gives texts, but data.stage = "{stage}" needs records with '
                'questions and answers; use kind = "jsonl", "parquet", "hf" or "tasks"'
            )


def _numbered(name: str, rows: Iterable[Mapping[str, object]]) -> Iterator[Record]:
    return (Record(f"{name}:{number}", row) for number, row in enumerate(rows, start=1))


def _of_json_files(source: JsonlSource, gate: Gate) -> Iterator[Record]:
    for path in input_files(source.paths, JSONL_SUFFIXES, gate):
        before = gate.report.records
        with opened(path, gate) as blocks:
            yield from _of_json_file(path, blocks, gate)
        if gate.report.records == before:
            gate.refuse("empty file", f"{path}: the file holds no records; remove it from data.source.paths")


def _of_json_file(path: Path, blocks: Iterator[bytes], gate: Gate) -> Iterator[Record]:
    head = next(blocks, b"")
    data = chain([head], blocks)
    if ".json" in path.suffixes and head.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(b"["):
        return _of_array(path, b"".join(data), gate)
    return _of_lines(path, data, gate)


def _of_lines(path: Path, blocks: Iterable[bytes], gate: Gate) -> Iterator[Record]:
    number = 0
    for data in cut_blocks(blocks, after_last_line):
        for line in BytesIO(data):
            number += 1
            try:
                record = orjson.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                record = json_record(line, path, number, gate)
            if record is not None:
                yield Record(f"{path}:{number}", record)


def _of_array(path: Path, data: bytes, gate: Gate) -> Iterator[Record]:
    """Of a file that is one array, which is in memory as a whole; items are numbered from 1."""
    try:
        items = _array(data)
    except UnicodeDecodeError as error:
        gate.refuse("invalid UTF-8", f"{path}: byte {error.start} is not valid UTF-8; convert the file")
        return
    except json.JSONDecodeError as error:
        what = f"{error.msg} at column {error.colno}"
        gate.refuse("broken JSON", f"{path}:{error.lineno}: not a JSON array ({what}); mend the file")
        return
    except (ValueError, RecursionError) as error:
        gate.refuse("broken JSON", f"{path}: not a JSON array ({error}); mend the file")
        return
    for number, item in enumerate(items, start=1):
        where = f"{path}: item {number}"
        if isinstance(item, dict):
            yield Record(where, item)
        else:
            gate.refuse("not an object", f"{where}: {type(item).__name__}, expected a JSON object; mend the item")


def _array(data: bytes) -> list[object]:
    try:
        items: list[object] = orjson.loads(data)
    except ValueError:  # a fast parser, which takes neither a byte-order mark nor half a character
        items = json.loads(data.decode("utf-8-sig"))
    return items
