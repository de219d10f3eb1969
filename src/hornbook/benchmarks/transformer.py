"""Random models that transformers writes, with the same weights on all sides of a comparison."""

from pathlib import Path
from typing import Any

from hornbook.benchmarks.peers import peer_python
from hornbook.benchmarks.side import Side, SideProcess
from hornbook.config.model import ModelConfig
from hornbook.errors import MissingExtraError


def random_model(directory: Path, family: str, config: ModelConfig, **more: float) -> Path:
    """A randomly initialised model of transformers, "llama" or "gpt2", in the shape of ours and saved as `directory`.

    `more` goes into its configuration, such as `initializer_range`.

    Raises:
        MissingExtraError: without transformers.
    """
    python = peer_python("transformers")
    if python is None:
        raise MissingExtraError("bench train and bench decode", package="transformers", extra="hf")
    shape = {**(_llama if family == "llama" else _gpt2)(config), **more}
    settings = {"model": str(directory), "family": family, "shape": shape}
    make = Side(name="model", file="transformers_model.py", settings=settings, python=python)
    with SideProcess(make) as process:
        process.set_up()
    return directory


def _llama(config: ModelConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        "eos_token_id": None,
        "bos_token_id": None,
        "pad_token_id": 0,
    }


def _gpt2(config: ModelConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "n_embd": config.d_model,
        "n_inner": config.d_ff,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_positions": config.context_length,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": config.feed_forward,
        "tie_word_embeddings": config.tie_embeddings,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "eos_token_id": None,
        "bos_token_id": None,
        "pad_token_id": 0,
    }
