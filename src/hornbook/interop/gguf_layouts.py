"""Which architecture of llama.cpp computes a model of ours exactly, what it calls our tensors, and its metadata.

    llama  RMSNorm, rotary, SwiGLU, with or without biases          qwen3  the same with QK-norm and no biases
    qwen2  as llama, biases at queries, keys and values alone       gpt2   LayerNorm, learned positions, GELU (tanh)
    llada  as llama, attention to both sides: masked diffusion

llama and llada turn neighbours (2i, 2i + 1) of a head by the rotary angles, and we turn i and i + head_dim / 2, so rows
of queries and keys change places on the way there and back.
Source: https://github.com/ggml-org/llama.cpp (src/llama-model.cpp, gguf-py/gguf/constants.py)
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hornbook.checkpoint.load import Checkpoint
from hornbook.config.model import ModelConfig
from hornbook.config.objective import BOUND_ALONE, likelihood_kind
from hornbook.errors import CheckpointError
from hornbook.interop.foreign_shapes import halves, neighbours
from hornbook.interop.gguf_rope import rope_metadata, rope_scaling_of
from hornbook.interop.hf_layouts import biased_parts, layout_for
from hornbook.interop.names import Rule

ARCHITECTURES = ("llama", "llada", "qwen2", "qwen3", "gpt2")
_NEIGHBOURS = ("llama", "llada")
"""Of these, queries and keys are turned in neighbours."""

_TOP = {
    "token_embedding": "token_embd",
    "position_embedding": "position_embd",
    "norm": "output_norm",
    "head": "output",
}
_LAYER = {
    "attention_norm": "attn_norm",
    "attention.q_proj": "attn_q",
    "attention.k_proj": "attn_k",
    "attention.v_proj": "attn_v",
    "attention.q_norm": "attn_q_norm",
    "attention.k_norm": "attn_k_norm",
    "attention.o_proj": "attn_output",
    "feed_forward_norm": "ffn_norm",
    "feed_forward.gate_proj": "ffn_gate",
    "feed_forward.up_proj": "ffn_up",
    "feed_forward.down_proj": "ffn_down",
}
_FUSED = tuple(f"attention.{letter}_proj" for letter in "qkv")


def rules_of(architecture: str) -> tuple[Rule, ...]:
    """The names of tensors of an architecture beside ours, for `names.to_ours` and `names.to_theirs`."""
    fused = _FUSED if architecture == "gpt2" else ()
    rules = []
    for kind in ("weight", "bias"):
        rules += [Rule(f"{theirs}.{kind}", (f"{ours}.{kind}",)) for ours, theirs in _TOP.items()]
        rules += [
            Rule(f"blk.{{n}}.{theirs}.{kind}", (f"layers.{{n}}.{ours}.{kind}",))
            for ours, theirs in _LAYER.items()
            if ours not in fused
        ]
        if fused:
            rules.append(Rule(f"blk.{{n}}.attn_qkv.{kind}", tuple(f"layers.{{n}}.{name}.{kind}" for name in fused)))
    return tuple(rules)


def architecture_of(checkpoint: Checkpoint) -> str:
    """The architecture that computes this model as it was trained.

    Raises:
        CheckpointError: listing what none of them does.
    """
    config, kind = checkpoint.model_config, likelihood_kind(checkpoint.objective)
    if kind == "block_diffusion":
        raise CheckpointError("GGUF: no architecture of llama.cpp attends by blocks, as block_diffusion does")
    architecture = layout_for(config, checkpoint.weights, diffusion=kind in BOUND_ALONE)
    if architecture == "gpt2" and config.feed_forward != "gelu_tanh":
        raise CheckpointError(
            f'GGUF: llama.cpp computes gpt2 with feed_forward = "gelu_tanh" alone; this one has "{config.feed_forward}"'
        )
    return architecture


def written_weights(checkpoint: Checkpoint, architecture: str) -> dict[str, Tensor]:
    """The tensors to write, by our names: zero biases left out or filled in as the architecture has them."""
    config, weights = checkpoint.model_config, dict(checkpoint.weights)
    if architecture == "gpt2" and not config.bias:
        for name, tensor in checkpoint.weights.items():
            if not name.endswith("embedding.weight") and name != "head.weight":
                weights[name.removesuffix("weight") + "bias"] = torch.zeros(tensor.shape[0])
    if architecture in ("llama", "gpt2"):
        return weights
    kept = _FUSED if biased_parts(weights) else ()
    return {
        name: tensor
        for name, tensor in weights.items()
        if not name.endswith(".bias") or name.removesuffix(".bias").endswith(kept)
    }


def metadata_of(config: ModelConfig, architecture: str) -> dict[str, Any]:
    """The shape in the keys of an architecture.

    Raises:
        CheckpointError: for rotary frequencies that it does not compute.
    """
    shape: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "context_length": config.context_length,
        "embedding_length": config.d_model,
        "block_count": config.n_layers,
        "feed_forward_length": config.d_ff,
        "attention.head_count": config.n_heads,
        "attention.head_count_kv": config.n_kv_heads,
    }
    if architecture == "gpt2":
        shape["attention.layer_norm_epsilon"] = config.norm_eps
    else:
        shape |= {
            "attention.layer_norm_rms_epsilon": config.norm_eps,
            "attention.key_length": config.head_dim,
            "attention.value_length": config.head_dim,
            "rope.dimension_count": config.head_dim,
            "rope.freq_base": config.rope_theta,
        }
    if architecture == "llada":
        shape |= {"attention.causal": False, "diffusion.shift_logits": False}
    return {f"{architecture}.{key}": value for key, value in shape.items()} | rope_metadata(config, architecture)


def config_from_metadata(
    metadata: Mapping[str, Any], *, is_tied: bool, has_bias: bool, factors: Tensor | None
) -> dict[str, Any]:
    """The settings of a ModelConfig from a file's metadata; vocab_size is left to the caller.

    factors: the tensor of rotary factors, if the file has one.

    Raises:
        CheckpointError: for another architecture, a missing key, and what we do not compute.
    """
    architecture = metadata.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise CheckpointError(f"architecture {architecture!r} is not supported; expected {', '.join(ARCHITECTURES)}")
    keys = _Keys(metadata, architecture)
    if "expert_count" in keys:
        raise CheckpointError(f"{architecture}.expert_count: mixtures of experts are not supported")
    d_model, n_heads = keys.need("embedding_length"), keys.need("attention.head_count")
    settings = {
        "context_length": keys.need("context_length"),
        "d_model": d_model,
        "n_layers": keys.need("block_count"),
        "n_heads": n_heads,
        "n_kv_heads": keys.get("attention.head_count_kv", n_heads),
        "head_dim": d_model // n_heads,
        "d_ff": keys.need("feed_forward_length"),
        "tie_embeddings": is_tied,
        "bias": has_bias,
        "init": "gpt2",
    }
    if architecture == "gpt2":
        return settings | {
            "norm": "layer_norm",
            "norm_eps": keys.need("attention.layer_norm_epsilon"),
            "position": "learned",
            "feed_forward": "gelu_tanh",
        }
    head_dim, theta = keys.get("attention.key_length", d_model // n_heads), keys.get("rope.freq_base", 10_000.0)
    for key in ("attention.value_length", "rope.dimension_count"):
        if keys.get(key, head_dim) != head_dim:
            raise CheckpointError(f"{architecture}.{key} = {keys.need(key)} beside heads of {head_dim}: not supported")
    return settings | {
        "head_dim": head_dim,
        "norm_eps": keys.need("attention.layer_norm_rms_epsilon"),
        "rope_theta": theta,
        "rope_scaling": rope_scaling_of(metadata, factors, head_dim=head_dim, theta=theta),
        "qk_norm": architecture == "qwen3",
    }


class _Keys:
    """The positive numbers of an architecture."""

    def __init__(self, metadata: Mapping[str, Any], architecture: str) -> None:
        self._metadata, self._architecture = metadata, architecture

    def __contains__(self, key: str) -> bool:
        return bool(self._metadata.get(f"{self._architecture}.{key}"))

    def get(self, key: str, default: int | float) -> Any:
        """The number, or this one if the file has none."""
        return self.need(key) if f"{self._architecture}.{key}" in self._metadata else default

    def need(self, key: str) -> Any:
        """The number.

        Raises:
            CheckpointError: if it is missing, none, or another one in each layer.
        """
        name, value = f"{self._architecture}.{key}", self._metadata.get(f"{self._architecture}.{key}")
        if value is None:
            raise CheckpointError(f"{name} is missing; every {self._architecture} model has it")
        if isinstance(value, list) and value and all(each == value[0] for each in value):
            value = value[0]
        if isinstance(value, bool | list | str) or value <= 0:
            raise CheckpointError(f"{name} = {value!r}; expected one positive number")
        return value


def turned(weights: Mapping[str, Tensor], config: ModelConfig, architecture: str, *, back: bool) -> dict[str, Tensor]:
    """The same tensors by our names, rows of queries and keys in the order of `architecture`; `back`: in ours again."""
    if architecture not in _NEIGHBOURS:
        return dict(weights)
    turn = halves if back else neighbours
    return {
        name: turn(tensor, config.head_dim) if ".q_proj." in name or ".k_proj." in name else tensor
        for name, tensor in weights.items()
    }
