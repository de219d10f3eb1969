"""Loading a checkpoint: verified before it is believed, and every misfit told at once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from hornbook.checkpoint.growth import grown
from hornbook.checkpoint.manifest import (
    MODEL,
    MODEL_FILE,
    MODEL_JSON,
    OPTIMIZER,
    OPTIMIZER_FILE,
    STATE_JSON,
    TOKENIZER_FOLDER,
    Manifest,
    read_manifest,
    read_object,
    verify_files,
)
from hornbook.checkpoint.pieces import Pieces
from hornbook.checkpoint.tensors import read_tensors
from hornbook.config.lora import LoraConfig
from hornbook.config.model import ModelConfig
from hornbook.config.table import Table
from hornbook.distributed.full_state import misfits
from hornbook.errors import CheckpointError
from hornbook.models.lora import add_lora, merged
from hornbook.models.transformer import Transformer
from hornbook.storage.run_dir import Kind, resolve_checkpoint
from hornbook.tokenizer.tokenizer import Tokenizer

T = TypeVar("T", bound=Table)


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
    lora: LoraConfig | None = None
    """Of the adapters among `weights`; None if there are none."""

    def plain(self) -> "Checkpoint":
        """The same without adapters, which are merged into the weights, and then without optimizer.

        Raises:
            CheckpointError: if the weights are not those of the model that it says it has.
        """
        if self.lora is None:
            return self
        with torch.device("meta"):
            model = Transformer(self.model_config)
            add_lora(model, self.lora)
        _check_fit(model, self.weights, self.path / MODEL_FILE)
        return replace(self, kind="light", weights=merged(self.weights, self.lora), optimizer=None, lora=None)


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
    model_config, objective, lora = _read_model_json(path / MODEL_JSON)
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
        lora=lora,
    )


def load_model(path: Path, *, device: str | torch.device = "cpu") -> tuple[Transformer, Tokenizer | None, Checkpoint]:
    """A model ready to use: built from model.json, weights loaded, on `device`, in evaluation mode; adapters merged.

    Raises:
        CheckpointError: as `load_checkpoint`, or if the weights do not fit the model.
    """
    checkpoint = load_checkpoint(path, with_optimizer=False).plain()
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
    _check_fit(model, weights, where)
    live = model.state_dict()
    with torch.no_grad():
        for name, tensor in weights.items():
            live[name].copy_(tensor)


def _check_fit(model: nn.Module, weights: Mapping[str, Tensor], where: Path | str) -> None:
    if problems := misfits(model.state_dict(), weights):
        raise CheckpointError(
            f"{where}: the weights do not fit the model: {'; '.join(problems)}. "
            "Build the model from the model.json beside them, or choose another checkpoint"
        )


# What a model computes from its weights, and no tensor's shape tells.
_READINGS = (
    *("n_heads", "n_kv_heads", "head_dim", "feed_forward", "norm", "norm_position", "position"),
    *("qk_norm", "scale_embeddings", "ngram_length"),
)


def start_from(model: Transformer, checkpoint: Checkpoint, *, tokens: int | None = None) -> None:
    """Give a new model the weights of `checkpoint`, made for another run; its adapters are merged.

    Dropout, context length, rope_theta, rope_scaling, norm_eps and a soft cap may differ: those are what tuning changes
    on purpose. So may the vocabulary, which may have grown, see `growth`.

    tokens: the ids that the new model's tokenizer has. Default: as many as the model has rows.

    Raises:
        CheckpointError: listing every setting or tensor that does not fit; then nothing was copied.
    """
    checkpoint = checkpoint.plain()
    theirs, ours = checkpoint.model_config, model.config
    weights, problems = _for_vocabulary(checkpoint, ours, ours.vocab_size if tokens is None else tokens)
    problems += misfits(model.state_dict(), weights)
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
    load_weights_into(model, weights, checkpoint.path)


def _for_vocabulary(checkpoint: Checkpoint, ours: ModelConfig, tokens: int) -> tuple[Mapping[str, Tensor], list[str]]:
    """The weights with a row for every token of a vocabulary that has grown, and why that cannot be done."""
    theirs = checkpoint.model_config
    known = theirs.vocab_size if checkpoint.tokenizer is None else checkpoint.tokenizer.vocab_size
    if ours.vocab_size < theirs.vocab_size or (ours.vocab_size == theirs.vocab_size and tokens <= known):
        return checkpoint.weights, []
    if theirs.ngram_length > 1 and ours.vocab_size != theirs.vocab_size:
        return checkpoint.weights, [
            f"model.vocab_size is {ours.vocab_size}, was {theirs.vocab_size}, and where the n-grams of "
            f"model.ngram_length = {theirs.ngram_length} lie depends on it"
        ]
    return grown(checkpoint.weights, known=known, tokens=tokens, rows=ours.vocab_size), []


def _tensors(path: Path, manifest: Manifest, file: str, prefix: str) -> Mapping[str, Tensor]:
    return Pieces((path / name for name in manifest.shards), prefix) if manifest.shards else read_tensors(path / file)


def _require(path: Path, manifest: Manifest) -> None:
    tensors = [] if manifest.shards else [MODEL_FILE] + [OPTIMIZER_FILE] * (manifest.kind == "full")
    needed = [*tensors, MODEL_JSON, STATE_JSON]
    absent = [name for name in needed if name not in manifest.files]
    if absent:
        raise CheckpointError(f"{path}: the manifest lists no {', '.join(absent)}; use another checkpoint")


def _read_model_json(path: Path) -> tuple[ModelConfig, dict[str, object], LoraConfig | None]:
    content = read_object(path)
    objective = content.get("objective")
    if not isinstance(objective, dict):
        raise CheckpointError(f"{path}: no objective; use another checkpoint")
    lora = content.get("lora")
    return (
        _known(path, "model", ModelConfig, content.get("model")),
        objective,
        None if lora is None else _known(path, "lora", LoraConfig, lora),
    )


def _known(path: Path, name: str, table: type[T], value: object) -> T:
    try:
        return table.model_validate_json(json.dumps(value))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or name}: {e['msg']}" for e in error.errors())
        raise CheckpointError(f"{path}: not a {name} that this version knows: {problems}") from error
