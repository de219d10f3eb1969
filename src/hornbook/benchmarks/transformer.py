"""What `hornbook bench decode` compares, and random models with the same weights on all sides, for `bench train` too.

The peer runs in its own best ordinary way: its own cache, the same precision. Both sides use all cores. That they
compute the same thing (the decoded tokens) is checked in the same run.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hornbook.benchmarks.harness import Case
from hornbook.benchmarks.peers import peer_python
from hornbook.benchmarks.side import Side, SideProcess
from hornbook.config.model import ModelConfig, ModelTable
from hornbook.errors import MissingExtraError
from hornbook.storage.cores import available_cores


def decode_cases(directory: Path, *, d_model: int = 256, new_tokens: int = 64) -> Iterator[Case]:
    """Greedy decoding of one row with the KV cache in float32."""
    table = ModelTable(d_model=d_model, n_heads=d_model // 64, context_length=256, norm_eps=1e-6)
    model = random_model(directory / "llama", "llama", table.complete(vocab_size=4096))
    settings = {"model": str(model), "prompt_tokens": 32, "new_tokens": new_tokens}
    python = peer_python("transformers")
    assert python is not None, "the model could not have been made without it"
    cores = available_cores()
    theirs = "transformers_generate.py"
    yield Case(
        name="decode fp32",
        unit="tokens",
        amount=new_tokens,
        equal={"tokens": 0},
        sides=[
            Side(name="hornbook", file="hornbook_generate.py", settings=settings, threads=cores),
            Side(name="transformers", file=theirs, settings=settings, threads=cores, python=python),
        ],
    )


def random_model(directory: Path, family: str, config: ModelConfig) -> Path:
    """A randomly initialised model of transformers, "llama" or "gpt2", in the shape of ours and saved as `directory`.

    Raises:
        MissingExtraError: without transformers.
    """
    python = peer_python("transformers")
    if python is None:
        raise MissingExtraError("bench train and bench decode", package="transformers", extra="hf")
    shape = (_llama if family == "llama" else _gpt2)(config)
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
