"""GGUF files: written and read back, run by llama.cpp, and broken in every way."""

import contextlib
import json
import math
import struct
import urllib.error
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data_paths import needs
from hornbook.checkpoint.load import Checkpoint
from hornbook.config.chat import TEMPLATES
from hornbook.config.model import ModelConfig
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import CheckpointError, TokenizerError
from hornbook.interop.gguf_export import export_gguf
from hornbook.interop.gguf_file import GgufFile, read_gguf
from hornbook.interop.gguf_import import import_gguf
from hornbook.interop.gguf_tokenizer import tokenizer_fields, tokenizer_from_fields
from hornbook.interop.hf import load_hf_directory
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.byte_pair import BytePairScheme
from hornbook.tokenizer.chat import Message, render_prompt
from hornbook.tokenizer.special_tokens import SpecialTokens, Template
from hornbook.tokenizer.tokenizer import Tokenizer
from llama_cpp_server import LlamaCpp

gguf = pytest.importorskip("gguf")

TEXT = "to be or not to be, that is the question: 1234 don't\n\n  x"
PROMPTS = ("to be or", "the", "question 12", "don't\n\n  x", " that is")
TOKENIZER = Tokenizer.train([TEXT] * 3, TokenizerConfig(vocab_size=300))
GPT2 = {"position": "learned", "norm": "layer_norm", "feed_forward": "gelu_tanh"}
TEXTS = (
    "It's 12345 o'clock, isn't it?  \tYES!\r\n\r\n  end",
    "\u00fcber na\u00efve caf\u00e9s \u2014 \u0440\u0443\u0441\u0441\u043a\u0438\u0439 \u65e5\u672c\u8a9e \U0001f600",
    "def f(x):\n    return x[0]+1  # ok\n",
)
SHAPES = {
    "tied": ("llama", {}),
    "grouped": ("llama", {"n_kv_heads": 2}),
    "untied, multi-query, wide heads": ("llama", {"tie_embeddings": False, "n_kv_heads": 1, "head_dim": 32}),
    "biases": ("llama", {"bias": True}),
    "qk_norm": ("qwen3", {"qk_norm": True, "n_kv_heads": 2}),
    "gpt2": ("gpt2", {**GPT2, "bias": True}),
    "gpt2, untied, no biases": ("gpt2", {**GPT2, "tie_embeddings": False}),
}


SHAPE = {f"llama.{key}": 32 for key in ("embedding_length", "context_length", "feed_forward_length", "block_count")} | {
    "llama.attention.head_count": 2,
    "llama.attention.layer_norm_rms_epsilon": 1,
}


def checkpoint(tokenizer=TOKENIZER, *, objective="next_token", changes=None, **settings):
    """A random model, no parameter at its usual 0 or 1, with three ids that its tokenizer does not have."""
    shape = {
        "context_length": 64,
        "d_model": 64,
        "n_layers": 2,
        "n_heads": 4,
        "n_kv_heads": 4,
        "head_dim": 16,
        "d_ff": 96,
    }
    vocab_size = 303 if tokenizer is None else tokenizer.vocab_size + 3
    config = ModelConfig.model_validate({**shape, "vocab_size": vocab_size, **settings})
    model, generator = Transformer(config, seed=0), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
            if changes is not None:
                changes(name, parameter)
    return Checkpoint(
        path=Path("runs/tiny/checkpoints/step-00000001"),
        step=1,
        kind="light",
        model_config=config,
        objective={"kind": objective},
        weights=dict(model.state_dict()),
        optimizer=None,
        state={},
        tokenizer=tokenizer,
    )


def model_of(made):
    model = Transformer(made.model_config)
    model.load_state_dict(dict(made.weights))
    return model.eval()


