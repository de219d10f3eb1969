"""Many documents to one row of ids, compiled or in pure Python, which give the same ids and the same errors.

documents -> units of about 4 MB: many small documents, or a piece of a large one -> ids, by threads

What Python does for each document costs as much as the kernels take for 200 bytes, so a unit is made by its lengths.
"""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import regex

from hornbook.errors import TokenizerError
from hornbook.tokenizer.bulk import UNIT_BYTES, BulkEncoder, MalformedError, ordered
from hornbook.tokenizer.documents import decode_utf8, last_cut, pieces

Errors = Literal["strict", "replace"]
Array = npt.NDArray[Any]


class _Unit(NamedTuple):
    """Consecutive whole documents, or a part of a large one."""

    first: int
    """Number of the first document."""
    texts: Sequence[bytes | memoryview]
    ends: bool = True
    """Whether the last document ends here."""


def check_errors(errors: str) -> None:
    """Python knows other ways to treat broken text, of which the kernels know nothing.

    Raises:
        TokenizerError: if it is not one of `Errors`.
    """
    if errors not in get_args(Errors):
        raise TokenizerError(f"errors = {errors!r}; expected 'strict' or 'replace'")


def encode_compiled(
    encoder: BulkEncoder,
    documents: Sequence[bytes],
    names: Mapping[bytes, int],
    cut: regex.Pattern[bytes] | None,
    *,
    errors: Errors,
    threads: int,
    end_id: int | None,
    dtype: np.dtype[Any],
) -> tuple[Array, Array]:
    """Ids of all documents and int64 offsets, by compiled kernels.

    Args:
        encoder: of the vocabulary.
        documents: UTF-8.
        names: names of tokens that count in the documents, with their ids.
        cut: where a document may be cut, see `documents.pieces`.
        errors: "replace" reads broken parts as U+FFFD.
        threads: how many encode at the same time.
        end_id: the id that follows each document, if any.
        dtype: of the ids, uint16 or uint32.

    Raises:
        TokenizerError: for invalid UTF-8, naming the document's number and the byte offset.
    """

    def work(unit: _Unit) -> tuple[Array, Array]:
        texts = unit.texts
        following = np.full(len(texts), end_id if unit.ends and end_id is not None else -1)
        try:
            ids, ends = encoder.encode_parts(texts, following, names, dtype)
        except MalformedError as error:
            if errors == "strict":
                broken = unit.first + error.row
                encode_purely(lambda _: [], [documents[broken]], names, cut, first=broken)
                raise AssertionError(f"document {broken}: {error}, but Python's decoder finds nothing") from error
            texts = [bytes(text).decode("utf-8", "replace").encode() for text in texts]
            ids, ends = encoder.encode_parts(texts, following, names, dtype)
        return ids, ends if unit.ends else ends[:0]

    parts: list[Array] = []
    offsets, n = [np.zeros(1, np.int64)], 0
    for ids, ends in ordered(work, _units(documents, names, cut), threads):
        parts.append(ids)
        offsets.append(ends + n)
        n += len(ids)
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, dtype), *parts]), np.concatenate(offsets)


def encode_purely(
    ids_of: Callable[[str], list[int]],
    documents: Sequence[bytes],
    names: Mapping[bytes, int],
    cut: regex.Pattern[bytes] | None,
    *,
    errors: Errors = "strict",
    end_id: int | None = None,
    dtype: np.dtype[Any] = np.dtype(np.uint32),  # noqa: B008  # immutable
    first: int = 0,
) -> tuple[Array, Array]:
    """The same in pure Python; `ids_of` gives the ids of a text and `first` is the number of the first document."""
    ids, offsets = array("I"), [0]
    for number, document in enumerate(documents, start=first):
        offset = 0
        for piece in pieces(BytesIO(document), cut, [name.decode() for name in names]):
            ids.extend(ids_of(decode_utf8(piece, f"document {number}", offset=offset, errors=errors)))
            offset += len(piece)
        if end_id is not None:
            ids.append(end_id)
        offsets.append(len(ids))
    return np.array(ids, dtype), np.array(offsets, np.int64)


def _units(documents: Sequence[bytes], names: Mapping[bytes, int], cut: regex.Pattern[bytes] | None) -> Iterator[_Unit]:
    ends = np.cumsum(np.fromiter(map(len, documents), np.int64, len(documents)))
    large = UNIT_BYTES + UNIT_BYTES // 2
    done = first = 0  # bytes and documents
    while first < len(documents):
        if cut is not None and ends[first] - done > large:
            yield from _pieces(first, documents[first], names, cut)
            stop = first + 1
        else:  # up to the document that fills the unit, unless that one is large
            stop = min(int(np.searchsorted(ends, done + UNIT_BYTES)) + 1, len(documents))
            if cut is not None and stop - first > 1 and ends[stop - 1] - ends[stop - 2] > large:
                stop -= 1
            yield _Unit(first, documents[first:stop])
        first, done = stop, int(ends[stop - 1])


def _pieces(number: int, document: bytes, names: Mapping[bytes, int], cut: regex.Pattern[bytes]) -> Iterator[_Unit]:
    """A large document in pieces; longer ones where there is no place to cut."""
    start, wanted = 0, UNIT_BYTES
    while len(document) - start > wanted + wanted // 2:
        place = last_cut(memoryview(document)[start : start + wanted], cut, names)
        if place is None:
            wanted *= 2
            continue
        yield _Unit(number, [memoryview(document)[start : start + place]], ends=False)
        start, wanted = start + place, UNIT_BYTES
    yield _Unit(number, [memoryview(document)[start:]])
