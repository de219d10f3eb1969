"""Models of Hugging Face's Llama and GPT-2 kind, read from their files without transformers.

    config.json --config_from_hf--> ModelConfig        *.safetensors --weights_from_hf--> our names --> Transformer

What our model cannot compute exactly (scaled rotary frequencies, another activation) is an error that names it.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hornbook.config.model import ModelConfig
from hornbook.errors import CheckpointError
from hornbook.interop.imported import NEXT_TOKEN, Imported
from hornbook.interop.names import TABLES, expand, to_ours
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

_ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}
_BUFFERS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
"""Endings of what old files hold beside weights: causal masks and rotary frequencies."""


def config_from_hf(config: Mapping[str, Any]) -> ModelConfig:
    """Our shape from the content of a config.json. Dropout, a choice of training, starts at 0.

    Raises:
        CheckpointError: naming the key that is missing, has a wrong value or asks for what we do not compute.
    """
    readers: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {"llama": _llama, "gpt2": _gpt2}
    kind = config.get("model_type")
    if kind not in readers:
        raise CheckpointError(f"config.json: model_type = {kind!r}; expected one of {', '.join(sorted(readers))}")
    try:
        return ModelConfig(vocab_size=config["vocab_size"], **readers[kind](config))
    except KeyError as error:
        raise CheckpointError(f"config.json: {error.args[0]} is missing; every {kind} model has it") from None
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'shape'}: {e['msg']}" for e in error.errors())
        raise CheckpointError(f"config.json: {problems}") from None


def _require(config: Mapping[str, Any], key: str, *allowed: object) -> None:
    """The key, when present, has an allowed value; the first is the default of models that leave it out."""
    if config.get(key, allowed[0]) not in allowed:
        options = " or ".join(repr(value) for value in allowed)
        raise CheckpointError(f"config.json: {key} = {config[key]!r} is not supported; expected {options}")


def _integer(config: Mapping[str, Any], key: str) -> int:
    value: object = config[key]
    if not isinstance(value, int) or value < 1:
        raise CheckpointError(f"config.json: {key} = {value!r}; expected a positive integer")
    return value


def _llama(config: Mapping[str, Any]) -> dict[str, Any]:
    _require(config, "hidden_act", "silu", "swish")
    n_heads, d_model = _integer(config, "num_attention_heads"), _integer(config, "hidden_size")
    return {
        "context_length": config["max_position_embeddings"],
        "d_model": d_model,
        "n_layers": config["num_hidden_layers"],
        "n_heads": n_heads,
        "n_kv_heads": config.get("num_key_value_heads") or n_heads,
        "head_dim": config.get("head_dim") or d_model // n_heads,
        "d_ff": config["intermediate_size"],
        "norm_eps": config.get("rms_norm_eps", 1e-6),
        "rope_theta": _rope_theta(config),
        # One flag here, two there: the half without biases gets zeros (see weights_from_hf).
        "bias": bool(config.get("attention_bias", False) or config.get("mlp_bias", False)),
        "tie_embeddings": config.get("tie_word_embeddings", False),
        "init": "gpt2",
    }


def _rope_theta(config: Mapping[str, Any]) -> float:
    """The rotary base: in `rope_parameters` since transformers 5, beside `rope_scaling` before."""
    rope: dict[str, Any] = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise CheckpointError(f"config.json: rope_type = {kind!r} is not supported; expected 'default' (no scaling)")
    _require(rope, "partial_rotary_factor", 1.0)
    theta: object = rope.get("rope_theta", config.get("rope_theta", 10_000.0))
    if not isinstance(theta, int | float):
        raise CheckpointError(f"config.json: rope_theta = {theta!r}; expected a positive number")
    return float(theta)


def _gpt2(config: Mapping[str, Any]) -> dict[str, Any]:
    for key, default in (("scale_attn_weights", True), ("scale_attn_by_inverse_layer_idx", False)):
        _require(config, key, default)
    _require(config, "add_cross_attention", False)
    _require(config, "activation_function", *_ACTIVATIONS)
    n_heads, d_model = _integer(config, "n_head"), _integer(config, "n_embd")
    return {
        "context_length": config["n_positions"],
        "d_model": d_model,
        "n_layers": config["n_layer"],
        "n_heads": n_heads,
        "n_kv_heads": n_heads,
        "head_dim": d_model // n_heads,
        "d_ff": config.get("n_inner") or 4 * d_model,
        "feed_forward": _ACTIVATIONS[config.get("activation_function", "gelu_new")],
        "norm": "layer_norm",
        "norm_eps": config.get("layer_norm_epsilon", 1e-5),
        "position": "learned",
        "bias": True,
        "tie_embeddings": config.get("tie_word_embeddings", True),
        "init": "gpt2",
    }


def weights_from_hf(state_dict: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our float32 weights from a Llama or GPT-2 state dict; the family is told from the names.

    A tied head, stored or not, is dropped. Biases that a whole kind of sublayer lacks (Llama's attention_bias without
    mlp_bias) become zeros.

    Raises:
        CheckpointError: for tensors that no rule knows, and fused ones of a wrong size.
    """
    theirs = {name: tensor for name, tensor in state_dict.items() if not name.endswith(_BUFFERS)}
    if "wte.weight" in theirs:  # the original GPT-2 files are those of the body alone
        theirs = {f"transformer.{name}": tensor for name, tensor in theirs.items()}
    if config.tie_embeddings:
        theirs.pop("lm_head.weight", None)
    family = "gpt2" if "transformer.wte.weight" in theirs else "llama"
    with torch.device("meta"):
        shapes = {name: parameter.shape for name, parameter in Transformer(config).named_parameters()}
    rules = expand(TABLES[family], config.n_layers)
    ours, unknown = to_ours(theirs, rules, rows_of=lambda name: shapes[name][0])
    if unknown:
        raise CheckpointError(f"tensors that no {family} model of this shape has: {', '.join(unknown)}")
    if family == "llama":
        for part in (".attention.", ".feed_forward."):
            biases = [name for name in shapes if part in name and name.endswith(".bias")]
            if not any(name in ours for name in biases):
                ours.update({name: torch.zeros(shapes[name]) for name in biases})
    return {name: tensor.float() for name, tensor in ours.items()}


