"""A tiny random model of each position kind, and a tokenizer of bytes."""

import pytest

from hornbook.config.model import ModelConfig
from hornbook.models.transformer import Transformer

POSITIONS = ("rotary", "learned", "sinusoidal", "none")


def tiny_config(**changes) -> ModelConfig:
    shape = {
        "vocab_size": 31,
        "context_length": 12,
        "d_model": 16,
        "n_layers": 2,
        "n_heads": 2,
        "n_kv_heads": 1,
        "head_dim": 8,
        "d_ff": 32,
        # untied and of standard deviation 1, so that positions and contexts change the answer
        "tie_embeddings": False,
        "init": "torch_default",
    }
    return ModelConfig(**{**shape, **changes})


@pytest.fixture(scope="session", params=POSITIONS)
def model(request) -> Transformer:
    """Float64, so that cached and uncached logits differ by far less than any draw could notice."""
    return Transformer(tiny_config(position=request.param), seed=3).double()


@pytest.fixture(scope="session")
def rotary_model() -> Transformer:
    return Transformer(tiny_config(), seed=3).double()
