"""Tensor files: bit for bit, and the bytes of the safetensors library."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hornbook.checkpoint.header import read_header
from hornbook.checkpoint.tensors import read_tensors, tensors_sha256, write_tensors
from hornbook.errors import CheckpointError
from hornbook.storage.digest import file_sha256
from hornbook.storage.disk import StorageError

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def some_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"{dtype}-{shape}": (torch.randn(shape, generator=generator) * 10).to(dtype)
        for dtype in DTYPES
        for shape in ((), (0, 3), (5,), (3, 4), (2, 1, 3))
    }
    tensors["Größe/exp_avg"] = torch.tensor([float("nan"), float("inf"), -0.0])
    return tensors


def test_every_dtype_and_shape_returns_bit_for_bit(tmp_path: Path) -> None:
    written = some_tensors()
    write_tensors(tmp_path / "a", written)
    read = read_tensors(tmp_path / "a")
    assert read.keys() == written.keys()
    for name, tensor in written.items():
        assert read[name].dtype == tensor.dtype, name
        assert read[name].shape == tensor.shape, name
        assert bits(read[name]) == bits(tensor), name


def test_same_bytes_as_the_library(tmp_path: Path) -> None:
    write_tensors(tmp_path / "ours", some_tensors())
    save_file(some_tensors(), tmp_path / "library", metadata={"format": "pt"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "library").read_bytes()


def test_bytes_do_not_depend_on_the_order_of_names(tmp_path: Path) -> None:
    tensors = some_tensors()
    assert tensors_sha256(tensors) == tensors_sha256(dict(reversed(tensors.items())))


def test_digest_without_writing(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", some_tensors())
    assert tensors_sha256(some_tensors()) == file_sha256(tmp_path / "a")


def test_strided_and_trained_tensors(tmp_path: Path) -> None:
    grid = torch.arange(12.0).view(3, 4)
    tensors = {
        "transposed": grid.t(),
        "column": grid[:, 1],
        "every second": grid[:, ::2],
        "expanded": torch.tensor([1.0]).expand(3),
        "trained": torch.nn.Parameter(grid),
    }
    write_tensors(tmp_path / "a", tensors)
    for name, tensor in read_tensors(tmp_path / "a").items():
        assert torch.equal(tensor, tensors[name]), name


def test_no_tensors(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", {})
    assert read_tensors(tmp_path / "a") == {}


def test_header_without_torch_agrees(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", {"b": torch.zeros(2, 3, dtype=torch.bfloat16), "a": torch.tensor(1)})
    records = read_header(tmp_path / "a")
    assert {name: (record.dtype, record.shape, record.size) for name, record in records.items()} == {
        "a": ("I64", (), 1),
        "b": ("BF16", (2, 3), 6),
    }


def file_of(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01\x02",
        b"\xff" * 64,
        (1 << 40).to_bytes(8, "little") + b"{}",
        file_of(b"{]"),
        file_of([]),
        file_of({"a": 1}),
        file_of({"a": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 4]}}, b"1234"),
        file_of({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"123"),
        file_of({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"12345"),
        file_of({"a": {"dtype": "F32", "shape": [1], "data_offsets": [1, 5]}}, b"12345"),
        file_of({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234"),
        file_of({"a": {"dtype": "nonsense", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
    ],
)
def test_damage_names_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: .*use another checkpoint"):
        read_tensors(tmp_path / "model.safetensors")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        read_tensors(tmp_path / "a")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_disk() -> None:
    with pytest.raises(StorageError, match="disk is full"):
        write_tensors(Path("/dev/full"), {"a": torch.zeros(100_000)})


def test_device_error_while_opening(tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError, match="read-only"):
        write_tensors(tmp_path / "a", {})
