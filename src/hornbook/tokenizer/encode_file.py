"""A text file to a file of ids in bounded memory, in the order of the text, by several threads.

    file -> chunks of 1 MB, cut where a word starts anyway -> (threads) ids of each chunk -> flat file, or several

A file is one document. What stands in the result is nothing but the ids, little-endian as this machine has them:
`np.fromfile(out, dtype)`. It appears under its name only when it is complete; it is not synced to the disk, since it
can be made again.
"""

import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import regex

from hornbook.errors import TokenizerError
from hornbook.storage.disk import explained
from hornbook.tokenizer.bulk import ordered
from hornbook.tokenizer.documents import last_cut

CHUNK_BYTES = 2**20
_WINDOW_BYTES = 2**16
"""How much of a chunk's end is searched for a place to cut before more is."""

FileProgress = Callable[[int, int], None]
"""Called with the bytes that are done and the bytes of the file."""


class Chunk(NamedTuple):
    """A part of the text file."""

    offset: int
    length: int


@dataclass(frozen=True)
class FileCounts:
    """What `Tokenizer.encode_file` did."""

    n_bytes: int
    n_ids: int
    paths: tuple[Path, ...]
    """The files that were written."""


def encode_chunks(
    path: Path,
    out: Path,
    encode: Callable[[Chunk], npt.NDArray[Any]],
    *,
    cut: regex.Pattern[bytes] | None,
    names: Collection[bytes],
    threads: int,
    shard_ids: int | None,
    progress: FileProgress | None,
) -> FileCounts:
    """Write the ids that `encode` gives for each chunk of `path`.

    Args:
        path: the text file.
        out: the result; with `shard_ids`, "ids.bin" stands for ids-00000.bin, ids-00001.bin, ...
        encode: ids of a chunk; called by several threads.
        cut: where the text may be cut, see `documents.pieces`.
        names: special tokens, which stay whole.
        threads: how many encode.
        shard_ids: ids of each file but the last; None for one file.
        progress: called after each chunk.

    Raises:
        TokenizerError: if `path` is no regular file; what `encode` raises.
        StorageError: if the result cannot be written.
    """
    if not path.is_file():
        raise TokenizerError(f"{path}: no such text file")
    size, done = path.stat().st_size, 0
    chunks: list[Chunk] = []  # those whose ids are not written yet

    def noted() -> Iterator[Chunk]:
        for chunk in _chunks(path, size, cut, names):
            chunks.append(chunk)
            yield chunk

    with (
        _Output(out, shard_ids) as output,
        contextlib.closing(ordered(encode, noted(), threads, ahead=threads)) as results,
    ):
        for ids in results:
            output.write(ids)
            done += chunks.pop(0).length
            if progress:
                progress(done, size)
    return FileCounts(n_bytes=size, n_ids=output.n_ids, paths=tuple(output.paths))


def read_chunk(path: Path, chunk: Chunk, padding: int) -> npt.NDArray[np.uint8]:
    """The bytes of a chunk, and `padding` zeros behind them.

    Raises:
        TokenizerError: if the file has become shorter.
    """
    text = np.empty(chunk.length + padding, np.uint8)
    text[chunk.length :] = 0
    with path.open("rb", buffering=0) as file:
        file.seek(chunk.offset)
        view, n = text.data[: chunk.length], 0
        while n < chunk.length:
            read = file.readinto(view[n:])
            if not read:
                raise TokenizerError(f"{path}: the file became shorter while it was read; encode it again")
            n += read
    return text


def _chunks(path: Path, size: int, cut: regex.Pattern[bytes] | None, names: Collection[bytes]) -> Iterator[Chunk]:
    """Chunks of about CHUNK_BYTES; longer where there is no place to cut, the whole file if `cut` is None."""
    start = 0
    with path.open("rb", buffering=0) as file:
        while start < size:
            end = size if cut is None else _chunk_end(file, start, size, cut, names)
            yield Chunk(start, end - start)
            start = end


def _chunk_end(file: BinaryIO | Any, start: int, size: int, cut: regex.Pattern[bytes], names: Collection[bytes]) -> int:
    wanted, window = CHUNK_BYTES, min(_WINDOW_BYTES, CHUNK_BYTES)
    while start + wanted < size:
        first = start + wanted - window
        file.seek(first)
        place = last_cut(file.read(window), cut, names)
        if place is not None:
            return first + place
        if window == wanted:
            wanted *= 2
        window = min(8 * window, wanted)
    return size


class _Output:
    """Writes ids to one file or to files of `shard_ids` each, which get their names when all are complete."""

    def __init__(self, out: Path, shard_ids: int | None) -> None:
        if shard_ids is not None and shard_ids < 1:
            raise TokenizerError(f"shard_tokens = {shard_ids}; expected at least 1")
        self._out, self._shard_ids = out, shard_ids
        self._file: Any = None
        self._room = 0
        self.n_ids = 0
        self.paths: list[Path] = []

    def __enter__(self) -> "_Output":
        self._next_file()
        return self

    def write(self, ids: npt.NDArray[Any]) -> None:
        """Append ids."""
        self.n_ids += len(ids)
        while len(ids):
            if self._shard_ids is not None and self._room == 0:
                self._next_file()
            n = len(ids) if self._shard_ids is None else min(self._room, len(ids))
            with explained(self._out):
                self._file.write(ids[:n].data)
            self._room -= n
            ids = ids[n:]

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            with explained(self._out):
                self._file.close()
                for path in self.paths if kind is None else ():
                    _unfinished(path).replace(path)
        finally:
            for path in self.paths:
                _unfinished(path).unlink(missing_ok=True)

    def _next_file(self) -> None:
        if self._file is not None:
            self._file.close()
        name = self._out.name
        if self._shard_ids is not None:
            self._room = self._shard_ids
            name = f"{self._out.stem}-{len(self.paths):05d}{self._out.suffix}"
        self.paths.append(self._out.with_name(name))
        with explained(self._out):
            self._file = _unfinished(self.paths[-1]).open("wb")


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")
