"""Which of Hugging Face's architectures a model of ours is, and the config.json that says so.

| layout | is ours with | beside that |
| --- | --- | --- |
| llama | rms_norm, rotary, swiglu | biases everywhere, nowhere or in attention alone |
| qwen2 | the same | biases of queries, keys and values alone |
| qwen3 | the same | qk_norm, no biases |
| gpt2 | layer_norm, learned, gelu, gelu_tanh, relu or relu2 | as many key heads as heads; missing biases become zeros |
| llada | as llama, trained by masking | no biases, or those of queries, keys and values |

None of them has post-norm, a soft cap, scaled embeddings or n-gram embeddings. Rotary settings are written twice: for
transformers 5 in `rope_parameters`, for older ones in `rope_theta` and `rope_scaling`; and so is `dtype`.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hornbook.config.model import ModelConfig
from hornbook.errors import CheckpointError

LAYOUTS = ("llama", "qwen2", "qwen3", "gpt2", "llada")
"""By Hugging Face's `model_type`."""

ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu", "relu2": "relu2"}
"""Of ours without a gate, as they call it."""

_QKV, _OUT, _MLP = (".q_proj.bias", ".k_proj.bias", ".v_proj.bias"), (".o_proj.bias",), ("feed_forward.",)


def layout_for(config: ModelConfig, weights: Mapping[str, Tensor], *, diffusion: bool) -> str:
    """The layout that holds this model and its biases, without spare zeros where there is a choice.

    Raises:
        CheckpointError: listing what none of them has.
    """
    if config.norm == "layer_norm" and config.position == "learned" and not diffusion:
        layout = "gpt2"
    elif diffusion:
        layout = "llada"
    elif config.qk_norm:
        layout = "qwen3"
    else:
        layout = "qwen2" if biased_parts(weights) == {"qkv"} else "llama"
    if problems := misfits_of(layout, config, weights):
        raise CheckpointError(
            f"no Hugging Face layout holds this model; the nearest is {layout}: {'; '.join(problems)}"
        )
    return layout


def biased_parts(weights: Mapping[str, Tensor]) -> set[str]:
    """Where biases are not all zero: some of qkv, out and mlp."""
    found = {name for name, tensor in weights.items() if name.endswith(".bias") and bool(tensor.any())}
    parts = {"qkv": _QKV, "out": _OUT, "mlp": ()}
    where = {part for part, ends in parts.items() if any(name.endswith(ends) for name in found)}
    return where | ({"mlp"} if any(_MLP[0] in name for name in found) else set())


def misfits_of(layout: str, config: ModelConfig, weights: Mapping[str, Tensor]) -> list[str]:
    """What this layout does not have, in words; empty if it holds the model."""
    problems = [
        f"{name} = {getattr(config, name)!r} (it has {expected})"
        for name, allowed, expected in _SETTINGS[layout] + _NOWHERE
        if getattr(config, name) not in allowed
    ]
    if layout != "qwen3" and config.qk_norm:
        problems.append("qk_norm (only qwen3 has it)")
    if layout == "gpt2":
        if config.n_kv_heads != config.n_heads:
            problems.append(f"n_kv_heads = {config.n_kv_heads} (it has as many as heads, {config.n_heads})")
        if config.head_dim * config.n_heads != config.d_model:
            problems.append(f"head_dim = {config.head_dim} (it has d_model / n_heads)")
    allowed = {"qwen2": {"qkv"}, "qwen3": set[str](), "llada": {"qkv"}}.get(layout)
    if allowed is not None and (more := biased_parts(weights) - allowed):
        problems.append(f"biases in {', '.join(sorted(more))} (it has {'those of qkv alone' if allowed else 'none'})")
    return problems


_Setting = tuple[str, tuple[object, ...], str]
_LLAMA: list[_Setting] = [
    ("norm", ("rms_norm",), "rms_norm"),
    ("position", ("rotary",), "rotary"),
    ("feed_forward", ("swiglu",), "swiglu"),
]
_SETTINGS: dict[str, list[_Setting]] = {
    **dict.fromkeys(("llama", "qwen2", "qwen3", "llada"), _LLAMA),
    "gpt2": [
        ("norm", ("layer_norm",), "layer_norm"),
        ("position", ("learned",), "learned"),
        ("feed_forward", tuple(ACTIVATIONS), ", ".join(ACTIVATIONS)),
    ],
}
_NOWHERE: list[_Setting] = [
    ("norm_position", ("pre",), "pre"),
    ("logit_soft_cap", (None,), "none"),
    ("scale_embeddings", (False,), "none"),
    ("ngram_length", (1,), "none"),
]


def config_to_hf(
    layout: str, config: ModelConfig, *, dtype: str, biases: set[str], ids: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of config.json.

    dtype: of the weights, such as "bfloat16".
    biases: as `biased_parts` gives them.
    ids: of special tokens, such as bos_token_id.
    """
    body = {"llama": _llama, "qwen2": _qwen2, "qwen3": _qwen3, "gpt2": _gpt2}[layout]
    return {
        **body(config, biases),
        **ids,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tie_embeddings,
        "initializer_range": 0.02,
        "use_cache": True,
        "dtype": dtype,
        "torch_dtype": dtype,
    }


def _llama(config: ModelConfig, biases: set[str]) -> dict[str, Any]:
    # Trained biases may all be zero at the start: then none is left out.
    has_mlp = config.bias and ("mlp" in biases or not biases)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": config.bias,
        "mlp_bias": has_mlp,
        **_rotary_body(config),
    }


def _qwen2(config: ModelConfig, biases: set[str]) -> dict[str, Any]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "use_sliding_window": False,
        **_rotary_body(config),
    }


def _qwen3(config: ModelConfig, biases: set[str]) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "use_sliding_window": False,
        **_rotary_body(config),
    }


def _rotary_body(config: ModelConfig) -> dict[str, Any]:
    return {
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "attention_dropout": 0.0,
    }


def _gpt2(config: ModelConfig, biases: set[str]) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_ff,
        "n_positions": config.context_length,
        "n_ctx": config.context_length,
        "activation_function": ACTIVATIONS[config.feed_forward],
        "layer_norm_epsilon": config.norm_eps,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }
