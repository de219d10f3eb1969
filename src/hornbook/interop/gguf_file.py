"""The container of a GGUF file: metadata and tensors, read without believing a length that the file cannot hold.

    "GGUF", version, counts | key, type, value ... | name, shape, type, offset ... | padding | tensors

Numbers are little-endian. A tensor's shape is written from the fastest axis to the slowest, and is turned round here.
Numbers in blocks (Q8_0, Q4_K and their kin) are made float32 by the package `gguf`.
Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import importlib
import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hornbook.errors import CheckpointError, MissingExtraError

VERSIONS = (2, 3)
_SCALARS = {
    0: "u1",
    1: "i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "u1",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_FLOAT32, _BOOL, _STRING, _ARRAY = 6, 7, 8, 9
_MAX_DIMENSIONS = 4


@dataclass(frozen=True)
class GgufTensor:
    """One tensor as it lies in the file."""

    shape: tuple[int, ...]
    """From the slowest axis to the fastest, as torch has it."""
    kind: str
    """F32, F16, BF16, Q8_0, ..."""
    load: Callable[[], Tensor]
    """Reads it, as float32."""


@dataclass(frozen=True)
class GgufFile:
    """The content of a file; tensors are read when they are loaded."""

    path: Path
    metadata: Mapping[str, Any]
    """Key -> bool, int, float, str, or a list of those."""
    tensors: Mapping[str, GgufTensor]


def gguf_package() -> ModuleType:
    """The package `gguf`.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        return importlib.import_module("gguf")
    except ImportError:
        raise MissingExtraError("a GGUF file", package="gguf", extra="gguf") from None


def read_gguf(path: Path) -> GgufFile:
    """Metadata and tensors of a file.

    Raises:
        CheckpointError: if it is missing, damaged, cut off, one part of several, or of a version or type that we do not
            know.
        MissingExtraError: if the package `gguf` is not installed.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: an empty file
        raise CheckpointError(f"{path}: cannot be read ({error}); expected a GGUF file") from None
    content = _Content(path, data)
    if content.take(4) != b"GGUF":
        raise CheckpointError(f"{path}: not a GGUF file (it does not begin with GGUF)")
    version = content.number("<u4")
    if version not in VERSIONS:
        raise CheckpointError(
            f"{path}: GGUF version {version}; expected {' or '.join(map(str, VERSIONS))}, little-endian"
        )
    n_tensors, n_keys = content.number("<u8"), content.number("<u8")
    metadata: dict[str, Any] = {}
    for _ in range(n_keys):
        key = content.text()
        metadata[key] = content.value(content.number("<u4"))
    if metadata.get("split.count", 0) not in (0, 1):
        raise CheckpointError(
            f"{path}: one of {metadata['split.count']} files of a model; join them first with llama-gguf-split --merge"
        )
    listed = {content.text(): content.tensor() for _ in range(n_tensors)}
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1:
        raise CheckpointError(f"{path}: general.alignment = {alignment!r}; expected a positive integer")
    start = -(-content.at // alignment) * alignment
    tensors = {name: _tensor(content, name, start, *found) for name, found in listed.items()}
    return GgufFile(path, metadata, tensors)


class _Content:
    """A cursor in the file that never goes beyond its end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.at = path, data, 0

    def take(self, n_bytes: int) -> bytes:
        if n_bytes > len(self.data) - self.at:
            raise CheckpointError(
                f"{self.path}: asks for {n_bytes:,} bytes at {self.at:,} of {len(self.data):,}; the file is cut off or "
                "damaged: fetch it again"
            )
        self.at += n_bytes
        return self.data[self.at - n_bytes : self.at]

    def number(self, kind: str) -> int:
        return int(np.frombuffer(self.take(np.dtype(kind).itemsize), kind)[0])

    def text(self) -> str:
        start, data = self.at, self.take(self.number("<u8"))
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise CheckpointError(
                f"{self.path}: the text at byte {start:,} is not UTF-8; the file is damaged"
            ) from None

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            inner, count = self.number("<u4"), self.number("<u8")
            if inner == _STRING:
                return [self.text() for _ in range(count)]
            return self._numbers(inner, count)
        return self._numbers(kind, 1)[0]

    def _numbers(self, kind: int, count: int) -> list[Any]:
        if kind not in _SCALARS:
            raise CheckpointError(f"{self.path}: a value of type {kind} at byte {self.at:,}; the file is damaged")
        dtype = np.dtype(_SCALARS[kind])
        numbers = np.frombuffer(self.take(dtype.itemsize * count), dtype)
        values: list[Any] = numbers.tolist()
        if kind == _BOOL:
            return [value != 0 for value in values]
        # 1e-05 and not 9.999999747378752e-06: a float32 is told by as many digits as it has.
        return [float(str(number)) for number in numbers] if kind == _FLOAT32 else values

    def tensor(self) -> tuple[tuple[int, ...], int, int]:
        """Shape, type and offset of the next tensor."""
        n_dimensions = self.number("<u4")
        if n_dimensions > _MAX_DIMENSIONS:
            raise CheckpointError(f"{self.path}: a tensor of {n_dimensions} dimensions; the file is damaged")
        shape = struct.unpack(f"<{n_dimensions}Q", self.take(8 * n_dimensions))
        return shape[::-1], self.number("<u4"), self.number("<u8")


def _tensor(content: _Content, name: str, start: int, shape: tuple[int, ...], kind: int, offset: int) -> GgufTensor:
    gguf = gguf_package()
    try:
        quantisation = gguf.GGMLQuantizationType(kind)
        block, n_bytes = gguf.GGML_QUANT_SIZES[quantisation]
    except (ValueError, KeyError):
        raise CheckpointError(
            f"{content.path}: {name}: numbers of type {kind}, which this version of the package gguf does not know"
        ) from None
    width, n_rows = shape[-1] if shape else 1, 1
    for size in shape[:-1]:
        n_rows *= size
    if width % block:
        raise CheckpointError(
            f"{content.path}: {name}: rows of {width} numbers in blocks of {block}; the file is damaged"
        )
    row_bytes = width // block * n_bytes
    if start + offset + n_rows * row_bytes > len(content.data):
        raise CheckpointError(
            f"{content.path}: {name}: ends at byte {start + offset + n_rows * row_bytes:,} of {len(content.data):,}; "
            "the file is cut off or damaged: fetch it again"
        )

    def load() -> Tensor:
        raw = np.frombuffer(content.data, np.uint8, n_rows * row_bytes, start + offset).reshape(n_rows, row_bytes)
        try:
            numbers = gguf.quants.dequantize(raw, quantisation)
        except NotImplementedError:
            raise CheckpointError(
                f"{content.path}: {name}: numbers of type {quantisation.name} cannot be read; use a file of type F32, "
                "BF16, F16, Q8_0 or a K-quant"
            ) from None
        return torch.from_numpy(np.array(numbers, np.float32).reshape(shape))

    return GgufTensor(shape, quantisation.name, load)
