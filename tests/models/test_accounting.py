import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hornbook.config.model import ModelTable
from hornbook.config.presets import PRESETS
from hornbook.models.accounting import flops_per_token, parameter_counts, training_flops_per_token
from hornbook.models.transformer import Transformer
from tiny_models import POSITIONS, tiny_config

COMPONENTS = {
    "token_embedding": "token_embedding.",
    "position_embedding": "position_embedding.",
    "ngram_embedding": "ngram_embedding.",
    "attention": ".attention.",
    "feed_forward": ".feed_forward.",
    "head": "head.",
}


def counted(config):
    """The same dictionary by looking at every parameter of the model."""
    with torch.device("meta"):
        model = Transformer(config)
    counts = dict.fromkeys((*COMPONENTS, "norm"), 0)
    for name, parameter in model.named_parameters():
        is_norm = name.split(".")[-2].endswith("norm")
        part = "norm" if is_norm else next(key for key, mark in COMPONENTS.items() if mark in name)
        counts[part] += parameter.numel()
    assert sum(counts.values()) == model.n_parameters
    return counts


@pytest.mark.parametrize("preset", list(PRESETS))
def test_parameters_of_every_preset(preset):
    config = ModelTable.model_validate(PRESETS[preset][1]).complete(vocab_size=32_000)
    assert parameter_counts(config) == counted(config)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("norm", ["rms_norm", "layer_norm"])
@pytest.mark.parametrize("norm_position", ["pre", "post"])
@pytest.mark.parametrize("flag", [True, False])
def test_parameters_of_every_shape(position, norm, norm_position, flag):
    config = tiny_config(
        position=position,
        norm=norm,
        norm_position=norm_position,
        bias=flag,
        qk_norm=not flag,
        tie_embeddings=flag,
        feed_forward="relu2" if flag else "swiglu",
        n_kv_heads=2,
        head_dim=6,
    )
    assert parameter_counts(config) == counted(config)


def test_published_sizes():
    gpt2 = ModelTable.model_validate(PRESETS["gpt2"][1]).complete(vocab_size=50_257)
    assert sum(parameter_counts(gpt2).values()) == 124_439_808  # transformers' GPT2LMHeadModel.num_parameters()


@pytest.mark.parametrize(
    "settings", [{}, {"feed_forward": "gelu", "n_kv_heads": 1}, {"tie_embeddings": False, "head_dim": 6}], ids=str
)
def test_operations_equal_those_that_torch_counts(settings):
    config = tiny_config(**settings)
    model, length = Transformer(config), 8
    tokens = torch.zeros(2, length, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        model(tokens)
    assert counter.get_total_flops() == 2 * length * sum(flops_per_token(config, context=length).values())


def test_training_is_three_forwards_or_four():
    config = tiny_config()
    forward = sum(flops_per_token(config, context=8).values())
    assert training_flops_per_token(config, context=8) == 3 * forward
    assert training_flops_per_token(config, context=8, activation_checkpointing=True) == 4 * forward


def test_counting_needs_no_torch():
    code = "import sys, hornbook.models.accounting; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
