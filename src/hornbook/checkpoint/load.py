"""Loading a checkpoint: verified before it is believed, and every misfit told at once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from hornbook.checkpoint.manifest import (
    MODEL_FILE,
    MODEL_JSON,
    OPTIMIZER_FILE,
    STATE_JSON,
    TOKENIZER_FOLDER,
    Manifest,
    read_manifest,
    read_object,
    verify_files,
)
from hornbook.checkpoint.pieces import MODEL, OPTIMIZER, Pieces
from hornbook.checkpoint.tensors import read_tensors
from hornbook.config.model import ModelConfig
from hornbook.distributed.full_state import misfits
from hornbook.errors import CheckpointError
from hornbook.models.transformer import Transformer
from hornbook.storage.run_dir import Kind, resolve_checkpoint
from hornbook.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that a checkpoint holds; tensors on the CPU. `optimizer` is None in light ones or when not asked for.

    Those of a sharded one are read whenever they are asked for.
    """

    path: Path
    step: int
    kind: Kind
    model_config: ModelConfig
    objective: dict[str, object]
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor] | None
    state: dict[str, object]
    tokenizer: Tokenizer | None


def load_checkpoint(path: Path, *, verify: bool = True, with_optimizer: bool = True) -> Checkpoint:
    """Read a checkpoint; `path` is anything that `resolve_checkpoint` takes: a run, checkpoints/ or a checkpoint.

    Sizes are always checked and digests unless `verify` is false. Without `with_optimizer` its file, two thirds of a
    full checkpoint, is neither read nor verified; a sharded one has none of its own, and is verified whole.

    Raises:
        CheckpointError: if it is incomplete, damaged or of another format; broken files are named.
    """
    path = resolve_checkpoint(path)
    manifest = read_manifest(path)
    names = set(manifest.files) - (set() if with_optimizer else {OPTIMIZER_FILE})
    has_optimizer = with_optimizer and manifest.kind == "full"
    _require(path, manifest)
    verify_files(path, manifest, names=names, digests=verify)
    model_config, objective = _read_model_json(path / MODEL_JSON)
    has_tokenizer = any(name.startswith(f"{TOKENIZER_FOLDER}/") for name in names)
    return Checkpoint(
        path=path,
        step=manifest.step,
        kind=manifest.kind,
        model_config=model_config,
        objective=objective,
        weights=_tensors(path, manifest, MODEL_FILE, MODEL),
        optimizer=_tensors(path, manifest, OPTIMIZER_FILE, OPTIMIZER) if has_optimizer else None,
        state=read_object(path / STATE_JSON),
        tokenizer=Tokenizer.load(path / TOKENIZER_FOLDER) if has_tokenizer else None,
    )


def load_model(path: Path, *, device: str | torch.device = "cpu") -> tuple[Transformer, Tokenizer | None, Checkpoint]:
    """A model ready to use: built from model.json, weights loaded, on `device`, in evaluation mode.

    Raises:
        CheckpointError: as `load_checkpoint`, or if the weights do not fit the model.
    """
    checkpoint = load_checkpoint(path, with_optimizer=False)
    with torch.device("meta"):  # initial weights would be drawn in vain
        model = Transformer(checkpoint.model_config)
    model.to_empty(device=device)
    load_weights_into(model, checkpoint.weights, checkpoint.path / MODEL_FILE)
    return model.eval(), checkpoint.tokenizer, checkpoint


def load_weights_into(model: nn.Module, weights: Mapping[str, Tensor], where: Path | str) -> None:
    """Copy weights into a model in place, keeping its devices and dtypes; `where` is named in errors.

    Raises:
        CheckpointError: listing every missing, unexpected and mis-shaped tensor; then nothing was copied.
    """
    live = model.state_dict()
    problems = misfits(live, weights)
    if problems:
        raise CheckpointError(
            f"{where}: the weights do not fit the model: {'; '.join(problems)}. "
            "Build the model from the model.json beside them, or choose another checkpoint"
        )
    with torch.no_grad():
        for name, tensor in weights.items():
            live[name].copy_(tensor)


# What a model computes from its weights, and no tensor's shape tells.
_READINGS = (
    *("n_heads", "n_kv_heads", "head_dim", "feed_forward", "norm", "norm_position", "position"),
    *("qk_norm", "scale_embeddings", "ngram_length"),
)


def start_from(model: Transformer, checkpoint: Checkpoint) -> None:
    """Give a new model the weights of `checkpoint`, made for another run.

    Dropout, context length, rope_theta, norm_eps and a soft cap may differ: those are what tuning changes on purpose.

    Raises:
        CheckpointError: listing every setting or tensor that does not fit; then nothing was copied.
    """
    theirs, ours = checkpoint.model_config, model.config
    problems = misfits(model.state_dict(), checkpoint.weights)
    problems += [
        f"model.{name} is {getattr(ours, name)!r}, was {getattr(theirs, name)!r}"
        for name in _READINGS
        if getattr(ours, name) != getattr(theirs, name)
    ]
    if problems:
        raise CheckpointError(
            f"model.init_from = {checkpoint.path}: its weights are of another model: {'; '.join(problems)}. "
            f"Set [model] as {checkpoint.path / MODEL_JSON} has it"
        )
    load_weights_into(model, checkpoint.weights, checkpoint.path)


def _tensors(path: Path, manifest: Manifest, file: str, prefix: str) -> Mapping[str, Tensor]:
    return Pieces((path / name for name in manifest.shards), prefix) if manifest.shards else read_tensors(path / file)


def _require(path: Path, manifest: Manifest) -> None:
    tensors = [] if manifest.shards else [MODEL_FILE] + [OPTIMIZER_FILE] * (manifest.kind == "full")
    needed = [*tensors, MODEL_JSON, STATE_JSON]
    absent = [name for name in needed if name not in manifest.files]
    if absent:
        raise CheckpointError(f"{path}: the manifest lists no {', '.join(absent)}; use another checkpoint")


def _read_model_json(path: Path) -> tuple[ModelConfig, dict[str, object]]:
    content = read_object(path)
    model, objective = content.get("model"), content.get("objective")
    if not isinstance(objective, dict):
        raise CheckpointError(f"{path}: no objective; use another checkpoint")
    try:
        return ModelConfig.model_validate_json(json.dumps(model)), objective
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'model'}: {e['msg']}" for e in error.errors())
        raise CheckpointError(f"{path}: not a model that this version knows: {problems}") from error
