"""llama2.c's files: a model as seven numbers and all its float32 weights in a row, a vocabulary as pieces with scores.

    d_model, d_ff, n_layers, n_heads, n_kv_heads, vocab_size (negative: the head has weights of its own), context_length
    token embedding | of all layers: attention norms, q, k, v, o, feed-forward norms, gate, down, up | final norm |
    tables of cosines and sines, which are not read | head

Rotary angles turn neighbours (2i, 2i + 1); ours turn i and i + head_dim / 2.
Source: https://github.com/karpathy/llama2.c (run.c, export.py: the legacy form, version 0)
"""

import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hornbook.config.model import ModelConfig
from hornbook.errors import CheckpointError
from hornbook.interop.foreign_shapes import halves, model_config
from hornbook.interop.imported import NEXT_TOKEN, Imported
from hornbook.interop.sentence_pieces import read_llama2c_vocabulary

_LATER_MAGIC = 0x616B3432


def import_llama2c(path: Path, *, tokenizer: Path | None = None) -> Imported:
    """The model of a .bin file; `tokenizer` is the tokenizer.bin (tok512.bin, ...) that belongs to it.

    Raises:
        CheckpointError: if the file is missing, cut off or of a later version.
        TokenizerError: if the tokenizer is damaged or of another number of pieces.
    """
    try:
        data = path.read_bytes()
        numbers = struct.unpack("<7i", data[:28])
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); expected a model of llama2.c") from None
    except struct.error:
        raise CheckpointError(f"{path}: {len(data)} bytes; expected a model of llama2.c") from None
    if numbers[0] == _LATER_MAGIC:
        raise CheckpointError(f"{path}: version {numbers[1]} of the form; export it again with --version 0")
    config = _config(numbers, str(path))
    if config.n_layers > len(data):
        raise CheckpointError(f"{path}: {config.n_layers} layers in {len(data)} bytes; the file is damaged")
    ours = (
        read_llama2c_vocabulary(tokenizer, n_pieces=config.vocab_size).tokenizer(str(tokenizer)) if tokenizer else None
    )
    return Imported(
        model_config=config,
        weights=_weights(data, config, path),
        tokenizer=ours,
        objective=NEXT_TOKEN,
        source=str(path),
        notes=() if ours else ("it has no tokenizer: give its tokenizer.bin by --tokenizer",),
    )


def _config(numbers: tuple[int, ...], where: str) -> ModelConfig:
    d_model, d_ff, n_layers, n_heads, n_kv_heads, vocab_size, context_length = numbers
    return model_config(
        where,
        vocab_size=abs(vocab_size),
        context_length=context_length,
        d_model=d_model,
        d_ff=d_ff,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=d_model // max(n_heads, 1),
        tie_embeddings=vocab_size > 0,
    )


def _weights(data: bytes, config: ModelConfig, path: Path) -> dict[str, Tensor]:
    d_model, wide, narrow = config.d_model, config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    stacked: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("attention_norm", (d_model,)),
        ("attention.q_proj", (wide, d_model)),
        ("attention.k_proj", (narrow, d_model)),
        ("attention.v_proj", (narrow, d_model)),
        ("attention.o_proj", (d_model, wide)),
        ("feed_forward_norm", (d_model,)),
        ("feed_forward.gate_proj", (config.d_ff, d_model)),
        ("feed_forward.down_proj", (d_model, config.d_ff)),
        ("feed_forward.up_proj", (config.d_ff, d_model)),
    )
    shapes: dict[str, tuple[int, ...]] = {"token_embedding": (config.vocab_size, d_model)}
    shapes |= {f"layers.{n}.{name}": shape for name, shape in stacked for n in range(config.n_layers)}
    shapes |= {"norm": (d_model,), "rotary tables": (config.context_length * config.head_dim,)}
    if not config.tie_embeddings:
        shapes["head"] = (config.vocab_size, d_model)
    expected = 28 + 4 * sum(int(np.prod(shape)) for shape in shapes.values())
    if len(data) != expected:
        raise CheckpointError(f"{path}: {len(data):,} bytes; expected {expected:,} for its shape: cut off or damaged")
    numbers, at, weights = torch.from_numpy(np.frombuffer(data, "<f4", offset=28).copy()), 0, dict[str, Tensor]()
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        weights[f"{name}.weight"] = numbers[at : at + count].view(shape)
        at += count
    del weights["rotary tables.weight"]
    return {
        name: halves(tensor, config.head_dim) if ".q_proj." in name or ".k_proj." in name else tensor.clone()
        for name, tensor in weights.items()
    }
