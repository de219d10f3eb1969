"""torch.save, safetensors and torch.distributed.checkpoint, and bare bytes: tensors to files and back."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.checkpoint.state_dict_loader import load as load_dcp
from torch.distributed.checkpoint.state_dict_saver import save as save_dcp

Tensors = dict[str, Tensor]


def setup(settings: dict[str, Any]) -> tuple[Callable[[], None], Callable[[None], dict[str, Any]]]:
    """The same numbers as in ours; what a block saved is read back and removed when its time is taken."""
    rng = torch.Generator().manual_seed(1)
    tensors = {name: torch.randn(shape, generator=rng) for name, shape in settings["tensors"].items()}
    folder = Path(settings["folder"])
    write, read = FORMS[settings["form"]]

    def save() -> None:
        folder.mkdir(parents=True)
        write(folder, tensors)

    def load() -> None:
        read(folder, tensors)

    def checks(_: None) -> dict[str, Any]:
        if settings["work"] == "save":
            for tensor in tensors.values():
                tensor.zero_()
            load()
            shutil.rmtree(folder)
        return {"total": sum(tensor.sum(dtype=torch.float64).item() for tensor in tensors.values())}

    if settings["work"] == "load":
        save()
    return (save if settings["work"] == "save" else load), checks


def _copy(loaded: Tensors, tensors: Tensors) -> None:
    for name, tensor in loaded.items():
        tensors[name].copy_(tensor)


def _write_torch(folder: Path, tensors: Tensors) -> None:
    torch.save(tensors, folder / "checkpoint.pt")


def _read_torch(folder: Path, tensors: Tensors) -> None:
    _copy(torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True), tensors)


def _write_safetensors(folder: Path, tensors: Tensors) -> None:
    for part in ("model", "optimizer"):
        save_file({n: t for n, t in tensors.items() if n.startswith(part)}, folder / f"{part}.safetensors")


def _read_safetensors(folder: Path, tensors: Tensors) -> None:
    for part in ("model", "optimizer"):
        _copy(load_file(folder / f"{part}.safetensors"), tensors)


def _write_dcp(folder: Path, tensors: Tensors) -> None:
    save_dcp(dict(tensors), checkpoint_id=folder, no_dist=True)


def _read_dcp(folder: Path, tensors: Tensors) -> None:
    load_dcp(dict(tensors), checkpoint_id=folder, no_dist=True)


def _write_bytes(folder: Path, tensors: Tensors) -> None:
    with (folder / "bytes").open("wb") as file:
        for tensor in tensors.values():
            file.write(tensor.view(-1).view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())


def _read_bytes(folder: Path, tensors: Tensors) -> None:
    with (folder / "bytes").open("rb", buffering=0) as file:
        for tensor in tensors.values():
            file.readinto(tensor.view(-1).view(torch.uint8).numpy().data)


FORMS = {
    "bytes": (_write_bytes, _read_bytes),
    "torch.save": (_write_torch, _read_torch),
    "safetensors": (_write_safetensors, _read_safetensors),
    "torch DCP": (_write_dcp, _read_dcp),
}
