"""Ours: a full checkpoint, saved and loaded as training does."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hornbook.checkpoint.load import load_checkpoint
from hornbook.checkpoint.save import place_of_step, save_checkpoint
from hornbook.config.model import ModelConfig

PARTS = ("model/", "optimizer/")


def setup(settings: dict[str, Any]) -> tuple[Callable[[], Path], Callable[[Path], dict[str, Any]]]:
    """The same numbers as in the peers; what a block saved is read back and removed when its time is taken."""
    config = ModelConfig.model_validate_json(json.dumps(settings["model"]))
    rng = torch.Generator().manual_seed(1)
    tensors = {name: torch.randn(shape, generator=rng) for name, shape in settings["tensors"].items()}
    folder, step = Path(settings["folder"]), 0

    def save() -> Path:
        nonlocal step
        step += 1
        weights, optimizer = ({n[len(part) :]: t for n, t in tensors.items() if n.startswith(part)} for part in PARTS)
        return save_checkpoint(
            folder,
            step=step,
            kind="full",
            model_config=config,
            objective={"kind": "next_token"},
            weights=weights,
            optimizer=optimizer,
            state={"step": step},
            tokenizer=None,
        )

    def load(path: Path) -> None:
        checkpoint = load_checkpoint(path)
        assert checkpoint.optimizer is not None
        for part, loaded in zip(PARTS, (checkpoint.weights, checkpoint.optimizer), strict=True):
            for name, tensor in loaded.items():
                tensors[part + name].copy_(tensor)

    def checks(path: Path) -> dict[str, Any]:
        if settings["work"] == "save":
            _clear(tensors)
            load(path)
            shutil.rmtree(path)
        return {"total": _total(tensors)}

    if settings["work"] == "save":
        return save, checks
    saved = place_of_step(folder, 1)
    save()

    def block() -> Path:
        load(saved)
        return saved

    return block, checks


def _clear(tensors: dict[str, Tensor]) -> None:
    for tensor in tensors.values():
        tensor.zero_()


def _total(tensors: dict[str, Tensor]) -> float:
    return sum(tensor.sum(dtype=torch.float64).item() for tensor in tensors.values())
