"""What `hornbook bench train` and `bench decode` compare: a small Llama with the same weights in transformers.

The peer runs in its own best ordinary way: a fused optimizer, its own cache, the same precision. Both sides use all
cores. That they compute the same thing (the loss before any step, the decoded tokens) is checked in the same run.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hornbook.benchmarks.harness import Case
from hornbook.benchmarks.peers import peer_python
from hornbook.benchmarks.side import Side, SideProcess
from hornbook.errors import MissingExtraError
from hornbook.storage.cores import available_cores

LEARNING_RATE = 1e-4
ROWS, CONTEXT = 8, 256


def train_cases(directory: Path, *, d_model: int = 256) -> Iterator[Case]:
    """Forward, backward and update, in float32 and in bfloat16 autocast."""
    settings = _model(directory, d_model)
    for precision in ("fp32", "bf16"):
        yield Case(
            name=f"train {precision}",
            unit="tokens",
            amount=ROWS * CONTEXT,
            equal={"loss": 1e-4},
            sides=_sides("train_step", {**settings, "precision": precision, "rows": ROWS, "context": CONTEXT}),
        )


def decode_cases(directory: Path, *, d_model: int = 256, new_tokens: int = 64) -> Iterator[Case]:
    """Greedy decoding of one row with the KV cache in float32."""
    settings = _model(directory, d_model)
    yield Case(
        name="decode fp32",
        unit="tokens",
        amount=new_tokens,
        equal={"tokens": 0},
        sides=_sides("generate", {**settings, "prompt_tokens": 32, "new_tokens": new_tokens}),
    )


def _sides(work: str, settings: dict[str, Any]) -> list[Side]:
    cores = available_cores()
    python = peer_python("transformers")
    assert python is not None, "the model could not have been made without it"
    return [
        Side(name="hornbook", file=f"hornbook_{work}.py", settings=settings, threads=cores),
        Side(name="transformers", file=f"transformers_{work}.py", settings=settings, threads=cores, python=python),
    ]


def _model(directory: Path, d_model: int) -> dict[str, Any]:
    """A randomly initialised Llama of theirs, saved as a directory, which both sides load.

    Raises:
        MissingExtraError: without transformers.
    """
    python = peer_python("transformers")
    if python is None:
        raise MissingExtraError("bench train and bench decode", package="transformers", extra="hf")
    settings = {"model": str(directory / "llama"), "learning_rate": LEARNING_RATE}
    shape = {
        "vocab_size": 4096,
        "hidden_size": d_model,
        "intermediate_size": (8 * d_model // 3 + 31) // 32 * 32,
        "num_hidden_layers": 4,
        "num_attention_heads": d_model // 64,
        "num_key_value_heads": d_model // 64,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
        "eos_token_id": None,
        "bos_token_id": None,
        "pad_token_id": 0,
    }
    make = Side(name="model", file="transformers_model.py", settings={**settings, "shape": shape}, python=python)
    with SideProcess(make) as process:
        process.set_up()
    return settings
