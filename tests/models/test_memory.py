"""The estimate against what autograd really keeps."""

from itertools import product

import pytest
import torch

from hornbook.config.model import ModelConfig, ModelTable
from hornbook.models import memory
from hornbook.models.masks import MAX_STRIPS, MIN_STRIP
from hornbook.models.memory import kept_per_token, strip_keys, training_memory
from hornbook.models.transformer import Transformer

SHAPES: tuple[dict[str, object], ...] = (
    {},
    {"feed_forward": "gelu", "norm": "layer_norm", "bias": True, "position": "learned"},
    {"feed_forward": "relu", "norm": "layer_norm", "norm_position": "post", "position": "sinusoidal"},
    {"feed_forward": "relu2", "qk_norm": True, "n_kv_heads": 2},
    {"feed_forward": "gelu_tanh", "dropout": 0.1, "norm_position": "post"},
    {"n_heads": 2, "head_dim": 24, "context_length": 256},
)


def shape(n_layers: int = 1, **settings: object) -> ModelConfig:
    table = {"d_model": 128, "n_layers": n_layers, "n_heads": 4, "context_length": 64, **settings}
    return ModelTable.model_validate(table).complete(vocab_size=50)


def kept(config: ModelConfig, rows: int, *, half: bool, plain: bool, checkpointing: bool = False) -> int:
    """Bytes of different storages that the forward pass leaves for the backward, weights and their copies excluded."""
    model = Transformer(config).train()
    model.use_plain_attention(10**9 if plain else 0)
    model.activation_checkpointing = checkpointing
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    shapes = {tuple(parameter.shape) for parameter in model.parameters()}
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tuple(tensor.shape) not in shapes and tuple(tensor.T.shape if tensor.ndim == 2 else ()) not in shapes:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    tokens = torch.zeros(rows, config.context_length, dtype=torch.int64)
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=half):
        model(tokens)
    return sum(storage.nbytes() for pointer, storage in storages.items() if pointer not in own)


@pytest.mark.parametrize(("half", "plain"), [*product([False, True], repeat=2)])
@pytest.mark.parametrize("settings", SHAPES, ids=str)
def test_a_layer_keeps_what_the_formula_says(settings: dict[str, object], half: bool, plain: bool) -> None:
    """Two layers less one, so that embedding and head cancel; rows share masks, a byte a key, which are left out."""
    rows, config = 3, shape(**settings)
    one, two = (kept(shape(n, **settings), rows, half=half, plain=plain) for n in (1, 2))
    masks = strip_keys(config.context_length) * config.context_length if plain else 0
    expected = rows * config.context_length * kept_per_token(config, half=half, plain=plain) + masks
    assert two - one == pytest.approx(expected, rel=1e-3)


def test_strips_are_those_of_masks() -> None:
    assert (memory._STRIPS, memory._LEAST_STRIP) == (MAX_STRIPS, MIN_STRIP)
    assert strip_keys(64) == 64
    assert strip_keys(1024) == 640  # (1 + 2 + 3 + 4) / 4 of 256


def test_a_recomputed_layer_keeps_its_input_alone() -> None:
    one, two = (kept(shape(n), 3, half=False, plain=True, checkpointing=True) for n in (1, 2))
    assert two - one == 3 * 64 * 4 * 128
    parts = [
        training_memory(shape(n), rows=3, half=False, state_tensors=2, chunk_tokens=8, activation_checkpointing=True)
        for n in (1, 2)
    ]
    assert parts[1]["activations"] - parts[0]["activations"] == two - one


def test_the_rest_follows_from_the_parameters() -> None:
    config = shape(3)
    n_parameters = Transformer(config).n_parameters
    parts = training_memory(config, rows=1, half=False, state_tensors=2, chunk_tokens=32)
    assert parts["weights"] == parts["gradients"] == 4 * n_parameters
    assert parts["optimizer"] == 8 * n_parameters
    assert parts["logits"] == 12 * 32 * 50
