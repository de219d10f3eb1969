"""Compressed files as blocks of bytes. What is good before a damage comes out; then the damage is told."""

import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from hornbook.errors import MissingExtraError

if TYPE_CHECKING:
    from zstandard import ZstdDecompressionObj

_READ_BYTES = 1 << 16
_GZIP = 31
"""zlib's word for: a gzip header and trailer around the data, a window as large as any."""

Item = TypeVar("Item")


def gunzipped(file: BinaryIO, block_bytes: int) -> Iterator[bytes]:
    """The members of a .gz file in a row, in blocks of at most `block_bytes`.

    Raises:
        EOFError: after the last block, if the file ends inside a member.
        zlib.error: after what could be read before it, if the file is damaged.
    """
    member, data = None, b""
    while data or (data := file.read(_READ_BYTES)):
        if member is None:
            if not (data := data.lstrip(b"\0")):  # zeros may fill up the file behind a member
                continue
            member = zlib.decompressobj(_GZIP)
        before = member.copy()
        try:
            block = member.decompress(data, block_bytes)
        except zlib.error:
            yield _until_damage(before, data)
            raise
        if block:
            yield block
        data = member.unconsumed_tail
        if member.eof:
            data, member = member.unused_data, None
    if member is not None:
        yield member.flush()
        raise EOFError


def _until_damage(member: "zlib._Decompress", data: bytes) -> bytes:
    """What zlib reads of damaged data: it drops all that one call gave when that fails, so here each byte is one."""
    good = bytearray()
    try:
        for i in range(len(data)):
            good += member.decompress(data[i : i + 1])
    except zlib.error:
        return bytes(good)
    return bytes(good)


def unzstd(file: BinaryIO) -> Iterator[bytes]:
    """The frames of a .zst file in a row. The library's own stream reader takes a truncated file for a whole one.

    Raises:
        EOFError: after the last block, if the file ends inside a frame.
        OSError: if the file is damaged.
        MissingExtraError: if zstandard is not installed.
    """
    try:
        import zstandard
    except ImportError:
        raise MissingExtraError(f"reading {file.name}", package="zstandard", extra="data") from None
    frame: ZstdDecompressionObj | None = None
    data = b""
    while data or (data := file.read(_READ_BYTES)):
        frame = frame or zstandard.ZstdDecompressor().decompressobj()
        try:
            block = frame.decompress(data)
        except zstandard.ZstdError as error:
            raise OSError(str(error)) from error
        if block:
            yield block
        data = b""
        if frame.eof:
            data, frame = frame.unused_data, None
    if frame is not None:
        raise EOFError


def ahead(items: Iterator[Item], *, count: int = 2) -> Iterator[Item]:
    """The same items, while a thread makes the next `count` of them: decompression takes no lock of Python's."""
    end = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="decompress")
    try:
        waiting = deque(pool.submit(next, items, end) for _ in range(count))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]  # the end has left
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
