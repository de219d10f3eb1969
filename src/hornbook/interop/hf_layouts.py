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
from hornbook.config.rope import LinearScaling, Llama3Scaling, RopeScaling, YarnScaling
from hornbook.errors import CheckpointError

LAYOUTS = ("llama", "qwen2", "qwen3", "gpt2", "llada")
"""By Hugging Face's `model_type`."""

ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu", "relu2": "relu2"}
"""Of ours without a gate, as they call it."""

_QKV = (".q_proj.bias", ".k_proj.bias", ".v_proj.bias")


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
    return {bias_part(name) for name, tensor in weights.items() if name.endswith("_proj.bias") and bool(tensor.any())}


def bias_part(name: str) -> str:
    """Which of the three a bias of a linear layer belongs to."""
    return "qkv" if name.endswith(_QKV) else "out" if name.endswith(".o_proj.bias") else "mlp"


def biases_written(layout: str, config: ModelConfig, biases: set[str]) -> set[str]:
    """The parts whose biases this layout holds, for a model whose biases are not zero in `biases`."""
    if layout == "gpt2":
        return {"qkv", "out", "mlp"}
    if not config.bias or layout == "qwen3":
        return set()
    if layout == "llama":  # trained biases may all be zero at the start: then none is left out
        return {"qkv", "out"} if biases and "mlp" not in biases else {"qkv", "out", "mlp"}
    return {"qkv"}


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
    if layout == "llada":
        if config.rope_scaling is not None:
            problems.append("rope_scaling (it has none)")
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
    written = biases_written(layout, config, biases)
    content = {"llada": _llada, "gpt2": _gpt2}.get(layout, _rotary)(config)
    match layout:
        case "llama":
            content["attention_bias"] = "out" in written
            content["mlp_bias"] = "mlp" in written
        case "qwen3":
            content["attention_bias"] = False
        case "llada":
            content["include_qkv_bias"] = "qkv" in written
    tied = "weight_tying" if layout == "llada" else "tie_word_embeddings"
    return {
        "architectures": [_CLASSES[layout]],
        "model_type": layout,
        **content,
        **ids,
        "vocab_size": config.vocab_size,
        tied: config.tie_embeddings,
        "use_cache": layout != "llada",
        "dtype": dtype,
        "torch_dtype": dtype,
    }


_CLASSES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "llada": "LLaDAModelLM",
}


def _rotary(config: ModelConfig) -> dict[str, Any]:
    scaling = None if config.rope_scaling is None else _rope_scaling(config.rope_scaling)
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
        "rope_scaling": scaling,
        "rope_parameters": {**(scaling or {"rope_type": "default"}), "rope_theta": config.rope_theta},
        "attention_dropout": 0.0,
    }


def _rope_scaling(scaling: RopeScaling) -> dict[str, Any]:
    match scaling:
        case LinearScaling():
            return {"rope_type": "linear", "factor": scaling.factor}
        case Llama3Scaling():
            return {
                "rope_type": "llama3",
                "factor": scaling.factor,
                "original_max_position_embeddings": scaling.original_context_length,
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
            }
        case YarnScaling():
            given = {} if scaling.attention_factor is None else {"attention_factor": scaling.attention_factor}
            return {
                "rope_type": "yarn",
                "factor": scaling.factor,
                "original_max_position_embeddings": scaling.original_context_length,
                "beta_fast": scaling.beta_fast,
                "beta_slow": scaling.beta_slow,
                "truncate": scaling.truncate,
                **given,
            }


def _gpt2(config: ModelConfig) -> dict[str, Any]:
    return {
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


def _llada(config: ModelConfig) -> dict[str, Any]:
    """As GSAI-ML/LLaDA-8B-Base writes it; its remote code reads these keys and names."""
    return {
        "d_model": config.d_model,
        "n_layers": config.n_layers,
        "n_heads": config.n_heads,
        "n_kv_heads": config.n_kv_heads,
        "mlp_hidden_size": config.d_ff,
        "mlp_ratio": 4,
        "max_sequence_length": config.context_length,
        "embedding_size": config.vocab_size,
        "activation_type": "silu",
        "block_type": "llama",
        "block_group_size": 1,
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "rms_norm_eps": config.norm_eps,
        "bias_for_layer_norm": False,
        "attention_layer_norm": False,
        "attention_layer_norm_with_affine": True,
        "include_bias": False,
        "rope": True,
        "rope_full_precision": True,
        "rope_theta": config.rope_theta,
        "alibi": False,
        "alibi_bias_max": 8.0,
        "input_emb_norm": False,
        "multi_query_attention": None,
        "scale_logits": False,
        "flash_attention": False,
        "attention_dropout": 0.0,
        "embedding_dropout": 0.0,
        "residual_dropout": 0.0,
        "init_device": "meta",
        "init_fn": "mitchell",
        "init_std": 0.02,
        "init_cutoff_factor": None,
        "precision": "amp_bf16",
    }
