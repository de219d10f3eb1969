"""A reader of W&B's offline files, of which its Python package has none: LevelDB's log, records by W&B's own schema.

A header of 7 bytes, then blocks of 32 KiB. A block holds chunks of crc32 (4 bytes), length (2), kind (1) and data; a
record is one whole chunk (kind 1) or a first, middle and last one (2, 3, 4). The crc is of kind and data.
"""

import json
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

_BLOCK = 32 * 1024
_HEADER = struct.Struct("<4sHB")
_CHUNK = struct.Struct("<IHB")


def records(path: Path) -> list[object]:
    """The records of a finished run's .wandb file, wandb_internal_pb2.Record each.

    W&B writes them in a process of its own, which may still be at it for a moment after `finish`; "exit" is among the
    last of them.
    """
    until = time.monotonic() + 30
    while True:
        found = _written(path)
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        assert time.monotonic() < until, f"{path}: W&B has not finished writing: {len(found)} records"
        time.sleep(0.02)


def _written(path: Path) -> list[object]:
    from wandb.proto import wandb_internal_pb2

    return [wandb_internal_pb2.Record.FromString(data) for data in _payloads(path.read_bytes())]


def _payloads(file: bytes) -> Iterator[bytes]:
    assert _HEADER.unpack_from(file)[0] == b":W&B"
    position, parts = _HEADER.size, b""
    while position + _CHUNK.size <= len(file):
        left = _BLOCK - position % _BLOCK
        if left < _CHUNK.size:  # too little for a chunk's head: padding
            position += left
            continue
        crc, length, kind = _CHUNK.unpack_from(file, position)
        position += _CHUNK.size
        if position + length > len(file):
            return
        data = file[position : position + length]
        position += length
        assert zlib.crc32(bytes([kind]) + data) == crc
        parts += data
        if kind in (1, 4):
            yield parts
            parts = b""


def rows(path: Path) -> list[dict[str, object]]:
    """What was logged, call by call, W&B's own columns (which begin with _) left out."""
    found = [record.history for record in records(path) if record.WhichOneof("record_type") == "history"]
    rows = [{item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in row.item} for row in found]
    return [{key: value for key, value in row.items() if not key.startswith("_")} for row in rows]
