"""Token files that exist already, used where they lie: checked, described in an index, never copied.

A raw file is nothing but ids (its dtype must be given); an .npy file says its own dtype and where the ids begin. Splits
are ranges of the one stream that the files make in order, so they can only be taken by position; with an end-of-text id
the boundaries move back to the start of a document.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from hornbook.config.data import TokensSource
from hornbook.data.index import ShardFile, SplitIndex, SplitName, offsets_file
from hornbook.data.shards import OFFSET_DTYPE, little_endian
from hornbook.errors import DataError
from hornbook.storage.atomic import replace_file
from hornbook.storage.digest import bytes_sha256
from hornbook.tokenizer.tokenizer import Tokenizer

_NPY_DTYPES = ("uint16", "uint32", "int32", "int64")
_TOKENS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class TokenFile:
    """A file of ids."""

    path: Path
    dtype: str
    first_byte: int
    tokens: np.ndarray
    """The ids, memory-mapped."""


def open_token_files(source: TokensSource) -> list[TokenFile]:
    """Map the files of a source.

    Raises:
        DataError: naming the file that is missing, empty, not one-dimensional or of another dtype than the others, or
            than the source says.
    """
    files = [_open_npy(path) if path.suffix == ".npy" else _open_raw(path, source.dtype) for path in source.paths]
    for file in files:
        if file.dtype != files[0].dtype:
            raise DataError(f"{file.path}: {file.dtype}, but {files[0].path} is {files[0].dtype}; convert one of them")
        if source.dtype not in (None, file.dtype):
            raise DataError(
                f"{file.path}: {file.dtype}, but data.source.dtype says {source.dtype}; leave it out for .npy files"
            )
        if not len(file.tokens):
            raise DataError(f"{file.path}: the file holds no tokens; remove it from data.source.paths")
    return files


def _open_raw(path: Path, dtype: str | None) -> TokenFile:
    if dtype is None:
        raise DataError(f"{path}: a raw file does not say its dtype; set data.source.dtype to uint16, uint32 or int32")
    size, itemsize = _size(path), little_endian(dtype).itemsize
    if size % itemsize:
        raise DataError(f"{path}: {size} bytes is not a multiple of {itemsize}, so it is no file of {dtype}")
    empty = np.empty(0, dtype=dtype)  # an empty file cannot be mapped
    return TokenFile(path, dtype, 0, np.memmap(path, little_endian(dtype), mode="r") if size else empty)


def _open_npy(path: Path) -> TokenFile:
    _size(path)
    try:
        tokens = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable .npy file ({error})") from None
    if tokens.ndim != 1 or tokens.dtype.name not in _NPY_DTYPES or tokens.dtype != little_endian(tokens.dtype.name):
        raise DataError(
            f"{path}: {tokens.ndim}-dimensional {tokens.dtype.str}, expected one row of little-endian "
            f"{', '.join(_NPY_DTYPES)}; save it so with numpy"
        )
    return TokenFile(path, tokens.dtype.name, tokens.offset if isinstance(tokens, np.memmap) else 0, tokens)


def _size(path: Path) -> int:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; correct data.source.paths") from None
    if path.is_dir():
        raise DataError(f"{path}: a folder, expected a file of token ids; name its files in data.source.paths")
    return size


def document_starts(files: Sequence[TokenFile], *, vocab_size: int, end_of_text_id: int | None) -> np.ndarray:
    """Where documents start in the joined stream, having checked every id: uint64.

    Raises:
        DataError: naming file, position and value of the first id that the tokenizer does not have.
    """
    starts = []
    position = 0
    for file in files:
        starts.append(np.array([position], dtype=OFFSET_DTYPE))
        for first, ids in _chunks(file.tokens):
            bad = (ids < 0) | (ids >= vocab_size)
            if bad.any():
                place = int(bad.argmax())
                raise DataError(
                    f"{file.path}: id {int(ids[place])} at position {first + place}, but the tokenizer has the ids "
                    f"0..{vocab_size - 1}; use the tokenizer that made the file, or correct data.source.dtype"
                )
            if end_of_text_id is not None:
                starts.append((np.flatnonzero(ids == end_of_text_id) + position + first + 1).astype(OFFSET_DTYPE))
        position += len(file.tokens)
    joined = np.unique(np.concatenate(starts))
    return joined[joined < position]


def _chunks(tokens: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for first in range(0, len(tokens), _TOKENS_AT_ONCE):
        yield first, tokens[first : first + _TOKENS_AT_ONCE]


def index_token_files(
    directory: Path,
    source: TokensSource,
    tokenizer: Tokenizer,
    *,
    shares: Mapping[SplitName, Fraction],
    max_tokens: int | None,
) -> dict[SplitName, SplitIndex]:
    """Describe the files as consecutive splits, of these shares of all tokens, and write their document starts.

    Raises:
        DataError: for a file that is not what the source says, or an id that the tokenizer does not have.
    """
    files = open_token_files(source)
    if source.end_of_text_id is not None and source.end_of_text_id >= tokenizer.vocab_size:
        raise DataError(
            f"data.source.end_of_text_id = {source.end_of_text_id}, but the tokenizer has the ids "
            f"0..{tokenizer.vocab_size - 1}; correct it, or use the tokenizer that made the files"
        )
    starts = document_starts(files, vocab_size=tokenizer.vocab_size, end_of_text_id=source.end_of_text_id)
    total = sum(len(file.tokens) for file in files)
    total = min(total, max_tokens or total)
    found: dict[SplitName, SplitIndex] = {}
    first, so_far = 0, Fraction(0)
    for split, share in shares.items():
        so_far += share
        last = int(total * so_far)
        if last < total and source.end_of_text_id is not None:
            last = max(first, int(starts[np.searchsorted(starts, last, side="right") - 1]))
        found[split] = _index_range(directory, split, files, starts, first, last, tokenizer.byte_lengths())
        first = last
    return found


def _index_range(
    directory: Path,
    split: SplitName,
    files: Sequence[TokenFile],
    starts: np.ndarray,
    first: int,
    last: int,
    byte_lengths: np.ndarray,
) -> SplitIndex:
    """The tokens `first` .. `last` - 1 of the joined stream."""
    shards, text_bytes, position = [], 0, 0
    for file in files:
        low = max(first - position, 0)
        ids = file.tokens[low : max(last - position, low)]
        position += len(file.tokens)
        if not len(ids):
            continue
        digest = hashlib.sha256()
        for _, chunk in _chunks(ids):
            digest.update(chunk.tobytes())
            text_bytes += int(byte_lengths[chunk].sum())
        at = file.first_byte + low * file.tokens.dtype.itemsize
        path = str(file.path.resolve())
        shards.append(ShardFile(file=path, first_byte=at, tokens=len(ids), sha256=digest.hexdigest()))
    inside = starts[(starts > first) & (starts < last)] - np.uint64(first)
    own = np.concatenate([np.zeros(int(last > first), dtype=OFFSET_DTYPE), inside]).astype(OFFSET_DTYPE)
    replace_file(directory / offsets_file(split), own.tobytes())
    return SplitIndex(
        dtype=files[0].dtype,
        tokens=last - first,
        documents=len(own),
        text_bytes=text_bytes,
        offsets_sha256=bytes_sha256(own.tobytes()),
        shards=tuple(shards),
    )
