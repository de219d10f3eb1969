"""A model that came from elsewhere, and the checkpoint of ours that it becomes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hornbook.checkpoint.load import Checkpoint
from hornbook.checkpoint.save import consolidate
from hornbook.config.model import ModelConfig
from hornbook.config.objective import NextTokenConfig
from hornbook.distributed.full_state import misfits
from hornbook.errors import CheckpointError
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

NEXT_TOKEN: dict[str, object] = NextTokenConfig().model_dump(mode="json")
"""The objective of an ordinary language model, as checkpoints hold it."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What the files of another system hold, in our terms."""

    model_config: ModelConfig
    weights: Mapping[str, Tensor]
    """Float32, by our names."""
    tokenizer: Tokenizer | None
    """None where the source has none; such a checkpoint cannot read or write text."""
    objective: Mapping[str, object]
    """What the model was trained with, as checkpoints hold it; NEXT_TOKEN for ordinary ones."""
    source: str
    """Where it came from, for people."""
    notes: tuple[str, ...] = ()
    """What people should know of it, a sentence each."""


def save_imported(imported: Imported, out: Path) -> Path:
    """Write a light checkpoint of step 0 at `out`, a directory that must not exist; returns where it stands.

    Raises:
        CheckpointError: listing every tensor that is missing, unexpected or of another shape.
        StorageError: if the disk refuses, or `out` exists.
    """
    config = imported.model_config
    with torch.device("meta"):
        model = Transformer(config)
    if problems := misfits(model.state_dict(), imported.weights):
        raise CheckpointError(f"{imported.source}: the weights do not fit the configuration: {'; '.join(problems)}")
    checkpoint = Checkpoint(
        path=out,
        step=0,
        kind="light",
        model_config=config,
        objective=dict(imported.objective),
        weights=imported.weights,
        optimizer=None,
        state={"imported_from": imported.source},
        tokenizer=imported.tokenizer,
    )
    return consolidate(checkpoint, out)
