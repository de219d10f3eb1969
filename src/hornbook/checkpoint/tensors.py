"""Tensors to and from safetensors files.

Reading is the safetensors library's. Writing is ours, for three reasons: no second copy of all tensors in memory,
errors of the disk stay errors that name their cause, and the digest of what would be written can be had without writing
it. The bytes are the library's own: tensors stand in the order of `_DTYPES`, wide ones first, which aligns them all.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hornbook.checkpoint.header import read_header
from hornbook.errors import CheckpointError
from hornbook.storage.disk import explained
from hornbook.storage.faults import crash_point

_DTYPES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ORDER = list(_DTYPES)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors of any device and stride; not atomic by itself: `commit_directory` is.

    Raises:
        StorageError: if the disk refuses.
    """
    with explained(path), path.open("wb") as file:
        for piece in _pieces(tensors):
            file.write(piece)
            crash_point("checkpoint:tensor")


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The digest of the file that `write_tensors` would write."""
    digest = hashlib.sha256()
    for piece in _pieces(tensors):
        digest.update(piece)
    return digest.hexdigest()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, on the CPU, bit for bit as they were written.

    Raises:
        CheckpointError: if the file is missing or damaged.
    """
    read_header(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors: {error}; use another checkpoint") from error


def _pieces(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The file's content: its header, then one piece a tensor. Tensors that are read when asked for come one by one."""
    shells = [(name, tensor.to("meta")) for name, tensor in tensors.items()]  # all but the numbers
    ordered = sorted(shells, key=lambda item: (_ORDER.index(item[1].dtype), item[0]))
    yield _header(ordered)
    for name, _ in ordered:
        # Tensors are little-endian in memory on every platform that torch supports, as they are in the file.
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        yield flat.view(torch.uint8).numpy().data


def _header(tensors: Iterable[tuple[str, Tensor]]) -> bytes:
    # Other readers (transformers) want to be told which framework wrote the file.
    content: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, tensor in tensors:
        end = at + tensor.numel() * tensor.element_size()
        content[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
