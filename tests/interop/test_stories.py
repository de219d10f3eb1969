"""The real stories260K model (karpathy/tinyllamas, MIT): published ids, logits and log-likelihoods are reproduced."""

import json
import struct

import numpy as np
import pytest
import torch

from data_paths import needs
from hornbook.config.model import ModelConfig
from hornbook.interop.hf import load_hf_directory
from hornbook.models.cache import KVCache
from hornbook.models.transformer import Transformer

DIRECTORY = "models/stories260K-hf"


@pytest.fixture(scope="module")
def reference():
    return json.loads((needs(DIRECTORY) / "reference.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model():
    return load_hf_directory(needs(DIRECTORY))[0].eval()


@torch.inference_mode()
def greedy(model, first, n_new):
    cache = KVCache(model.config, 1, n_new + 1)
    ids = [first]
    for _ in range(n_new):
        logits = model(torch.tensor([ids[-1:]]), cache=cache)
        cache.advance(1)
        ids.append(int(logits[0, -1].argmax()))
    return ids


def test_greedy_ids_with_a_cache(model, reference):
    expected = reference["greedy_from_bos_ids"]
    assert greedy(model, expected[0], len(expected) - 1) == expected


@torch.inference_mode()
def test_greedy_ids_in_one_forward(model, reference):
    expected = torch.tensor(reference["greedy_from_bos_ids"])
    assert torch.equal(model(expected[None])[0, :-1].argmax(-1), expected[1:])


@pytest.mark.parametrize("index", range(4))
@torch.inference_mode()
def test_logits_and_log_likelihood(model, reference, index):
    text = reference["texts"][index]
    ids = torch.tensor([text["ids"]])
    last = model(ids, only=slice(-1, None))[0, 0]
    # The reference has five decimals, and says it agrees with an independent forward to 2e-5.
    torch.testing.assert_close(last[:8], torch.tensor(text["last_logits_first8"]), rtol=0, atol=3e-5)
    assert int(last.argmax()) == text["last_argmax"]
    nll = model(ids[:, :-1], targets=ids[:, 1:], chunk_tokens=7).nll.sum().item()
    assert nll == pytest.approx(text["nll_sum"], abs=2e-5 * ids.shape[1])


def read_llama2c(path):
    """llama2.c's legacy export: seven int32, then float32 tensors, each kind stacked over the layers.

    Its rotary pairs are neighbours (2i, 2i + 1); ours are (i, i + head_dim / 2), so rows of q and k change places.
    """
    data = path.read_bytes()
    d_model, d_ff, n_layers, n_heads, n_kv_heads, vocab_size, context_length = struct.unpack("<7i", data[:28])
    config = ModelConfig(
        vocab_size=vocab_size,
        context_length=context_length,
        d_model=d_model,
        d_ff=d_ff,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=d_model // n_heads,
    )
    numbers = torch.from_numpy(np.frombuffer(data, dtype="<f4", offset=28).copy())
    at = 0

    def take(*shape):
        nonlocal at
        count = int(np.prod(shape))
        at += count
        return numbers[at - count : at].view(shape)

    def halves(weight):
        return weight.view(-1, config.head_dim // 2, 2, d_model).transpose(1, 2).reshape(-1, d_model)

    narrow = n_kv_heads * config.head_dim
    weights = {"token_embedding.weight": take(vocab_size, d_model)}
    stacked = (
        ("attention_norm", (d_model,)),
        ("attention.q_proj", (d_model, d_model)),
        ("attention.k_proj", (narrow, d_model)),
        ("attention.v_proj", (narrow, d_model)),
        ("attention.o_proj", (d_model, d_model)),
        ("feed_forward_norm", (d_model,)),
        ("feed_forward.gate_proj", (d_ff, d_model)),
        ("feed_forward.down_proj", (d_model, d_ff)),
        ("feed_forward.up_proj", (d_ff, d_model)),
    )
    for name, shape in stacked:
        for n, weight in enumerate(take(n_layers, *shape)):
            is_turned = name.endswith(("q_proj", "k_proj"))
            weights[f"layers.{n}.{name}.weight"] = halves(weight) if is_turned else weight
    weights["norm.weight"] = take(d_model)
    return config, weights


@torch.inference_mode()
def test_the_original_file_is_the_same_model(model, reference):
    config, weights = read_llama2c(needs("models/stories260K/stories260K.bin"))
    original = Transformer(config)
    original.load_state_dict(weights)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    expected = reference["greedy_from_bos_ids"]
    assert greedy(original.eval(), expected[0], 50) == expected[:51]
