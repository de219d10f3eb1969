"""What `hornbook bench checkpoint` compares: writing and reading all that a training run must keep.

    hornbook         a full checkpoint: digests of every file, synced, renamed into place; loading verifies the digests
    bytes            as many bytes to one file, synced, and back: what no checkpoint can beat here
    torch.save       one file by torch's own pickled format, not synced
    safetensors      a file of weights and one of optimizer state, by the library, not synced
    torch DCP        torch.distributed.checkpoint in one process, which syncs its files

All hold the same float32 weights and the two moments of AdamW. Loading ends with every number copied into the tensors
of a live model and optimizer, so that nobody leaves the reading of a mapped file for later. `total equal` compares
the sums of what was loaded. Files are read out of the system's cache, where writing has left them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from hornbook.benchmarks.harness import Case
from hornbook.benchmarks.side import Side
from hornbook.config.model import ModelConfig, ModelTable
from hornbook.models.transformer import Transformer
from hornbook.storage.cores import available_cores

Work = Literal["save", "load"]
WORKS: tuple[Work, ...] = ("save", "load")
MOMENTS = ("exp_avg", "exp_avg_sq")
BYTES = "bytes"
PEERS = (BYTES, "torch.save", "safetensors", "torch DCP")
SHAPES = {
    "25M": ModelTable(n_layers=6, d_model=512, n_heads=8, context_length=1024).complete(vocab_size=8192),
    "124M": ModelTable(n_layers=12, d_model=768, n_heads=12, context_length=1024).complete(vocab_size=50_304),
}
QUICK = ModelTable(n_layers=1, d_model=32, n_heads=2, context_length=16).complete(vocab_size=65)
"""For trying the command out: seconds."""


def saving_cases(
    shapes: Mapping[str, ModelConfig], directory: Path, *, works: Sequence[Work] = WORKS
) -> Iterator[Case]:
    """Each model, saved and loaded; every side has a folder of its own below `directory`."""
    for name, config in shapes.items():
        tensors = _shapes_of(config)
        n_bytes = 4 * sum(torch.Size(shape).numel() for shape in tensors.values())
        for work in works:
            settings = {"work": work, "model": config.model_dump(mode="json"), "tensors": tensors}
            yield Case(
                name=f"{work} checkpoint {name}",
                note=f"{n_bytes / 1e6:,.0f} MB of weights and optimizer state in {len(tensors)} tensors",
                unit="MB",
                amount=n_bytes / 1e6,
                equal={"total": 0},
                sides=[
                    _side("hornbook", "hornbook_checkpoint.py", {**settings, **_folder(directory, work, "hornbook")}),
                    *(
                        _side(peer, "peer_checkpoint.py", {**settings, "form": peer, **_folder(directory, work, peer)})
                        for peer in PEERS
                    ),
                ],
            )


def _shapes_of(config: ModelConfig) -> dict[str, list[int]]:
    """Name of each tensor of a full checkpoint, as "model/NAME" and "optimizer/NAME/KEY", with its shape."""
    with torch.device("meta"):
        weights = Transformer(config).state_dict()
    model = {f"model/{name}": list(tensor.shape) for name, tensor in weights.items()}
    state = {f"optimizer/{name}/{key}": list(weights[name].shape) for name in weights for key in MOMENTS}
    return {**model, **state}


def _folder(directory: Path, work: Work, side: str) -> dict[str, Any]:
    return {"folder": str(directory / f"{work}-{side.replace(' ', '-')}")}


def _side(name: str, file: str, settings: Mapping[str, Any]) -> Side:
    return Side(name=name, file=file, settings=settings, threads=available_cores())
