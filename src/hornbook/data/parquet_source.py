"""Rows of Parquet files, of which only the text column is read. One row, one document."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from hornbook.config.data import ParquetSource
from hornbook.data import files
from hornbook.data.documents import Block, Gate, utf8_error
from hornbook.data.files import PARQUET_SUFFIXES, input_files
from hornbook.errors import MissingExtraError

if TYPE_CHECKING:
    from pyarrow import Array, Scalar
    from pyarrow.parquet import ParquetFile

_ROWS = 1024
_Part = TypeVar("_Part")
_OFFSET_DTYPES: dict[str, np.dtype[np.signedinteger]] = {"string": np.dtype("<i4"), "large_string": np.dtype("<i8")}
"""Arrow's names of its text columns, and of what kind their offsets are."""


def parquet_blocks(source: ParquetSource, gate: Gate) -> Iterator[Block]:
    """One document for each row; one row group is in memory at a time."""
    return _of_files(source, gate, lambda file, path: _file_blocks(file, source.text_field, path, gate))


def parquet_rows(source: ParquetSource, gate: Gate) -> Iterator[tuple[str, dict[str, object]]]:
    """Every row whole, with `path:row`."""
    return _of_files(source, gate, lambda file, path: _file_rows(file, path, gate))


def _of_files(
    source: ParquetSource, gate: Gate, parts: Callable[["ParquetFile", Path], Iterator[_Part]]
) -> Iterator[_Part]:
    try:
        from pyarrow.lib import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise MissingExtraError("reading Parquet files", package="pyarrow", extra="data") from None
    for path in input_files(source.paths, PARQUET_SUFFIXES, gate):
        try:
            with ParquetFile(path) as file:
                yield from parts(file, path)
        except (OSError, ArrowException) as error:
            gate.refuse("unreadable file", f"{path}: not a readable Parquet file ({error}); check the file")


def _file_rows(file: "ParquetFile", path: Path, gate: Gate) -> Iterator[tuple[str, dict[str, object]]]:
    row = 0
    for batch in file.iter_batches(batch_size=_ROWS):
        for number in range(len(batch)):
            row += 1
            try:
                record = batch.slice(number, 1).to_pylist()[0]
            except UnicodeDecodeError as error:  # Parquet itself does not look at what is in a text
                gate.refuse("invalid UTF-8", f"{path}:{row}: a text that is not valid UTF-8 ({error}); mend it")
                continue
            yield f"{path}:{row}", record
    if not row:
        gate.refuse("empty file", f"{path}: the file holds no rows; remove it from data.source.paths")


def _file_blocks(file: "ParquetFile", field: str, path: Path, gate: Gate) -> Iterator[Block]:
    columns = file.schema_arrow.names
    if field not in columns:
        gate.missing_field(field, columns, str(path))
        return
    row = 1
    for batch in file.iter_batches(batch_size=_ROWS, columns=[field]):
        for column in _of_block_size(batch.column(0)):
            for part in gate.parts(len(column)):
                yield _column_block(column[part], field, path, row + part.start, gate)
            row += len(column)
    if row == 1:
        gate.refuse("empty file", f"{path}: the file holds no rows; remove it from data.source.paths")


def _of_block_size(column: "Array") -> Iterator["Array"]:
    """The rows in parts of about `files.BLOCK_BYTES`."""
    rows = max(1, len(column) * files.BLOCK_BYTES // max(1, column.nbytes))
    return (column[first : first + rows] for first in range(0, len(column), rows))


def _column_block(column: "Array", field: str, path: Path, first: int, gate: Gate) -> Block:
    """The texts of some rows, of which the first is row `first` of the file."""
    texts = _plain_texts(column)
    if texts is not None:
        return gate.block(texts, str(path), range(first, first + len(texts)))
    texts, numbers = [], []
    for number, value in enumerate(column, first):
        if (text := _value_text(value, field, f"{path}:{number}", gate)) is not None:
            texts.append(text)
            numbers.append(number)
    return gate.block(texts, str(path), numbers)


def _plain_texts(column: "Array") -> list[bytes] | None:
    """The texts of a column that holds nothing but valid text, taken from its memory; None for any other column.

    That is one row of bytes, all texts without a gap, and a row of offsets into it: text i is from offset i to offset
    i + 1.
    """
    if str(column.type) not in _OFFSET_DTYPES or column.null_count:
        return None
    _, offsets, data = column.buffers()
    every = np.frombuffer(offsets, dtype=_OFFSET_DTYPES[str(column.type)])
    mine = every[column.offset : column.offset + len(column) + 1]
    start, end = int(mine[0]), int(mine[-1])
    joined = data.slice(start, end - start).to_pybytes() if end > start else b""
    places = (mine - start).tolist()
    texts = [joined[a:b] for a, b in pairwise(places)]
    return texts if joined.isascii() or not any(map(utf8_error, texts)) else None


def _value_text(value: "Scalar", field: str, where: str, gate: Gate) -> bytes | None:
    try:
        return gate.value_text(value.as_py(), field, where)
    except UnicodeDecodeError as error:  # Parquet itself does not look at what is in a text
        gate.refuse("invalid UTF-8", f"{where}: byte {error.start} of {field!r} is not valid UTF-8; mend the text")
        return None