@torch.inference_mode()
def greedy(model, ids, n_new, stop, *, margin=0.0):
    """The likeliest ids, up to one of `stop`, and to the first whose logit leads by less than `margin`."""
    new = []
    while len(new) < n_new and not (new and new[-1] in stop):
        best = model(torch.tensor([ids + new]))[0, -1].topk(2)
        if best.values[0] - best.values[1] < margin:
            break
        new.append(int(best.indices[0]))
    return new


def same_settings(before, after):
    """All that decides what a model computes: not how its weights started."""
    return before.model_dump(exclude={"init", "dropout"}) == after.model_dump(exclude={"init", "dropout"})


@pytest.mark.parametrize("name", SHAPES)
def test_f32_comes_back_bit_for_bit_and_llama_cpp_says_the_same(name, tmp_path):
    architecture, settings = SHAPES[name]
    before = checkpoint(**settings)
    told = export_gguf(before, tmp_path / "model.gguf")
    assert (told["architecture"], told["error"], told["largest_difference"], told["notes"]) == (
        architecture,
        0.0,
        0.0,
        [],
    )
    after = import_gguf(tmp_path / "model.gguf")
    assert all(torch.equal(after.weights[name], tensor) for name, tensor in before.weights.items())
    assert after.tokenizer.fingerprint == TOKENIZER.fingerprint
    assert after.objective == before.objective
    if after.weights.keys() == before.weights.keys():
        assert same_settings(before.model_config, after.model_config)
    else:  # GPT-2 has biases always
        assert name == "gpt2, untied, no biases"
        assert not any(after.weights[extra].any() for extra in after.weights.keys() - before.weights.keys())
    theirs, ours = LlamaCpp(tmp_path / "model.gguf"), model_of(before)
    # llama.cpp ends a text at what has the name of an end: that may be more than the tokenizer's own.
    stop = {TOKENIZER.special_tokens[end] for end in ("<|endoftext|>", "<|end|>")}
    # It takes GPT-2's activation from a table of float16 numbers; else it sums in another order than torch.
    margin, compared = 3e-2 if architecture == "gpt2" else 1e-3, 0
    for prompt in PROMPTS:
        ids = TOKENIZER.encode(prompt)
        assert theirs.ids(prompt) == ids
        expected = greedy(ours, ids, 20, stop, margin=margin)
        new, _ = theirs.greedy(prompt, 20)
        assert new[: len(expected)] == expected
        compared += len(expected)
    assert compared >= 40


@pytest.mark.parametrize("kind", ["BF16", "Q8_0"])
@pytest.mark.parametrize("name", ["grouped", "gpt2"])
def test_fewer_bits_are_near(name, kind, tmp_path):
    before = checkpoint(**SHAPES[name][1])
    told = export_gguf(before, tmp_path / "model.gguf", kind=kind)
    # Half a step: of 8 significant bits; of 127 steps to the largest number of a block, whose scale is a float16.
    assert 0 < told["error"] <= (2**-8 if kind == "BF16" else 0.5 / 127 + 2**-11)
    after = import_gguf(tmp_path / "model.gguf")
    assert kind in after.source
    # llama.cpp computes with these very weights; its products of Q8_0 are rounded further.
    likely = LlamaCpp(tmp_path / "model.gguf").first_logprobs(TOKENIZER.encode(PROMPTS[0]), 5)
    with torch.inference_mode():
        ours = model_of(after)(torch.tensor([TOKENIZER.encode(PROMPTS[0])]))[0, -1].log_softmax(-1)
    for token, logprob in likely.items():
        assert math.isclose(logprob, ours[token].item(), abs_tol=0.15)


def test_biases_of_queries_keys_and_values_alone_are_qwen2(tmp_path):
    def only_qkv(name, parameter):
        if name.endswith(("o_proj.bias", "gate_proj.bias", "up_proj.bias", "down_proj.bias")):
            parameter.zero_()

    before = checkpoint(bias=True, changes=only_qkv)
    assert export_gguf(before, tmp_path / "model.gguf")["architecture"] == "qwen2"
    after = import_gguf(tmp_path / "model.gguf")
    assert all(torch.equal(after.weights[name], tensor) for name, tensor in before.weights.items())
    ids = TOKENIZER.encode(PROMPTS[0])
    assert LlamaCpp(tmp_path / "model.gguf").greedy(ids, 12)[0] == greedy(model_of(before), ids, 12, set())


