"""Text files as documents: a whole file, a line, a paragraph, or what lies between literal separators.

Files are read as bytes, so no line end is translated, and only `\\n` ends a line (the other separators of Unicode are
ordinary characters). Except with `file`, memory holds one document at a time, however long the file is.

| document_separator | a document is                                    | consumed                              |
| ------------------ | ------------------------------------------------ | ------------------------------------- |
| `file`             | the whole file, byte for byte                    | nothing                               |
| `line`             | a line that is not blank                         | the line end, `\\n` or `\\r\\n`       |
| `blank_line`       | lines up to a blank one, with line ends between  | blank lines and the last line end     |
| anything else      | bytes between two of it, unless all white space  | the separator itself, nothing beside  |
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from hornbook.config.data import TextSource
from hornbook.data.documents import Document, Gate
from hornbook.data.files import TEXT_SUFFIXES, input_files, opened
from hornbook.errors import DataError

_CHUNK = 1 << 20

Piece = tuple[bytes, int, int]
"""Bytes of a document, the line it starts in (from 1), and the byte it starts at (from 0)."""


def text_documents(source: TextSource, gate: Gate) -> Iterator[Document]:
    """The documents of all files of the source."""
    pieces = _splitter(source.document_separator)
    for path in input_files(source.paths, TEXT_SUFFIXES, gate):
        yield from _file_documents(path, pieces, gate)


def _file_documents(path: Path, pieces: Callable[[BinaryIO], Iterator[Piece]], gate: Gate) -> Iterator[Document]:
    with opened(path, gate) as file:
        found = False
        for text, line, offset in pieces(file):
            found = True
            if document := gate.bytes_document(text, path, line=line, offset=offset):
                yield document
        if not found:
            gate.refuse("empty file", f"{path}: the file holds no text; remove it from data.source.paths")


def _splitter(separator: str) -> Callable[[BinaryIO], Iterator[Piece]]:
    match separator:
        case "file":
            return whole
        case "line":
            return lines
        case "blank_line":
            return paragraphs
        case "":
            raise DataError(
                "data.source.document_separator is empty; expected file, line, blank_line or a literal string"
            )
        case literal:
            return lambda file: between(file, literal.encode())


def whole(file: BinaryIO) -> Iterator[Piece]:
    """The file as one piece."""
    if data := file.read():
        yield data, 1, 0


def lines(file: BinaryIO) -> Iterator[Piece]:
    """Each line that is not blank, without its line end."""
    offset = 0
    for number, line in enumerate(file, start=1):
        if not line.isspace():
            yield _without_line_end(line), number, offset
        offset += len(line)


def paragraphs(file: BinaryIO) -> Iterator[Piece]:
    """Each run of lines that are not blank, with the line ends between them."""
    held: list[bytes] = []
    first, start, offset = 1, 0, 0
    for number, line in enumerate(file, start=1):
        if line.isspace():
            if held:
                yield _without_line_end(b"".join(held)), first, start
            held = []
        else:
            if not held:
                first, start = number, offset
            held.append(line)
        offset += len(line)
    if held:
        yield _without_line_end(b"".join(held)), first, start


def between(file: BinaryIO, separator: bytes, *, chunk: int = _CHUNK) -> Iterator[Piece]:
    """What lies between literal separators, reading `chunk` bytes at a time; white space alone is no piece."""
    held = bytearray()
    line, offset = 1, 0
    while data := file.read(chunk):
        # A separator may begin in the bytes held and end in the new ones.
        searched = max(0, len(held) - len(separator) + 1)
        held += data
        start = 0
        while (end := held.find(separator, max(start, searched))) >= 0:
            piece = bytes(held[start:end])
            if piece and not piece.isspace():
                yield piece, line, offset + start
            line += piece.count(b"\n") + separator.count(b"\n")
            start = end + len(separator)
        del held[:start]
        offset += start
    if held and not held.isspace():
        yield bytes(held), line, offset


def _without_line_end(text: bytes) -> bytes:
    return text.removesuffix(b"\n").removesuffix(b"\r") if text.endswith(b"\n") else text
