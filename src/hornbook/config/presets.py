"""Named model shapes, as data. A preset is the lowest layer of `[model]`: any key written beside it wins."""

from collections.abc import Mapping
from typing import Any

from hornbook.config.auto import auto_settings, is_auto
from hornbook.config.model import AUTO

Key = tuple[str | int, ...]

_LLAMA: dict[str, Any] = {"tie_embeddings": True}
_GPT2: dict[str, Any] = {
    "norm": "layer_norm",
    "feed_forward": "gelu_tanh",
    "position": "learned",
    "bias": True,
    "init": "gpt2",
    "context_length": 1024,
}

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "cpu-nano": (
        "0.8M besides embeddings: seconds on a laptop, the demo's shape",
        {"n_layers": 4, "n_heads": 4, "d_model": 128, "context_length": 128, "qk_norm": True},
    ),
    "cpu-small": (
        "3M besides embeddings: minutes on a laptop",
        {"n_layers": 4, "n_heads": 4, "d_model": 256, "context_length": 256, "qk_norm": True},
    ),
    "cpu-base": (
        "11M besides embeddings: an evening on a laptop",
        {"n_layers": 6, "n_heads": 6, "d_model": 384, "context_length": 256, "qk_norm": True},
    ),
    "vaswani": (
        "the original Transformer's decoder: post-norm, sinusoidal positions, ReLU",
        {
            "n_layers": 4,
            "n_heads": 8,
            "d_model": 512,
            "d_ff": 1024,
            "context_length": 256,
            "norm": "layer_norm",
            "norm_position": "post",
            "position": "sinusoidal",
            "feed_forward": "relu",
            "bias": True,
            "scale_embeddings": True,
            "init": "xavier",
        },
    ),
    "gpt2": ("GPT-2 small, 124M", {**_GPT2, "n_layers": 12, "n_heads": 12, "d_model": 768}),
    "gpt2-medium": ("GPT-2 medium, 355M", {**_GPT2, "n_layers": 24, "n_heads": 16, "d_model": 1024}),
    "llama-15m": (
        "the shape of the 15M TinyStories Llama",
        {**_LLAMA, "n_layers": 6, "n_heads": 6, "d_model": 288, "d_ff": 768, "context_length": 256},
    ),
    "llama-42m": (
        "the shape of the 42M TinyStories Llama",
        {**_LLAMA, "n_layers": 8, "n_heads": 8, "d_model": 512, "d_ff": 1376, "context_length": 1024},
    ),
    "llama-110m": (
        "the shape of the 110M TinyStories Llama",
        {**_LLAMA, "n_layers": 12, "n_heads": 12, "d_model": 768, "d_ff": 2048, "context_length": 1024},
    ),
    "llama-360m": (
        "a small modern Llama: grouped queries, long rotary base",
        {
            **_LLAMA,
            "n_layers": 32,
            "n_heads": 15,
            "n_kv_heads": 5,
            "d_model": 960,
            "d_ff": 2560,
            "context_length": 2048,
            "rope_theta": 100_000.0,
        },
    ),
    "llama-1b": (
        "a one-billion Llama: grouped queries, long rotary base",
        {
            **_LLAMA,
            "n_layers": 16,
            "n_heads": 32,
            "n_kv_heads": 8,
            "d_model": 2048,
            "d_ff": 8192,
            "context_length": 2048,
            "rope_theta": 500_000.0,
        },
    ),
}


def preset_names() -> list[str]:
    """All that `model.preset` may say."""
    return [*PRESETS, AUTO]


def preset_settings(preset: object, depth: object, written: Mapping[Key, object]) -> dict[Key, object]:
    """{key: value} that a preset stands for beside what the user wrote; nothing if there is no such preset."""
    if is_auto(preset, depth):
        assert isinstance(depth, int)
        return auto_settings(depth, written)
    shape = PRESETS[preset][1] if isinstance(preset, str) and preset in PRESETS else {}
    return {("model", name): value for name, value in shape.items()}
