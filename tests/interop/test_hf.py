"""Against transformers itself (medium: importing it takes five seconds), and what is refused."""

import contextlib
import json
import os

import pytest
import torch
from safetensors.torch import save_file

from hornbook.errors import CheckpointError
from hornbook.interop.hf import load_hf_directory, weights_from_hf
from hornbook.interop.hf_config import config_from_hf
from hornbook.interop.hf_hub import find_hf
from hornbook.models.transformer import Transformer

os.environ.setdefault("HF_HUB_OFFLINE", "1")

VOCABULARY = 40
LLAMA = {
    "model_type": "llama",
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}
GPT2 = {
    "model_type": "gpt2",
    "vocab_size": VOCABULARY,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 32,
}


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def theirs(config):
    """A randomly initialised model of transformers, every parameter moved off its 0 or 1."""
    transformers = pytest.importorskip("transformers")
    kinds = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "gpt2": (transformers.GPT2Config, transformers.GPT2LMHeadModel),
        "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    }
    config_class, model_class = kinds[config["model_type"]]
    settings = {key: value for key, value in config.items() if key != "model_type"}
    hf_config = config_class(**settings, bos_token_id=0, eos_token_id=0, attn_implementation="eager")
    torch.manual_seed(0)
    model = model_class(hf_config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


SHAPES = [
    LLAMA,
    {**LLAMA, "num_key_value_heads": 4, "tie_word_embeddings": True},
    {**LLAMA, "num_key_value_heads": 1, "head_dim": 6, "rms_norm_eps": 1e-2},
    {**LLAMA, "rope_theta": 50.0, "attention_bias": True, "mlp_bias": True},
    {**LLAMA, "attention_bias": True},
    {**LLAMA, "mlp_bias": True},
    {**LLAMA, "rope_parameters": {"rope_type": "default", "rope_theta": 77.0}},
    {**LLAMA, "rope_scaling": {"type": "linear", "factor": 4.0}},
    {**LLAMA, "rope_parameters": {**LLAMA3, "rope_theta": 500.0}},
    {**LLAMA, "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8}},
    {**LLAMA, "model_type": "mistral", "sliding_window": None},
    {**LLAMA, "model_type": "qwen2", "tie_word_embeddings": True},
    {**LLAMA, "model_type": "qwen3", "head_dim": 8},
    {**LLAMA, "model_type": "qwen3", "head_dim": 8, "attention_bias": True},
    GPT2,
    {**GPT2, "tie_word_embeddings": False, "n_inner": 20, "layer_norm_epsilon": 1e-2},
    {**GPT2, "activation_function": "gelu"},
    {**GPT2, "activation_function": "relu", "n_head": 2},
]


def label(config):
    standard = GPT2 if config["model_type"] == "gpt2" else LLAMA
    changes = [f"{key}={value}" for key, value in config.items() if standard.get(key) != value]
    return " ".join([config["model_type"], *changes])


@pytest.mark.medium
@pytest.mark.parametrize("config", SHAPES, ids=label)
@torch.inference_mode()
def test_logits_equal_those_of_transformers(config):
    reference = theirs(config)
    shape = config_from_hf(reference.config.to_dict())
    model = Transformer(shape)
    model.load_state_dict(weights_from_hf(reference.state_dict(), shape))
    model.eval()
    for length in (1, 7, 32):  # up to the whole context
        tokens = torch.randint(VOCABULARY, (2, length), generator=torch.Generator().manual_seed(length))
        torch.testing.assert_close(model(tokens), reference(tokens).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.medium
@pytest.mark.parametrize("config", [LLAMA, {**GPT2, "tie_word_embeddings": True}], ids=label)
@pytest.mark.parametrize("max_shard_size", ["1GB", "8KB"])
def test_a_directory_that_transformers_saved_is_read(config, max_shard_size, tmp_path):
    reference = theirs(config)
    reference.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    assert (tmp_path / "model.safetensors.index.json").exists() == (max_shard_size == "8KB")
    model, raw = load_hf_directory(tmp_path)
    assert raw["eos_token_id"] == 0
    tokens = torch.arange(10)[None]
    torch.testing.assert_close(model(tokens), reference(tokens).logits, rtol=1e-5, atol=1e-5)
    assert all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.medium
def test_older_files_have_other_prefixes_and_buffers():
    reference = theirs(GPT2)
    body = {name.removeprefix("transformer."): tensor for name, tensor in reference.state_dict().items()}
    del body["lm_head.weight"]
    body["h.0.attn.bias"] = torch.ones(1, 1, 32, 32)
    body["h.0.attn.masked_bias"] = torch.tensor(-1e4)
    shape = config_from_hf(GPT2)
    model = Transformer(shape)
    model.load_state_dict(weights_from_hf(body, shape))
    tokens = torch.arange(10)[None]
    torch.testing.assert_close(model(tokens), reference(tokens).logits, rtol=1e-5, atol=1e-5)


def test_attention_that_slides_has_the_context_of_its_window():
    config = {**LLAMA, "model_type": "mistral", "sliding_window": 8}
    assert config_from_hf(config).context_length == 8
    assert config_from_hf({**config, "model_type": "qwen2"}).context_length == 32
    assert config_from_hf({**config, "model_type": "qwen2", "use_sliding_window": True}).context_length == 8


def test_the_rotary_base_is_found_where_each_version_puts_it():
    assert config_from_hf(LLAMA).rope_theta == 10_000.0
    assert config_from_hf({**LLAMA, "rope_theta": 5}).rope_theta == 5.0
    assert config_from_hf({**LLAMA, "rope_theta": 5, "rope_scaling": None}).rope_theta == 5.0
    assert config_from_hf({**LLAMA, "rope_parameters": {"rope_theta": 6.0, "rope_type": "default"}}).rope_theta == 6.0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "model_type = None; expected one of gpt2, llada, llama, mistral, qwen2, qwen3"),
        ({**LLAMA, "model_type": "mamba"}, "model_type = 'mamba'"),
        ({**LLAMA, "hidden_act": "relu"}, "hidden_act = 'relu' is not supported; expected 'silu'"),
        ({**LLAMA, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_type = 'dynamic' is not supported"),
        ({**LLAMA, "rope_parameters": {"rope_type": "longrope"}}, "rope_type = 'longrope' is not supported"),
        ({**LLAMA, "rope_parameters": {"rope_type": "llama3"}}, "factor is missing"),
        ({**LLAMA, "rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor = 0.5"),
        ({key: LLAMA[key] for key in LLAMA if key != "intermediate_size"}, "intermediate_size is missing"),
        ({**LLAMA, "hidden_size": "16"}, "hidden_size = '16'; expected a positive integer"),
        ({**LLAMA, "num_key_value_heads": 3}, "n_heads = 4 is not a multiple of n_kv_heads = 3"),
        ({**LLAMA, "num_hidden_layers": -1}, "n_layers: Input should be greater than 0"),
        ({**LLAMA, "rope_theta": "long"}, "rope_theta = 'long'; expected a positive number"),
        ({**GPT2, "activation_function": "silu"}, "activation_function = 'silu' is not supported"),
        ({**GPT2, "scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx = True"),
        ({**GPT2, "scale_attn_weights": False}, "scale_attn_weights = False"),
        ({**GPT2, "add_cross_attention": True}, "add_cross_attention = True"),
    ],
)
def test_what_we_do_not_compute_is_an_error_that_names_it(config, message):
    with pytest.raises(CheckpointError, match=r"config\.json") as caught:
        config_from_hf(config)
    assert message in str(caught.value)


def write(directory, config, weights):
    (directory / "config.json").write_text(json.dumps(config))
    save_file(weights, directory / "model.safetensors")


def test_weights_that_do_not_fit_are_listed_together(tmp_path):
    shape = config_from_hf(GPT2)
    weights = {"wte.weight": torch.zeros(VOCABULARY, 16), "wpe.weight": torch.zeros(31, 16)}
    write(tmp_path, GPT2, weights)
    with pytest.raises(CheckpointError) as caught:
        load_hf_directory(tmp_path)
    assert "layers.1.attention.q_proj.bias" in str(caught.value)
    assert "position_embedding.weight" in str(caught.value)
    with pytest.raises(CheckpointError, match=r"has: transformer\.h\.0\.attn\.extra"):
        weights_from_hf({**weights, "h.0.attn.extra": torch.zeros(1)}, shape)


@pytest.mark.medium
def test_half_of_the_biases_is_an_error(tmp_path):
    reference = theirs({**LLAMA, "attention_bias": True})
    weights = {name: tensor.contiguous() for name, tensor in reference.state_dict().items()}
    del weights["model.layers.1.self_attn.q_proj.bias"]
    write(tmp_path, {**LLAMA, "attention_bias": True}, weights)
    with pytest.raises(CheckpointError, match=r"layers\.1\.attention\.q_proj\.bias"):
        load_hf_directory(tmp_path)


def test_broken_directories_are_errors(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read"):
        load_hf_directory(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="got list, expected an object"):
        load_hf_directory(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read"):
        load_hf_directory(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read"):
        load_hf_directory(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../elsewhere"}}))
    with pytest.raises(CheckpointError, match="lies outside the directory"):
        load_hf_directory(tmp_path)


LLADA = {
    **{"model_type": "llada", "vocab_size": VOCABULARY, "d_model": 16, "n_layers": 2, "n_heads": 4},
    **{"mlp_hidden_size": 24, "max_sequence_length": 32, "rope": True},
}
YARN = {**LLAMA, "rope_scaling": {"rope_type": "yarn", "factor": 2.0, "beta_fast": 9, "beta_slow": 2}}
STRANGE = (None, True, -1, 0, 2.5, 1e308, "x", [], [1], {}, {"a": 1}, "yarn")


@pytest.mark.parametrize(
    "config", [YARN, {**LLAMA, "model_type": "qwen3", "sliding_window": 4}, GPT2, LLADA], ids=label
)
def test_strange_values_are_errors_of_ours_or_mean_nothing(config):
    tried = [{**config, key: value} for key in config for value in STRANGE]
    inner = config.get("rope_scaling", {})
    tried += [{**config, "rope_scaling": {**inner, key: value}} for key in inner for value in STRANGE]
    refused = []
    for strange in tried:
        with contextlib.suppress(CheckpointError):
            config_from_hf(strange)
            continue
        refused.append(strange)
    assert len(refused) > len(tried) / 2


def test_more_layers_than_tensors_are_never_built():
    shape = config_from_hf({**LLAMA, "num_hidden_layers": 10**9})
    with pytest.raises(CheckpointError, match="1000000000 layers, and only 1 tensors"):
        weights_from_hf({"lm_head.weight": torch.ones(1)}, shape)


@pytest.mark.parametrize("key", ["hidden_size", "intermediate_size", "vocab_size", "head_dim"])
def test_sizes_that_no_tensor_has_are_errors(key):
    shape = config_from_hf({**LLAMA, "num_attention_heads": 4, "num_key_value_heads": 4, key: 2**64})
    with pytest.raises(CheckpointError, match="larger than any tensor can be"):
        weights_from_hf({str(n): torch.ones(1) for n in range(9)}, shape)


def test_pickled_weights_are_not_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(CheckpointError, match=r"has pytorch_model\.bin and no model\.safetensors; a pickled file"):
        load_hf_directory(tmp_path)


def test_a_hub_that_cannot_be_reached(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *_, **__: (_ for _ in ()).throw(OSError("no route")))
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: (_ for _ in ()).throw(OSError("not cached")))
    with pytest.raises(CheckpointError, match=r"some/model: no such directory here.*\(no route\).*offline"):
        find_hf("some/model")


def test_a_hub_is_asked_for_files_that_are_no_programs(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    asked = {}

    def download(name, **settings):
        asked.update(settings, name=name)
        return str(tmp_path)

    monkeypatch.setattr(hub.HfApi, "model_info", lambda *_, **__: None)
    monkeypatch.setattr(hub, "snapshot_download", download)
    assert find_hf("some/model") == (tmp_path, "some/model on the hub")
    assert asked["name"] == "some/model"
    assert not [pattern for pattern in asked["allow_patterns"] if pattern.endswith((".py", ".bin", ".pt", "*"))]
    assert find_hf(str(tmp_path)) == (tmp_path, str(tmp_path))
