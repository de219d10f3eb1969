"""The estimate against what autograd really keeps."""

import pytest
import torch

from hornbook.config.model import ModelConfig, ModelTable
from hornbook.models.memory import training_memory
from hornbook.models.transformer import Transformer


def shape(**settings: object) -> ModelConfig:
    table = {"d_model": 128, "n_layers": 3, "n_heads": 4, "context_length": 64, **settings}
    return ModelTable.model_validate(table).complete(vocab_size=50)


def kept(config: ModelConfig, rows: int, *, half: bool, plain: bool) -> int:
    """Bytes of different storages that the forward pass leaves for the backward, weights excluded."""
    model = Transformer(config)
    model.use_plain_attention(10**9 if plain else 0)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    tokens = torch.zeros(rows, config.context_length, dtype=torch.int64)
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=half):
        model(tokens)
    return sum(storage.nbytes() for pointer, storage in storages.items() if pointer not in own)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("feed_forward", ["swiglu", "gelu"])
def test_activations_are_known_to_about_a_third(half: bool, plain: bool, feed_forward: str) -> None:
    config, rows = shape(feed_forward=feed_forward), 8
    parts = training_memory(config, rows=rows, half=half, state_tensors=2, chunk_tokens=64, plain_attention=plain)
    found = kept(config, rows, half=half, plain=plain)
    assert 0.65 < parts["activations"] / found < 1.5


def test_the_rest_follows_from_the_parameters() -> None:
    config = shape()
    n_parameters = Transformer(config).n_parameters
    parts = training_memory(config, rows=1, half=False, state_tensors=2, chunk_tokens=32)
    assert parts["weights"] == parts["gradients"] == 4 * n_parameters
    assert parts["optimizer"] == 8 * n_parameters
    assert parts["logits"] == 12 * 32 * 50
    less = training_memory(config, rows=1, half=False, state_tensors=2, chunk_tokens=32, activation_checkpointing=True)
    assert less["activations"] < parts["activations"]
