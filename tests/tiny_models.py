"""Tiny model shapes for tests: the smallest that still have two of everything."""

from hornbook.config.model import ModelConfig, ModelTable
from hornbook.models.transformer import Transformer

VOCABULARY = 11

POSITIONS = ("rotary", "learned", "sinusoidal", "none")
HEADS = ((4, 4), (4, 2), (4, 1))
"""(n_heads, n_kv_heads): multi-head, grouped, multi-query."""


def tiny_config(**settings: object) -> ModelConfig:
    shape = {"d_model": 16, "n_layers": 2, "n_heads": 4, "context_length": 16, "d_ff": 24, **settings}
    return ModelTable.model_validate(shape).complete(vocab_size=VOCABULARY)


def tiny_model(*, seed: int = 0, **settings: object) -> Transformer:
    """In float64, where rounding cannot hide a mistake."""
    return Transformer(tiny_config(**settings), seed=seed).double().eval()