@pytest.mark.parametrize(
    "scaling",
    [
        {"kind": "linear", "factor": 4.0},
        {"kind": "llama3", "factor": 8.0, "original_context_length": 8192},
        {"kind": "llama3", "factor": 4.0, "original_context_length": 16},
        {"kind": "yarn", "factor": 4.0, "original_context_length": 16},
        {"kind": "yarn", "factor": 4.0, "original_context_length": 16, "attention_factor": 1.5, "beta_fast": 8.0},
    ],
    ids=str,
)
def test_scaled_rotary_frequencies_travel(scaling, tmp_path):
    before = checkpoint(rope_scaling=scaling)
    export_gguf(before, tmp_path / "model.gguf")
    assert import_gguf(tmp_path / "model.gguf").model_config.rope_scaling == before.model_config.rope_scaling
    ids = (TOKENIZER.encode(TEXT) * 3)[:60]
    likely = LlamaCpp(tmp_path / "model.gguf").first_logprobs(ids, 5)
    with torch.inference_mode():
        ours = model_of(before)(torch.tensor([ids]))[0, -1].log_softmax(-1)
    for token, logprob in likely.items():
        assert math.isclose(logprob, ours[token].item(), abs_tol=1e-3)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_template_travels(name, tmp_path):
    tokenizer = TOKENIZER.with_chat_template(TEMPLATES[name])
    export_gguf(checkpoint(tokenizer), tmp_path / "model.gguf")
    after = import_gguf(tmp_path / "model.gguf").tokenizer
    assert after.chat_template == tokenizer.chat_template
    assert after.fingerprint == tokenizer.fingerprint
    theirs = LlamaCpp(tmp_path / "model.gguf")
    messages = [
        {"role": "system", "content": "to be"},
        {"role": "user", "content": "or not?\n"},
        {"role": "assistant", "content": " to be"},
        {"role": "user", "content": "that is"},
    ]
    rendered = render_prompt(tokenizer, [Message(each["role"], each["content"]) for each in messages]).ids
    # Ours tokenises text by text, so that only the names of control tokens and the whole text are sure to be equal.
    assert theirs.chat(messages) == tokenizer.decode(rendered)
    text = f"{tokenizer.chat_template.stop}to be"
    assert theirs.ids(text, special=True) == tokenizer.encode(text, allowed_special="all")
    assert theirs.ids(text) == tokenizer.encode(text)


def test_a_chat_template_of_others_is_recognised_or_told(tmp_path):
    tokenizer = TOKENIZER.with_chat_template(TEMPLATES["chatml"])
    metadata, _ = tokenizer_fields(tokenizer, n_ids=310)
    del metadata["hornbook.chat_template"]
    back, notes = tokenizer_from_fields(metadata, "a file")
    assert (back.chat_template, notes) == (TEMPLATES["chatml"], [])
    metadata["tokenizer.chat_template"] = "{{ messages[0]['content'] }}!"
    back, notes = tokenizer_from_fields(metadata, "a file")
    assert back.chat_template is None
    assert "is not kept" in notes[0]


