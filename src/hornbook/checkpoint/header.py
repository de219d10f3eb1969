"""What a safetensors file says about itself, read without torch or numpy.

A file is 8 bytes (N, little-endian), N bytes of JSON {name: {dtype, shape, data_offsets: [begin, end]}}, then the data.
https://huggingface.co/docs/safetensors/index#format
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hornbook.errors import CheckpointError

# The library's own limit: a longer header is damage, not data.
_LONGEST_HEADER = 100_000_000


@dataclass(frozen=True, kw_only=True)
class TensorRecord:
    """One tensor of a file: `dtype` in safetensors' words (F32, BF16, I64, ...)."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def size(self) -> int:
        """Number of elements; 1 for a scalar."""
        return math.prod(self.shape)


def read_header(path: Path) -> dict[str, TensorRecord]:
    """The tensors of a safetensors file by name, in the order of their data.

    Raises:
        CheckpointError: if the header is damaged, or its tensors do not fill the file exactly.
    """
    try:
        length, content = _content(path)
        records = {name: _parse(record) for name, record in content.items() if name != "__metadata__"}
        _check_layout(records, data_bytes=path.stat().st_size - 8 - length)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged safetensors header: {error}; use another checkpoint") from error
    return dict(sorted(records.items(), key=lambda item: item[1].begin))


def read_metadata(path: Path) -> dict[str, str]:
    """What else the writer of a safetensors file has put into its header.

    Raises:
        CheckpointError: if the header is damaged.
    """
    try:
        found = _content(path)[1].get("__metadata__", {})
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged safetensors header: {error}; use another checkpoint") from error
    return {str(name): str(value) for name, value in found.items()}


def _content(path: Path) -> tuple[int, dict[str, Any]]:
    """The header's length in bytes, and what it says."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= _LONGEST_HEADER else b""
    return length, json.loads(text)


def _parse(record: object) -> TensorRecord:
    match record:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
            return TensorRecord(dtype=dtype, shape=tuple(int(str(n)) for n in shape), begin=begin, end=end)
    raise ValueError(f"a tensor is described as {record}")


def _check_layout(records: Mapping[str, TensorRecord], *, data_bytes: int) -> None:
    at = 0
    for name, record in sorted(records.items(), key=lambda item: (item[1].begin, item[1].end)):
        if record.begin != at or record.end < record.begin:
            raise ValueError(f"{name} lies at bytes {record.begin} to {record.end}, expected to begin at {at}")
        at = record.end
    if at != data_bytes:
        raise ValueError(f"tensors take {at} bytes, the file holds {data_bytes}")
