"""A GGUF file as a checkpoint of ours: weights of any type that the package `gguf` makes float32 of.

What our model cannot compute exactly, and tensors that nobody asked for, are errors that name it.
"""

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from hornbook.config.model import ModelConfig
from hornbook.config.objective import ObjectiveConfig
from hornbook.errors import CheckpointError
from hornbook.interop.foreign_shapes import shapes_of
from hornbook.interop.gguf_file import GgufFile, read_gguf
from hornbook.interop.gguf_layouts import config_from_metadata, rules_of, turned
from hornbook.interop.gguf_rope import FACTORS
from hornbook.interop.gguf_tokenizer import PREFIX, tokenizer_from_fields
from hornbook.interop.imported import NEXT_TOKEN, Imported
from hornbook.interop.names import expand, to_ours
from hornbook.tokenizer.tokenizer import Tokenizer

_BIAS = "attn_q.bias", "attn_qkv.bias", "attn_output.bias", "ffn_up.bias"


def import_gguf(path: Path, *, tokenizer: Path | None = None) -> Imported:
    """The model of a file, in our terms.

    tokenizer: a tokenizer's file or directory, in place of the one in the file.

    Raises:
        CheckpointError: if the file is damaged, or holds a model that we do not compute.
        TokenizerError: if its tokenizer is damaged, or of a kind that we do not have.
        MissingExtraError: if a package that this needs is not installed.
    """
    file = read_gguf(path)
    config, weights = weights_of(file)
    notes: list[str] = []
    if tokenizer is not None:
        ours: Tokenizer | None = Tokenizer.load(tokenizer)
    elif f"{PREFIX}model" in file.metadata:
        ours, notes = tokenizer_from_fields(file.metadata, str(path))
    else:
        ours, notes = None, ["it has no tokenizer: give one by --tokenizer to read and write text"]
    if ours is not None and ours.vocab_size > config.vocab_size:
        raise CheckpointError(f"{path}: the tokenizer has {ours.vocab_size} ids, the model only {config.vocab_size}")
    kinds = sorted({tensor.kind for tensor in file.tensors.values()})
    return Imported(
        model_config=config,
        weights=weights,
        tokenizer=ours,
        objective=_objective(file),
        source=f"{path} ({file.metadata['general.architecture']}, {', '.join(kinds)})",
        notes=tuple(notes),
    )


def weights_of(file: GgufFile) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The shape of a file's model and its float32 weights by our names; biases that it lacks are zeros.

    Raises:
        CheckpointError: if the file holds a model that we do not compute, or tensors that such a model does not have.
    """
    config = _config(file)
    if config.n_layers > len(file.tensors):
        raise CheckpointError(
            f"{file.path}: {config.n_layers} layers in {len(file.tensors)} tensors; the file is damaged"
        )
    architecture = file.metadata["general.architecture"]
    theirs = {name: tensor.load() for name, tensor in file.tensors.items() if name != FACTORS}
    try:
        shapes = shapes_of(config)
        ours, unknown = to_ours(
            theirs, expand(rules_of(architecture), config.n_layers), rows_of=lambda name: shapes[name][0]
        )
    except CheckpointError as error:
        raise CheckpointError(f"{file.path}: {error}") from None
    if unknown:
        raise CheckpointError(
            f"{file.path}: tensors that no {architecture} model of ours has: {', '.join(unknown[:6])}"
        )
    if config.bias:
        ours = {name: torch.zeros(shape) for name, shape in shapes.items() if name.endswith(".bias")} | ours
    return config, turned(ours, config, architecture, back=True)


def _config(file: GgufFile) -> ModelConfig:
    has_bias = any(name.endswith(_BIAS) for name in file.tensors)
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise CheckpointError(f"{file.path}: token_embd.weight is missing; expected a language model")
    try:
        settings = config_from_metadata(
            file.metadata,
            is_tied="output.weight" not in file.tensors,
            has_bias=has_bias,
            factors=file.tensors[FACTORS].load() if FACTORS in file.tensors else None,
        )
        return ModelConfig(vocab_size=embedding.shape[0], **settings)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'shape'}: {e['msg']}" for e in error.errors())
        raise CheckpointError(f"{file.path}: {problems}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{file.path}: {error}") from None


def _objective(file: GgufFile) -> dict[str, object]:
    """What the model was trained with: what a file of ours says, else masking for llada, else the next token."""
    written = file.metadata.get("hornbook.objective")
    if written is None:
        if file.metadata["general.architecture"] == "llada":
            return {"kind": "masked_diffusion"}
        return NEXT_TOKEN
    try:
        objective: Any = json.loads(written)
        TypeAdapter(ObjectiveConfig).validate_python(objective)
    except (ValueError, TypeError, RecursionError) as error:  # of json, of no text, and of pydantic
        raise CheckpointError(f"{file.path}: hornbook.objective is damaged ({error})") from None
    return dict(objective)
