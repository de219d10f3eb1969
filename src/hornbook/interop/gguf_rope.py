"""Scaled rotary frequencies in a GGUF file, there and back.

linear, yarn   keys of the metadata
llama3         a tensor rope_freqs.weight: by what each frequency was divided, from which the settings are guessed
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from hornbook.config.model import ModelConfig
from hornbook.config.rope import LinearScaling, Llama3Scaling, RopeScaling, YarnScaling
from hornbook.errors import CheckpointError
from hornbook.models.positions import frequencies

FACTORS = "rope_freqs.weight"
ROPE_SCALING = "hornbook.rope_scaling"
"""Our own settings, as JSON."""
_PUBLISHED = [Llama3Scaling(factor=factor, original_context_length=8192) for factor in (8.0, 32.0)]
"""Of Llama 3.1, and of Llama 3.2 and 3.3."""


def rope_metadata(config: ModelConfig, architecture: str) -> dict[str, Any]:
    """The keys that tell llama.cpp of a model's scaling, if it has one.

    Raises:
        CheckpointError: if this architecture does not compute it.
    """
    scaling, keys = config.rope_scaling, dict[str, Any]()
    match scaling:
        case None:
            return {}
        case LinearScaling():
            keys = {"type": "linear", "factor": scaling.factor}
        case YarnScaling():
            if not scaling.truncate:
                raise CheckpointError("GGUF: llama.cpp computes YaRN with whole dimensions alone (truncate = true)")
            usual = 0.1 * math.log(scaling.factor) + 1.0
            keys = {
                "type": "yarn",
                "factor": scaling.factor,
                "original_context_length": scaling.original_context_length,
                "yarn_beta_fast": scaling.beta_fast,
                "yarn_beta_slow": scaling.beta_slow,
                "attn_factor": (scaling.attention_factor or usual) / usual,
            }
        case Llama3Scaling():
            if architecture not in ("llama", "llada"):
                raise CheckpointError(
                    f"GGUF: llama.cpp has no rope_scaling of kind llama3 in {architecture}, only in llama"
                )
    written = {f"{architecture}.rope.scaling.{key}": value for key, value in keys.items()}
    return {**written, ROPE_SCALING: scaling.model_dump_json()}


def rope_factors(config: ModelConfig) -> Tensor | None:
    """By what each frequency is divided (e/2,), where that is told by a tensor."""
    if not isinstance(config.rope_scaling, Llama3Scaling):
        return None
    plain, _ = frequencies(config.head_dim, config.rope_theta, None, torch.device("cpu"))
    scaled, _ = frequencies(config.head_dim, config.rope_theta, config.rope_scaling, torch.device("cpu"))
    return plain / scaled


def rope_scaling_of(
    metadata: Mapping[str, Any], factors: Tensor | None, *, head_dim: int, theta: float
) -> RopeScaling | None:
    """The scaling that a file tells of.

    Raises:
        CheckpointError: for one that we do not compute, or factors that are nobody's that we know.
    """
    if ROPE_SCALING in metadata:
        try:
            scaling: RopeScaling = TypeAdapter(RopeScaling).validate_python(json.loads(metadata[ROPE_SCALING]))
        except (ValueError, TypeError, RecursionError) as error:  # of json, of no text, and of pydantic
            raise CheckpointError(f"{ROPE_SCALING} is damaged ({error})") from None
        return scaling
    if factors is not None:
        return _guessed(factors, head_dim=head_dim, theta=theta)
    prefix = f"{metadata['general.architecture']}.rope.scaling."
    keys = {key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)}
    match keys.get("type", "none"):
        case "none":
            return None
        case "linear":
            return LinearScaling(factor=keys["factor"]) if "factor" in keys else None
        case "yarn" if {"factor", "original_context_length"} <= keys.keys():
            factor = keys["factor"]
            sharper = keys.get("attn_factor", 1.0)
            return YarnScaling(
                factor=factor,
                original_context_length=keys["original_context_length"],
                beta_fast=keys.get("yarn_beta_fast", 32.0),
                beta_slow=keys.get("yarn_beta_slow", 1.0),
                attention_factor=None if sharper == 1.0 else sharper * (0.1 * math.log(factor) + 1.0),
            )
        case kind:
            raise CheckpointError(f"{prefix}type = {kind!r} is not supported; expected none, linear or yarn, complete")


def _guessed(factors: Tensor, *, head_dim: int, theta: float) -> RopeScaling | None:
    if bool((factors == 1).all()):
        return None
    plain, _ = frequencies(head_dim, theta, None, torch.device("cpu"))
    for scaling in _PUBLISHED:
        scaled, _ = frequencies(head_dim, theta, scaling, torch.device("cpu"))
        if factors.shape == plain.shape and torch.allclose(plain / scaled, factors, rtol=1e-4):
            return scaling
    raise CheckpointError(
        f"{FACTORS} divides frequencies otherwise than Llama 3.1, 3.2 and 3.3 do, which we do not compute"
    )