def load_hf_directory(path: Path) -> tuple[Transformer, dict[str, Any]]:
    """The model in a Hugging Face directory, and its config.json (which has the ids of its special tokens).

    Reads config.json and model.safetensors, or the files that model.safetensors.index.json lists.

    Raises:
        CheckpointError: if a file is missing or broken, or the weights do not fit the configuration.
    """
    raw = _read_json(path / "config.json")
    config = config_from_hf(raw)
    weights = weights_from_hf(_read_weights(path), config)
    with torch.device("meta"):
        model = Transformer(config)
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:  # lists every missing, unexpected and mis-shaped tensor
        raise CheckpointError(f"{path}: the weights do not fit config.json: {error}") from None
    return model, raw


def import_hf(path: Path) -> Imported:
    """The model and tokenizer in a Hugging Face directory.

    Raises:
        CheckpointError: as `load_hf_directory`.
        TokenizerError: if its tokenizer needs something that we do not do.
    """
    raw = _read_json(path / "config.json")
    config = config_from_hf(raw)
    return Imported(
        model_config=config,
        weights=weights_from_hf(_read_weights(path), config),
        tokenizer=Tokenizer.load(path) if (path / "tokenizer.json").exists() else None,
        objective=NEXT_TOKEN,
        source=str(path),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); expected a Hugging Face model directory") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: got {type(content).__name__}, expected an object")
    return content


def _read_weights(path: Path) -> dict[str, Tensor]:
    index = path / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.exists():
        names = sorted(set(_read_json(index).get("weight_map", {}).values()))
    weights: dict[str, Tensor] = {}
    for name in names:
        if Path(name).name != name:
            raise CheckpointError(f"{index}: {name!r} lies outside the directory; expected plain file names")
        try:
            weights.update(load_file(path / name))
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path / name}: cannot be read as safetensors ({error})") from None
    return weights