def test_sentence_pieces_travel_and_stories260k_writes_its_published_text(tmp_path):
    directory = needs("models/stories260K-hf")
    model, _ = load_hf_directory(directory)
    tokenizer = Tokenizer.load(directory)
    made = replace(checkpoint(), model_config=model.config, weights=model.state_dict(), tokenizer=tokenizer)
    export_gguf(made, tmp_path / "model.gguf")
    after = import_gguf(tmp_path / "model.gguf")
    assert after.tokenizer.fingerprint == tokenizer.fingerprint
    assert all(torch.equal(after.weights[name], tensor) for name, tensor in made.weights.items())
    theirs = LlamaCpp(tmp_path / "model.gguf", context=256)
    for text in ("Once upon a time", "caf\u00e9 \u65e5", "  two  blanks\n\n x", "", "a"):
        assert theirs.ids(text) == tokenizer.encode(text)
    reference = json.loads((directory / "reference.json").read_text(encoding="utf-8"))
    new, text = theirs.greedy("", 200)
    assert new == reference["greedy_from_bos_ids"][1:201]
    assert text.strip() in reference["published_greedy_text"]


@pytest.mark.parametrize("pattern", ["gpt2", "smollm", "qwen2", "llama3"])
def test_llama_cpp_splits_text_as_we_do(pattern, tmp_path):
    words = [*TEXTS, TEXT]
    tokenizer = Tokenizer.train(words * 4, TokenizerConfig(vocab_size=420, pattern=pattern))
    export_gguf(checkpoint(tokenizer), tmp_path / "model.gguf")
    theirs = LlamaCpp(tmp_path / "model.gguf")
    assert [theirs.ids(text) for text in words] == [tokenizer.encode(text) for text in words]
    assert import_gguf(tmp_path / "model.gguf").tokenizer.encode(TEXT) == tokenizer.encode(TEXT)


