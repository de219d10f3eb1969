"""Our shape from a config.json of Hugging Face's transformers.

What our model cannot compute exactly (another activation, a part of each head turned) is an error that names it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from hornbook.config.model import ModelConfig
from hornbook.errors import CheckpointError

_ACTIVATIONS = {
    **{"gelu_new": "gelu_tanh", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh"},
    **{"relu": "relu", "relu2": "relu2"},
}


def config_from_hf(config: Mapping[str, Any]) -> ModelConfig:
    """Our shape from the content of a config.json. Dropout, a choice of training, starts at 0.

    Raises:
        CheckpointError: naming the key that is missing, has a wrong value or asks for what we do not compute.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in READERS:
        raise CheckpointError(f"config.json: model_type = {kind!r}; expected one of {', '.join(sorted(READERS))}")
    try:
        return ModelConfig.model_validate({"init": "gpt2", **READERS[kind](config)})
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


def _table(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    value: object = config.get(key)
    if not isinstance(value, dict | None):
        raise CheckpointError(f"config.json: {key} = {value!r:.60}; expected an object or null")
    return value or {}


def _integer(config: Mapping[str, Any], key: str) -> int:
    value: object = config[key]
    if not isinstance(value, int) or value < 1:
        raise CheckpointError(f"config.json: {key} = {value!r}; expected a positive integer")
    return value


def _number(config: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value: object = config.get(key, default) if default is not None else config[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CheckpointError(f"config.json: {key} = {value!r}; expected a positive number")
    return float(value)


def _llama(config: Mapping[str, Any]) -> dict[str, Any]:
    # One flag here, two there: the half without biases gets zeros (see weights_from_hf).
    return {**_rotary(config), "bias": bool(config.get("attention_bias", False) or config.get("mlp_bias", False))}


def _mistral(config: Mapping[str, Any]) -> dict[str, Any]:
    return _within_window(config, _rotary(config), config.get("sliding_window", 4096))


def _qwen2(config: Mapping[str, Any]) -> dict[str, Any]:
    used = config.get("use_sliding_window", False)
    shape = {**_rotary(config), "bias": True}  # of queries, keys and values; the others become zeros
    return _within_window(config, shape, config.get("sliding_window", 4096) if used else None)


def _qwen3(config: Mapping[str, Any]) -> dict[str, Any]:
    used = config.get("use_sliding_window", False)
    shape = {**_rotary({"head_dim": 128, **config}), "bias": bool(config.get("attention_bias", False)), "qk_norm": True}
    return _within_window(config, shape, config.get("sliding_window", 4096) if used else None)


def _within_window(config: Mapping[str, Any], shape: dict[str, Any], window: object) -> dict[str, Any]:
    """Attention that slides sees all tokens up to its own width: that is the context then."""
    if window is not None:
        width = _integer({"sliding_window": window}, "sliding_window")
        shape["context_length"] = min(_integer(config, "max_position_embeddings"), width)
    return shape


def _rotary(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the models of Llama's kind have in common."""
    _require(config, "hidden_act", "silu", "swish")
    n_heads, d_model = _integer(config, "num_attention_heads"), _integer(config, "hidden_size")
    return {
        "vocab_size": config["vocab_size"],
        "context_length": config["max_position_embeddings"],
        "d_model": d_model,
        "n_layers": config["num_hidden_layers"],
        "n_heads": n_heads,
        "n_kv_heads": config.get("num_key_value_heads") or n_heads,
        "head_dim": config.get("head_dim") or d_model // n_heads,
        "d_ff": config["intermediate_size"],
        "norm_eps": config.get("rms_norm_eps", 1e-6),
        "tie_embeddings": config.get("tie_word_embeddings", False),
        **_rope(config),
    }


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary base and scaling: in `rope_parameters` since transformers 5, beside `rope_scaling` before."""
    rope = {**_table(config, "rope_scaling"), **_table(config, "rope_parameters")}
    for where in (config, rope):
        _require(where, "partial_rotary_factor", 1.0, None)
    theta = rope["rope_theta"] if rope.get("rope_theta") is not None else config.get("rope_theta", 10_000.0)
    shape: dict[str, Any] = {"rope_theta": _number({"rope_theta": theta}, "rope_theta")}
    kind = rope.get("rope_type", rope.get("type", "default"))
    key = "original_max_position_embeddings"
    original = _integer({key: config.get(key) or rope.get(key) or config["max_position_embeddings"]}, key)
    match kind:
        case "default":
            return shape
        case "linear":
            scaling: dict[str, Any] = {"factor": _number(rope, "factor")}
        case "llama3":
            frequencies = {key: _number(rope, key) for key in ("factor", "low_freq_factor", "high_freq_factor")}
            scaling = {**frequencies, "original_context_length": original}
        case "yarn":
            scaling = _yarn(config, rope, original)
        case _:
            raise CheckpointError(
                f"config.json: rope_type = {kind!r} is not supported; expected default (no scaling), linear, llama3 or "
                "yarn, whose frequencies do not depend on the text's length"
            )
    return {**shape, "rope_scaling": {"kind": kind, **scaling}}


def _yarn(config: Mapping[str, Any], rope: Mapping[str, Any], original: int) -> dict[str, Any]:
    stretched = _integer(config, "max_position_embeddings") / original
    scaling: dict[str, Any] = {
        "factor": stretched if rope.get("factor") is None else _number(rope, "factor"),
        "original_context_length": original,
        "beta_fast": _number(rope, "beta_fast") if rope.get("beta_fast") else 32.0,
        "beta_slow": _number(rope, "beta_slow") if rope.get("beta_slow") else 1.0,
        "truncate": rope.get("truncate", True),
    }
    if rope.get("attention_factor") is not None:
        scaling["attention_factor"] = _number(rope, "attention_factor")
    elif rope.get("mscale") and rope.get("mscale_all_dim"):
        raise CheckpointError("config.json: rope scaling by mscale is not supported; expected attention_factor or none")
    return scaling


def _gpt2(config: Mapping[str, Any]) -> dict[str, Any]:
    for key, default in (("scale_attn_weights", True), ("scale_attn_by_inverse_layer_idx", False)):
        _require(config, key, default)
    _require(config, "add_cross_attention", False)
    _require(config, "activation_function", *_ACTIVATIONS)
    n_heads, d_model = _integer(config, "n_head"), _integer(config, "n_embd")
    return {
        "vocab_size": config["vocab_size"],
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
    }


def _llada(config: Mapping[str, Any]) -> dict[str, Any]:
    for key, *allowed in (
        *(("activation_type", "silu"), ("layer_norm_type", "rms"), ("block_type", "llama")),
        *(("rope", True), ("alibi", False), ("attention_layer_norm", False), ("input_emb_norm", False)),
        *(("scale_logits", False), ("block_group_size", 1), ("multi_query_attention", None, False)),
        *(("include_bias", False), ("bias_for_layer_norm", False, None)),
    ):
        _require(config, str(key), *allowed)
    n_heads, d_model, vocabulary = (_integer(config, key) for key in ("n_heads", "d_model", "vocab_size"))
    return {
        "vocab_size": config.get("embedding_size") or vocabulary,
        "context_length": config["max_sequence_length"],
        "d_model": d_model,
        "n_layers": config["n_layers"],
        "n_heads": n_heads,
        "n_kv_heads": config.get("n_kv_heads") or n_heads,
        "head_dim": d_model // n_heads,
        "d_ff": config.get("mlp_hidden_size") or config["mlp_ratio"] * d_model,
        "norm_eps": config.get("rms_norm_eps", 1e-5),
        "rope_theta": _number(config, "rope_theta", 10_000.0),
        "bias": config.get("include_qkv_bias", False),
        "tie_embeddings": config.get("weight_tying", True),
    }


READERS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "llama": _llama,
    "mistral": _mistral,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gpt2": _gpt2,
    "llada": _llada,
}
"""By `model_type`."""
