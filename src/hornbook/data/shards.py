"""One split's tokens on disk: written by appending, read through memory maps as one long stream.

A writer only ever appends, and `commit` makes everything appended so far durable and says how much that is. After a
crash a new writer is opened at the last committed state: it cuts off what came later and goes on, so an interrupted
preparation ends with the same bytes as an unbroken one.
"""

import bisect
import dataclasses
import hashlib
from io import FileIO
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from hornbook.data.index import ShardFile, SplitIndex, SplitName, check_size, offsets_file, shard_file
from hornbook.data.loss_mask import LossMask
from hornbook.errors import DataError
from hornbook.storage.disk import explained, sync_file

OFFSET_DTYPE = np.dtype("<u8")


def little_endian(name: str) -> np.dtype[np.integer]:
    """The dtype of a shard, in the byte order of the files whatever the machine's own is."""
    return np.dtype(name).newbyteorder("<")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """What of a split is durably on disk."""

    tokens: int = 0
    documents: int = 0
    text_bytes: int = 0
    full_shards: tuple[str, ...] = ()
    """Digests of the shard files that are full; the one after them is being filled."""


class ShardWriter:
    """Appends documents to one split: offsets, and shard files of exactly `shard_tokens` tokens but for the last."""

    def __init__(
        self, directory: Path, split: SplitName, *, dtype: str, shard_tokens: int, committed: Written | None = None
    ) -> None:
        committed = committed or Written()
        self._directory = directory
        self._split: SplitName = split
        self._dtype = little_endian(dtype)
        self._shard_tokens = shard_tokens
        self._digests = list(committed.full_shards)
        self._tokens = committed.tokens
        self._documents = committed.documents
        self._text_bytes = committed.text_bytes
        self._room = shard_tokens * (len(self._digests) + 1) - committed.tokens
        self._offsets_path = directory / offsets_file(split)
        offsets_size = committed.documents * OFFSET_DTYPE.itemsize
        shard_size = (shard_tokens - self._room) * self._dtype.itemsize
        _check_committed(self._offsets_path, offsets_size)
        _check_committed(self._shard_path, shard_size)
        self._offsets, self._offsets_digest = _reopen(self._offsets_path, offsets_size)
        self._shard, self._digest = _reopen(self._shard_path, shard_size)

    @property
    def _shard_path(self) -> Path:
        return self._directory / shard_file(self._split, len(self._digests))

    @property
    def n_tokens(self) -> int:
        """Tokens appended so far."""
        return self._tokens

    def append(self, tokens: np.ndarray, lengths: np.ndarray, text_bytes: int) -> None:
        """Append documents: their tokens one after another, the number of tokens of each, and their bytes of text.

        Raises:
            StorageError: if the disk refuses.
        """
        assert int(lengths.sum()) == len(tokens)
        starts = (self._tokens + np.cumsum(lengths) - lengths).astype(OFFSET_DTYPE)
        _write(self._offsets_path, self._offsets, self._offsets_digest, starts)
        rest = np.ascontiguousarray(tokens, dtype=self._dtype)
        while len(rest) >= self._room:
            _write(self._shard_path, self._shard, self._digest, rest[: self._room])
            rest = rest[self._room :]
            self._next_shard()
        _write(self._shard_path, self._shard, self._digest, rest)
        self._room -= len(rest)
        self._tokens += len(tokens)
        self._documents += len(lengths)
        self._text_bytes += text_bytes

    def _next_shard(self) -> None:
        with explained(self._shard_path):
            self._shard.close()
            sync_file(self._shard_path)
        self._digests.append(self._digest.hexdigest())
        self._room = self._shard_tokens
        self._shard, self._digest = _reopen(self._shard_path, 0)

    def commit(self) -> Written:
        """Make what was appended durable, and say how much it is."""
        for path in (self._shard_path, self._offsets_path):
            with explained(path):
                sync_file(path)
        return Written(
            tokens=self._tokens,
            documents=self._documents,
            text_bytes=self._text_bytes,
            full_shards=tuple(self._digests),
        )

    def finish(self) -> SplitIndex:
        """Commit, close, remove files of an interrupted attempt that are no longer reached, and describe the split."""
        self.commit()
        self.close()
        digests = list(self._digests)
        if self._room < self._shard_tokens:
            digests.append(self._digest.hexdigest())
        for number, path in enumerate(_shard_paths(self._directory, self._split)):
            if number >= len(digests):
                path.unlink()
        return SplitIndex(
            dtype=self._dtype.name,
            tokens=self._tokens,
            documents=self._documents,
            text_bytes=self._text_bytes,
            offsets_sha256=self._offsets_digest.hexdigest(),
            shards=tuple(
                ShardFile(
                    file=shard_file(self._split, number),
                    first_byte=0,
                    tokens=min(self._shard_tokens, self._tokens - number * self._shard_tokens),
                    sha256=digest,
                )
                for number, digest in enumerate(digests)
            ),
        )

    def close(self) -> None:
        """Close the files; what was not committed may be lost."""
        self._shard.close()
        self._offsets.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _shard_paths(directory: Path, split: SplitName) -> list[Path]:
    return sorted(directory.glob(f"{split}-[0-9]*.bin"))


def _check_committed(path: Path, size: int) -> None:
    found = path.stat().st_size if path.exists() else 0
    if found < size:
        raise DataError(f"{path}: {found} bytes, but {size} were committed; remove {path.parent} and prepare again")


def _reopen(path: Path, size: int) -> tuple[FileIO, "hashlib._Hash"]:
    """Open `path` for appending after its first `size` bytes, with the digest of those."""
    with explained(path):
        # Unbuffered: a buffer that a full disk refused would be written, and refused, once more by close().
        file = path.open("r+b" if path.exists() else "w+b", buffering=0)
        file.truncate(size)
        digest = hashlib.file_digest(file, "sha256")  # reads to the end, where appending starts
    return file, digest


