"""What readers of other projects' checkpoints share: names, shapes that are checked, and the order of rotary rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from hornbook.config.model import ModelConfig
from hornbook.errors import CheckpointError
from hornbook.interop.imported import NEXT_TOKEN, Imported
from hornbook.interop.names import Rule, expand, to_ours
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

_PREFIXES = ("_orig_mod.", "module.")
"""What compilation and data-parallel wrappers put before names."""


def model_config(where: str, **settings: object) -> ModelConfig:
    """A ModelConfig of these settings.

    Raises:
        CheckpointError: listing those that cannot be; `where` they come from stands in front.
    """
    try:
        return ModelConfig.model_validate({"init": "gpt2", **settings})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'shape'}: {e['msg']}" for e in error.errors())
        raise CheckpointError(f"{where}: {problems}") from None


def halves(weight: Tensor, head_dim: int) -> Tensor:
    """Rows of queries or keys that are turned in neighbours (2i, 2i + 1), as ours are: i with i + head_dim / 2.

    A tensor of a wrong shape stays as it is: that is told with all others.
    """
    if weight.shape[0] % head_dim:
        return weight
    return weight.reshape(-1, head_dim // 2, 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def neighbours(weight: Tensor, head_dim: int) -> Tensor:
    """The inverse of `halves`: our rows in the order of those that are turned in neighbours."""
    if weight.shape[0] % head_dim:
        return weight
    return weight.reshape(-1, 2, head_dim // 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def swapped(weight: Tensor, head_dim: int) -> Tensor:
    """Rows of queries or keys that are turned the other way round, as ours are: both halves of each head swapped.

    A tensor of a wrong shape stays as it is: that is told with all others.
    """
    if weight.shape[0] % head_dim:
        return weight
    return weight.reshape(-1, 2, head_dim // 2, *weight.shape[1:]).flip(1).reshape(weight.shape)


def imported_model(
    path: Path,
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    tokenizer: Path | None,
    note: str,
    objective: Mapping[str, object] = NEXT_TOKEN,
) -> Imported:
    """What was read, with its tokenizer; `note` tells that there is none.

    Raises:
        CheckpointError: if the tokenizer has ids that the model lacks.
        TokenizerError: if it cannot be read.
    """
    ours = None if tokenizer is None else Tokenizer.load(tokenizer)
    if ours is not None and ours.vocab_size > config.vocab_size:
        raise CheckpointError(f"{path}: the tokenizer has {ours.vocab_size} ids, the model only {config.vocab_size}")
    return Imported(
        model_config=config,
        weights=weights,
        tokenizer=ours,
        objective=objective,
        source=str(path),
        notes=() if ours else (note,),
    )


def ours_of(state: Mapping[str, Tensor], rules: list[Rule], config: ModelConfig, path: Path) -> dict[str, Tensor]:
    """Our float32 tensors by these rules.

    Raises:
        CheckpointError: naming tensors that no rule knows, or that are of a wrong size.
    """
    if config.n_layers > len(state):
        raise CheckpointError(
            f"{path}: {config.n_layers} layers in {len(state)} tensors; do shape and weights belong together?"
        )
    try:
        shapes = shapes_of(config)
        ours, unknown = to_ours(state, expand(tuple(rules), config.n_layers), rows_of=lambda name: shapes[name][0])
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    if unknown:
        more = f" and {len(unknown) - 6} more" if len(unknown) > 6 else ""
        raise CheckpointError(f"{path}: tensors that no model of ours has: {', '.join(unknown[:6])}{more}")
    return {name: tensor.float() for name, tensor in ours.items()}


def shapes_of(config: ModelConfig) -> dict[str, torch.Size]:
    """The shape of every tensor of our model.

    Raises:
        CheckpointError: if one is larger than any tensor can be.
    """
    try:
        with torch.device("meta"):
            return {name: parameter.shape for name, parameter in Transformer(config).named_parameters()}
    except (TypeError, RuntimeError, OverflowError):  # torch, of sizes and products beyond 64 bits
        raise CheckpointError(
            f"a model of d_model = {config.d_model}, d_ff = {config.d_ff}, vocab_size = {config.vocab_size}, n_heads = "
            f"{config.n_heads} is larger than any tensor can be; the numbers are damaged"
        ) from None


def in_halves(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The same tensors, rows of queries and keys in `halves`."""
    return {
        name: halves(tensor, config.head_dim) if ".q_proj." in name or ".k_proj." in name else tensor
        for name, tensor in weights.items()
    }


def qkv_of(kind: str) -> tuple[str, ...]:
    """Our names of what a fused matrix, or a fused bias, of queries, keys and values holds."""
    return tuple(f"layers.{{n}}.attention.{letter}_proj.{kind}" for letter in "qkv")


def bare_state(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors by their bare names; buffers of masks are left out."""
    bare = {}
    for name, tensor in state.items():
        while name.startswith(_PREFIXES):
            name = name.split(".", 1)[1]
        if isinstance(tensor, Tensor) and not name.endswith(".attn.bias"):
            bare[name] = tensor
    return bare


def dictionary(content: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    """The dictionary under a key.

    Raises:
        CheckpointError: if there is none.
    """
    value = content.get(key)
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: {key} is {type(value).__name__}; expected a dictionary: another kind of file?")
    return value


def integer(values: Mapping[str, Any], key: str, where: str) -> int:
    """The positive whole number under a key; texts of digits are read.

    Raises:
        CheckpointError: if there is none.
    """
    value = values.get(key)
    if type(value) is str and value.isdigit():
        value = int(value)
    if type(value) is not int or value < 1:
        raise CheckpointError(f"{where}: {key} = {value!r}; expected a positive integer")
    return value
