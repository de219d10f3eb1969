"""A checkpoint of ours as a directory that transformers loads."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from hornbook.checkpoint.load import Checkpoint
from hornbook.config.objective import BOUND_ALONE, likelihood_kind
from hornbook.interop.hf_layouts import biased_parts, config_to_hf, layout_for
from hornbook.interop.names import TABLES, expand, to_theirs
from hornbook.storage.atomic import commit_directory

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def export_hf(checkpoint: Checkpoint, out: Path, *, dtype: str = "float32") -> dict[str, object]:
    """Write the directory `out`, which must not exist, whole or not at all; returns what was written, for people.

    Raises:
        CheckpointError: listing what no layout of Hugging Face has.
        StorageError: if the disk refuses, or `out` exists.
    """
    config, weights = checkpoint.model_config, checkpoint.weights
    diffusion = likelihood_kind(checkpoint.objective) in BOUND_ALONE
    layout = layout_for(config, weights, diffusion=diffusion)
    theirs = to_theirs(weights, expand(TABLES[layout], config.n_layers))
    described = config_to_hf(layout, config, dtype=dtype, biases=biased_parts(weights), ids={})
    with commit_directory(out) as directory:
        save_file(
            {name: tensor.to(_DTYPES[dtype]) for name, tensor in theirs.items()},
            directory / "model.safetensors",
            metadata={"format": "pt"},
        )
        (directory / "config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        if checkpoint.tokenizer is not None:
            (directory / "tokenizer.json").write_text(checkpoint.tokenizer.to_hugging_face(), encoding="utf-8")
    return {"layout": layout, "dtype": dtype}