def _write(path: Path, file: FileIO, digest: "hashlib._Hash", numbers: np.ndarray) -> None:
    data = numbers.view(np.uint8).data
    left = data
    with explained(path):
        while left:  # one call may write less, for instance up to 2 GiB
            left = left[file.write(left) :]
    digest.update(data)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where a token stands on disk."""

    shard: str
    """Path of the file."""
    token: int
    """Number of the token in the file's part of the split, from 0."""
    document: int
    """Number of the document in the split, from 0."""


class TokenStream:
    """One split as one long array of tokens over memory-mapped files; reading is safe from several threads."""

    def __init__(self, directory: Path, split: SplitName, index: SplitIndex, *, vocab_size: int | None = None) -> None:
        """With `vocab_size`, a token that is not below it is damage."""
        self.index = index
        self._vocab_size = vocab_size
        self._sizes = [shard.first_byte + shard.tokens * little_endian(index.dtype).itemsize for shard in index.shards]
        self.name = f"{directory} [{split}]"
        self.split = split
        self.n_tokens = index.tokens
        self.n_documents = index.documents
        self.text_bytes = index.text_bytes
        self._maps = [_map_shard(directory, shard, little_endian(index.dtype)) for shard in index.shards]
        self._paths = [directory / shard.file for shard in index.shards]
        self._ends = list(accumulate(shard.tokens for shard in index.shards))
        self.document_starts = _map_offsets(directory / offsets_file(split), index.documents)
        """Place of each document's first token: uint64, (n_documents,), read-only."""
        self._loss_mask = None if index.loss_mask_sha256 is None else LossMask(directory, split, index.tokens)

    def read(self, start: int, count: int) -> np.ndarray:
        """Tokens start .. start + count - 1: int64, (count,), a copy; they may lie in several files.

        Raises:
            DataError: for a file that has vanished or shrunk since it was opened, and a token that is nobody's.
        """
        self._check_range(start, count)
        out = np.empty(count, dtype=np.int64)
        filled, shard = 0, bisect.bisect_right(self._ends, start)
        while filled < count:
            tokens = self._maps[shard]
            # Touching a map beyond the end of its file would end the process without a word (SIGBUS).
            check_size(self._paths[shard], self._sizes[shard], exact=False)
            first = start + filled - (self._ends[shard] - len(tokens))
            piece = tokens[first : first + count - filled]
            out[filled : filled + len(piece)] = piece
            filled += len(piece)
            shard += 1
        self._check_ids(out, start)
        return out

    def _check_range(self, start: int, count: int) -> None:
        if start < 0 or count < 0 or start + count > self.n_tokens:
            raise IndexError(f"{self.name}: tokens {start}..{start + count} are outside 0..{self.n_tokens}")

    def _check_ids(self, tokens: np.ndarray, start: int) -> None:
        # As unsigned numbers, negative ones are large. On a GPU such a token would be an error without a place.
        if self._vocab_size is None or not len(tokens) or int(tokens.view(np.uint64).max()) < self._vocab_size:
            return
        bad = int(tokens.view(np.uint64).argmax())
        at = self.place(start + bad)
        raise DataError(
            f"{at.shard}: id {int(tokens[bad])} at position {at.token}, but the ids end at {self._vocab_size - 1}: "
            "damaged; prepare again with --force"
        )

    def place(self, position: int) -> Place:
        """Where the token at `position` of the stream lies."""
        shard = bisect.bisect_right(self._ends, position)
        document = int(np.searchsorted(self.document_starts, position, side="right")) - 1
        first = self._ends[shard] - len(self._maps[shard])
        return Place(shard=str(self._paths[shard]), token=position - first, document=document)

    def document(self, number: int) -> np.ndarray:
        """Tokens of one document, its end-of-text token included: int64."""
        start, end = self.document_span(number)
        return self.read(start, end - start)

    def document_span(self, number: int) -> tuple[int, int]:
        """Places in the stream of a document's first token and of what follows its last."""
        if not 0 <= number < self.n_documents:
            raise IndexError(f"{self.name}: document {number} is outside 0..{self.n_documents - 1}")
        last = number + 1 == self.n_documents
        return int(self.document_starts[number]), self.n_tokens if last else int(self.document_starts[number + 1])

    def document_lengths(self) -> np.ndarray:
        """Tokens of each document: int64, (n_documents,)."""
        return np.diff(self.document_starts.astype(np.int64), append=self.n_tokens)

    def loss_mask(self, start: int, count: int) -> np.ndarray:
        """Which of the tokens start .. start + count - 1 count as targets: bool, (count,); of plain text, all do.

        Raises:
            DataError: for a file that has vanished or shrunk since it was opened.
        """
        self._check_range(start, count)
        return np.ones(count, dtype=bool) if self._loss_mask is None else self._loss_mask.read(start, count)


def _map_shard(directory: Path, shard: ShardFile, dtype: np.dtype[np.integer]) -> np.ndarray:
    path = directory / shard.file  # an absolute file replaces the directory
    needed = shard.first_byte + shard.tokens * dtype.itemsize
    check_size(path, needed, exact=not Path(shard.file).is_absolute())
    # Without its class: slices of a np.memmap each cost as much as reading a short window.
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", offset=shard.first_byte, shape=(shard.tokens,)))


def _map_offsets(path: Path, documents: int) -> np.ndarray:
    check_size(path, documents * OFFSET_DTYPE.itemsize, exact=True)
    if not documents:  # an empty file cannot be mapped
        return np.empty(0, dtype=OFFSET_DTYPE)
    return np.memmap(path, dtype=OFFSET_DTYPE, mode="r", shape=(documents,))
