"""Text files as documents: a whole file, a line, a paragraph, or what lies between literal separators.

Files are read as bytes, so no line end is translated, and only `\\n` ends a line (the other separators of Unicode are
ordinary characters). Except with `file`, memory holds a few blocks and one document, however long the file is.

| document_separator | a document is                                    | consumed                              |
| ------------------ | ------------------------------------------------ | ------------------------------------- |
| `file`             | the whole file, byte for byte                    | nothing                               |
| `line`             | a line that is not blank                         | the line end, `\\n` or `\\r\\n`       |
| `blank_line`       | lines up to a blank one, with line ends between  | blank lines and the last line end     |
| anything else      | bytes between two of it, unless all white space  | the separator itself, nothing beside  |
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import accumulate
from pathlib import Path

import numpy as np

from hornbook.config.data import TextSource
from hornbook.data.documents import Block, Gate
from hornbook.data.files import TEXT_SUFFIXES, after_last_line, cut_blocks, input_files, opened
from hornbook.errors import DataError

_NEWLINE = 10
_IS_SPACE = np.array([bytes([byte]).isspace() for byte in range(256)])


@dataclass(frozen=True, slots=True)
class Pieces:
    """Bytes of documents, the line that each starts in (from 1), and the byte that it starts at (from 0)."""

    texts: Sequence[bytes]
    lines: Sequence[int]
    offsets: Sequence[int]


def text_blocks(source: TextSource, gate: Gate) -> Iterator[Block]:
    """The documents of all files of the source."""
    split = _splitter(source.document_separator)
    for path in input_files(source.paths, TEXT_SUFFIXES, gate):
        yield from _file_blocks(path, split, gate)


def _file_blocks(path: Path, split: Callable[[Iterator[bytes]], Iterator[Pieces]], gate: Gate) -> Iterator[Block]:
    with opened(path, gate) as blocks:
        found = False
        for pieces in split(blocks):
            for part in gate.parts(len(pieces.texts)):
                found = True
                yield gate.text_block(pieces.texts[part], path, pieces.lines[part], pieces.offsets[part])
        if not found:
            gate.refuse("empty file", f"{path}: the file holds no text; remove it from data.source.paths")


def _splitter(separator: str) -> Callable[[Iterator[bytes]], Iterator[Pieces]]:
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
            return lambda blocks: between(blocks, literal.encode())


def whole(blocks: Iterable[bytes]) -> Iterator[Pieces]:
    """The file as one piece."""
    if data := b"".join(blocks):
        yield Pieces([data], [1], [0])


def lines(blocks: Iterable[bytes]) -> Iterator[Pieces]:
    """Each line that is not blank, without its line end."""
    line, offset = 1, 0
    for data in cut_blocks(blocks, after_last_line):
        found = BytesIO(data).readlines()
        numbers: Sequence[int] = range(line, line + len(found))
        offsets: Sequence[int] = list(accumulate(map(len, found[:-1]), initial=offset))
        line += len(found)
        offset += len(data)
        if any(map(bytes.isspace, found)):
            kept = [i for i, text in enumerate(found) if not text.isspace()]
            found, numbers, offsets = [found[i] for i in kept], [numbers[i] for i in kept], [offsets[i] for i in kept]
        yield Pieces([_without_line_end(text) for text in found], numbers, offsets)


def paragraphs(blocks: Iterable[bytes]) -> Iterator[Pieces]:
    """Each run of lines that are not blank, with the line ends between them."""
    line, offset = 1, 0
    for data in cut_blocks(blocks, _after_last_blank_line):
        starts, ends = _line_bounds(data)
        is_blank = _blank_lines(data, starts, ends)
        blank_or_end = np.concatenate([[True], is_blank, [True]])
        first = np.flatnonzero(~is_blank & blank_or_end[:-2])
        last = np.flatnonzero(~is_blank & blank_or_end[2:])
        bounds = zip(starts[first].tolist(), ends[last].tolist(), strict=True)
        texts = [_without_line_end(data[start:end]) for start, end in bounds]
        yield Pieces(texts, (first + line).tolist(), (starts[first] + offset).tolist())
        line += len(ends)
        offset += len(data)


def _after_last_blank_line(block: bytes) -> int:
    """The place behind the last line that is blank and surely whole; 0 if there is none."""
    end = block.rfind(b"\n") + 1
    while start := block.rfind(b"\n", 0, max(0, end - 1)) + 1:
        if block[start:end].isspace():
            return end
        end = start
    return 0


def _line_bounds(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Where each line starts and where it ends, line end included."""
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == _NEWLINE) + 1
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    return np.concatenate([[0], ends[:-1]]), ends


def _blank_lines(data: bytes, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Whether each line is white space: those that begin and end with it are looked at one by one."""
    codes = np.frombuffer(data, dtype=np.uint8)
    is_blank: np.ndarray = _IS_SPACE[codes[starts]] & _IS_SPACE[codes[np.maximum(starts, ends - 2)]]
    for i in np.flatnonzero(is_blank & (ends - starts > 1)).tolist():
        is_blank[i] = data[starts[i] : ends[i]].isspace()
    return is_blank


def between(blocks: Iterable[bytes], separator: bytes) -> Iterator[Pieces]:
    """What lies between literal separators; white space alone is no piece."""
    held: list[bytes] = []  # of the piece that has begun, without what may be the first bytes of a separator
    tail = b""  # which are these
    newlines = separator.count(b"\n")
    line, offset = 1, 0
    for block in blocks:
        *complete, rest = (tail + block).split(separator)
        if complete:
            complete[0] = b"".join([*held, complete[0]])
            held = []
            found, line, offset = _placed(complete, line, offset, len(separator), newlines)
            yield found
        kept = max(0, len(rest) - len(separator) + 1)
        held.append(rest[:kept])
        tail = rest[kept:]
    yield _placed([b"".join([*held, tail])], line, offset, 0, 0)[0]


def _placed(texts: list[bytes], line: int, offset: int, separator: int, newlines: int) -> tuple[Pieces, int, int]:
    """Those of consecutive texts that are not white space, and line and byte after all of them."""
    found: list[bytes] = []
    numbers: list[int] = []
    offsets: list[int] = []
    for text in texts:
        if text and not text.isspace():
            found.append(text)
            numbers.append(line)
            offsets.append(offset)
        line += text.count(b"\n") + newlines
        offset += len(text) + separator
    return Pieces(found, numbers, offsets), line, offset


def _without_line_end(text: bytes) -> bytes:
    return text.removesuffix(b"\r\n").removesuffix(b"\n")