def test_masked_diffusion_is_llada(tmp_path):
    before = checkpoint(objective="masked_diffusion")
    told = export_gguf(before, tmp_path / "model.gguf")
    assert told["architecture"] == "llada"
    assert "llama-diffusion-cli" in told["notes"][0]
    file = read_gguf(tmp_path / "model.gguf")
    assert file.metadata["llada.attention.causal"] is False
    assert file.metadata["tokenizer.ggml.mask_token_id"] == TOKENIZER.mask_id
    with pytest.raises(urllib.error.HTTPError):  # its server loads such a model and does not run it
        LlamaCpp(tmp_path / "model.gguf").greedy("to be", 3)
    after = import_gguf(tmp_path / "model.gguf")
    assert after.objective == {"kind": "masked_diffusion"}
    assert all(torch.equal(after.weights[name], tensor) for name, tensor in before.weights.items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm_position": "post"}, "norm_position"),
        ({"position": "sinusoidal"}, "position"),
        ({"feed_forward": "relu2"}, "feed_forward"),
        ({"logit_soft_cap": 15.0}, "logit_soft_cap"),
        ({"qk_norm": True, "bias": True}, "biases"),
        ({**GPT2, "feed_forward": "gelu"}, 'gpt2 with feed_forward = "gelu_tanh" alone'),
        ({"objective": "block_diffusion"}, "attends by blocks"),
        ({"qk_norm": True, "rope_scaling": {"kind": "llama3", "factor": 8, "original_context_length": 9}}, "qwen3"),
    ],
)
def test_what_llama_cpp_does_not_compute_is_an_error_that_names_it(settings, message, tmp_path):
    with pytest.raises(CheckpointError, match=message):
        export_gguf(checkpoint(**settings), tmp_path / "model.gguf")
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "model.gguf").write_text("mine")
    with pytest.raises(CheckpointError, match="exists already"):
        export_gguf(checkpoint(), tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_text() == "mine"


def test_tokenizers_that_llama_cpp_would_run_otherwise_are_errors(tmp_path):
    strange = Tokenizer.train([TEXT], TokenizerConfig(vocab_size=300, pattern=r"\w+|\W+"))
    with pytest.raises(TokenizerError, match="does not know the splitting pattern"):
        export_gguf(checkpoint(strange), tmp_path / "model.gguf")
    letters = Tokenizer.train([TEXT], TokenizerConfig(kind="characters"))
    with pytest.raises(TokenizerError, match="characters"):
        export_gguf(checkpoint(letters), tmp_path / "model.gguf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "kind", ["F16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
)
def test_every_usual_type_is_read(kind, tmp_path):
    """Blocks of random bytes stand for numbers; what they stand for, the package gguf says."""
    width = 256
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    made = checkpoint(None, d_model=width, head_dim=64, d_ff=256, n_layers=1)
    quantisation = gguf.GGMLQuantizationType[kind]
    block, n_bytes = gguf.GGML_QUANT_SIZES[quantisation]
    random = np.random.default_rng(0)
    from hornbook.interop.gguf_layouts import metadata_of, rules_of
    from hornbook.interop.names import expand, to_theirs

    for key, value in metadata_of(made.model_config, "llama").items():
        (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(key, value)
    for name, tensor in to_theirs(made.weights, expand(rules_of("llama"), 1)).items():
        if tensor.dim() == 1:
            writer.add_tensor(name, tensor.numpy())
        elif kind == "F16":
            writer.add_tensor(name, tensor.numpy().astype(np.float16))
        else:  # small bytes, so that scales read as float16 are finite
            raw = random.integers(0, 60, (tensor.shape[0], width // block * n_bytes), dtype=np.uint8)
            writer.add_tensor(name, raw, raw_dtype=quantisation)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    imported = import_gguf(tmp_path / "model.gguf")
    assert imported.tokenizer is None
    reader = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    expected = gguf.quants.dequantize(reader["blk.0.ffn_up.weight"].data, quantisation)
    up = imported.weights["layers.0.feed_forward.up_proj.weight"]
    assert up.dtype == torch.float32
    assert torch.equal(up, torch.from_numpy(np.asarray(expected, np.float32)))
    if kind == "F16":
        assert torch.equal(up, made.weights["layers.0.feed_forward.up_proj.weight"].half().float())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    export_gguf(checkpoint(d_model=16, head_dim=4, d_ff=8, n_layers=1), path)
    return path.read_bytes()


def test_a_file_cut_anywhere_is_an_error(whole, tmp_path):
    path = tmp_path / "cut.gguf"
    for length in [*range(0, 400, 7), *range(400, len(whole) - 1, len(whole) // 60), len(whole) - 40]:
        path.write_bytes(whole[:length])
        with pytest.raises((CheckpointError, TokenizerError), match=r"cut\.gguf"):
            import_gguf(path)


def test_a_damaged_file_is_an_error_or_another_model_and_never_a_crash(whole, tmp_path):
    path, random = tmp_path / "damaged.gguf", np.random.default_rng(0)
    n_header = whole.index(b"token_embd.weight") + 200
    for _ in range(150):
        damaged = bytearray(whole)
        for at in random.integers(0, n_header, 3):
            damaged[at] = random.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(CheckpointError, TokenizerError):
            import_gguf(path)


def test_counts_that_no_file_can_hold_are_errors(tmp_path):
    path = tmp_path / "huge.gguf"
    key = struct.pack("<Q", 1) + b"k"
    for value in (
        struct.pack("<IIQ", 9, 0, 2**60),  # as many bytes
        struct.pack("<IIQ", 9, 8, 2**60),  # as many texts
        struct.pack("<IQ", 8, 2**63),
        struct.pack("<II", 9, 9) + struct.pack("<Q", 1),  # lists of lists
    ):
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key + value)
        with pytest.raises(CheckpointError, match="damaged"):
            read_gguf(path)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**62, 0))
    with pytest.raises(CheckpointError, match="damaged"):
        read_gguf(path)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 1, 0, 0))
    with pytest.raises(CheckpointError, match="version 1"):
        read_gguf(path)


@pytest.mark.parametrize("field", ["bos_token_id", "token_type", "merges", "tokens", "pre", "model"])
def test_damaged_fields_of_a_tokenizer_are_named(field):
    metadata, _ = tokenizer_fields(TOKENIZER, n_ids=310)
    metadata |= {"tokenizer.ggml.add_bos_token": True, f"tokenizer.ggml.{field}": [10**6]}
    with pytest.raises(TokenizerError, match=rf"a file: tokenizer\.ggml\.{field}"):
        tokenizer_from_fields(metadata, "a file")


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", "llama3", "qwen2", "smollm"])
@pytest.mark.parametrize("normalizer", [None, "NFC"])
def test_a_byte_pair_tokenizer_comes_back_as_it_was(pattern, normalizer):
    trained = Tokenizer.train([TEXT], TokenizerConfig(vocab_size=300, pattern=pattern)).scheme
    scheme = BytePairScheme(trained.tokens, trained.merges, pattern=pattern, normalizer=normalizer)
    end = "<|endoftext|>"
    names = SpecialTokens({end: 320}, template=Template((end,), (end,)))
    ours = Tokenizer(scheme, names)
    back, _ = tokenizer_from_fields(tokenizer_fields(ours, n_ids=321)[0], "a file")
    assert back.fingerprint == ours.fingerprint


@pytest.mark.parametrize("written", [1, "[", '["qwen2", false, null]', '["gpt2", 1, null]', '["gpt2", true, "x"]'])
def test_another_splitting_than_the_file_names_is_an_error(written):
    metadata = tokenizer_fields(TOKENIZER, n_ids=310)[0] | {"hornbook.splitting": written}
    with pytest.raises(TokenizerError, match=r"a file: hornbook\.splitting"):
        tokenizer_from_fields(metadata, "a file")


def test_more_around_a_text_than_llama_cpp_puts_there_is_an_error():
    names = SpecialTokens({"<|a|>": 320, "<|b|>": 321}, template=Template(("<|a|>", "<|b|>")))
    with pytest.raises(TokenizerError, match=r"one token before a text .* not <\|a\|>, <\|b\|>"):
        tokenizer_fields(Tokenizer(TOKENIZER.scheme, names), n_ids=322)


@pytest.mark.parametrize("key", ["hornbook.objective", "hornbook.rope_scaling"])
@pytest.mark.parametrize("value", [1, True, [1], "[" * 100_000])
def test_our_own_keys_are_not_believed(whole, key, value, tmp_path, monkeypatch):
    (tmp_path / "model.gguf").write_bytes(whole)
    file = read_gguf(tmp_path / "model.gguf")
    damaged = GgufFile(file.path, {**file.metadata, key: value}, file.tensors)
    monkeypatch.setattr("hornbook.interop.gguf_import.read_gguf", lambda path: damaged)
    with pytest.raises(CheckpointError, match=rf"{key} is damaged"):
        import_gguf(file.path)


def test_other_architectures_and_parts_of_models_are_named(tmp_path):
    path = tmp_path / "model.gguf"

    def write(metadata, architecture="llama"):
        writer = gguf.GGUFWriter(path, architecture)
        writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
        for key, value in metadata.items():
            writer.add_uint32(key, value)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    write({}, "mamba")
    with pytest.raises(CheckpointError, match=r"architecture 'mamba' is not supported; expected llama"):
        import_gguf(path)
    write({"llama.embedding_length": 32})
    with pytest.raises(CheckpointError, match=r"llama\.attention\.head_count is missing"):
        import_gguf(path)
    write({"llama.expert_count": 8})
    with pytest.raises(CheckpointError, match="mixtures of experts"):
        import_gguf(path)
    write(SHAPE | {"llama.block_count": 2**31})
    with pytest.raises(CheckpointError, match="2147483648 layers in 1 tensors"):
        import_gguf(path)
    write({"split.count": 3})
    with pytest.raises(CheckpointError, match="one of 3 files"):
        import_gguf(path)


def test_the_objective_of_a_foreign_file_is_not_believed(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_string("hornbook.objective", json.dumps({"kind": "magic"}))
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError):
        import_gguf(tmp_path / "model.gguf")
