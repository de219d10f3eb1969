"""What `export hf` writes: transformers computes the same logits and texts with it, and `import hf` gives it back."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from data_paths import needs
from hornbook.checkpoint.load import Checkpoint
from hornbook.config.chat import TEMPLATES, ChatTemplate
from hornbook.config.generate import GenerateConfig
from hornbook.config.model import ModelConfig
from hornbook.config.objective import BlockDiffusionConfig, MaskedDiffusionConfig
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import CheckpointError, TokenizerError
from hornbook.generation.text import generate_text
from hornbook.interop.hf import import_hf, load_hf_directory
from hornbook.interop.hf_export import export_hf
from hornbook.interop.imported import NEXT_TOKEN, save_imported
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.chat import Message, render, render_prompt
from hornbook.tokenizer.tokenizer import Tokenizer

os.environ.setdefault("HF_HUB_OFFLINE", "1")

TEXT = "the cat sat on the mat and the dog sat on the cat; was it fun? it was 12 or 34 times fun.\n"
TOKENIZER = Tokenizer.train([TEXT * 4], TokenizerConfig(vocab_size=300))
LLAMA = {"context_length": 64, "d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 8, "d_ff": 48}
GPT2 = {
    **{**LLAMA, "n_kv_heads": 4, "norm": "layer_norm", "position": "learned", "feed_forward": "gelu_tanh"},
    "bias": True,
}


def checkpoint(objective=NEXT_TOKEN, *, tokenizer=TOKENIZER, biases=("qkv", "out", "mlp"), **shape) -> Checkpoint:
    """A model with every parameter moved off its 0 or 1, but for biases outside of `biases`."""
    config = ModelConfig.model_validate({"vocab_size": 304, **LLAMA, **shape})
    model = Transformer(config, seed=1)
    generator = torch.Generator().manual_seed(2)
    parts = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "o_proj": "out"}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            layer = name.split(".")[-2]
            if layer.endswith("_proj") and name.endswith("bias") and parts.get(layer, "mlp") not in biases:
                continue
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return Checkpoint(
        path=Path("tiny"), step=3, kind="light", model_config=config, objective=dict(objective),
        weights=model.state_dict(), optimizer=None, state={}, tokenizer=tokenizer,
    )  # fmt: skip


def raw(directory: Path):
    return json.loads((directory / "config.json").read_text())


def same_shape(one: ModelConfig, two: ModelConfig) -> bool:
    """But for how weights start, which no other system says."""
    return {**one.model_dump(), "init": ""} == {**two.model_dump(), "init": ""}


SHAPES = {
    "llama": ("llama", {}),
    "llama, untied": ("llama", {"tie_embeddings": False, "n_kv_heads": 1, "head_dim": 6, "norm_eps": 1e-2}),
    "llama, biases": ("llama", {"bias": True, "rope_theta": 50.0}),
    "llama, attention biases": ("llama", {"bias": True, "biases": ("qkv", "out")}),
    "llama, linear": ("llama", {"rope_scaling": {"kind": "linear", "factor": 2.0}}),
    "llama, llama3": (
        "llama",
        {"rope_scaling": {"kind": "llama3", "factor": 8.0, "original_context_length": 16, "high_freq_factor": 3.0}},
    ),
    "llama, yarn": (
        "llama",
        {"rope_scaling": {"kind": "yarn", "factor": 4.0, "original_context_length": 16, "beta_fast": 8.0}},
    ),
    "qwen2": ("qwen2", {"bias": True, "biases": ("qkv",)}),
    "qwen3": ("qwen3", {"qk_norm": True, "tie_embeddings": False}),
    "gpt2": ("gpt2", GPT2),
    "gpt2, untied": ("gpt2", {**GPT2, "tie_embeddings": False, "feed_forward": "relu2"}),
}


@pytest.mark.medium
@pytest.mark.parametrize("name", SHAPES)
def test_there_and_back(name, tmp_path):
    """export_hf itself compares the logits with those of transformers."""
    pytest.importorskip("transformers")
    layout, shape = SHAPES[name]
    before = checkpoint(**shape)
    told = export_hf(before, tmp_path / "out")
    assert (told["layout"], told["checked_by"]) == (layout, "transformers")
    assert bool(told["notes"]) == (layout == "qwen2")  # AutoTokenizer has its own mind about these
    back = import_hf(tmp_path / "out")
    assert same_shape(back.model_config, before.model_config)
    assert back.weights.keys() == before.weights.keys()
    assert all(torch.equal(back.weights[name], tensor) for name, tensor in before.weights.items())
    assert back.tokenizer.fingerprint == TOKENIZER.fingerprint
    assert (back.objective, back.notes) == (NEXT_TOKEN, ())
    config = raw(tmp_path / "out")
    assert config["dtype"] == config["torch_dtype"] == "float32"
    if layout != "gpt2":
        assert config["rope_parameters"]["rope_theta"] == config["rope_theta"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.medium
@pytest.mark.parametrize("name", ["llama", "llama, yarn", "qwen2", "gpt2"])
def test_greedy_texts_equal_those_of_transformers(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    before = checkpoint(**SHAPES[name][1], vocab_size=300)  # else transformers could draw ids that nothing is
    told = export_hf(before, tmp_path / "out")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (auto("a 1234")["input_ids"] != TOKENIZER.encode("a 1234")) == bool(told["notes"]) == (name == "qwen2")
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path / "out")
    ours = Transformer(before.model_config)
    ours.load_state_dict(before.weights)
    prompts = ["the cat", " dog?", "12 or 34", "naïve 🙂", "a"]
    config = GenerateConfig(max_new_tokens=24, temperature=0.0)
    for prompt, made in zip(prompts, generate_text(ours.eval(), TOKENIZER, prompts, config), strict=True):
        ids = tokenizer(prompt, return_tensors="pt")
        assert ids["input_ids"][0].tolist() == TOKENIZER.encode(prompt)
        with torch.inference_mode():
            drawn = theirs.generate(**ids, max_new_tokens=24, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert tokenizer.decode(drawn, skip_special_tokens=True) == made.text
        assert made.tokens == tuple(drawn.tolist())


@pytest.mark.medium
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_smaller_numbers(dtype, tmp_path):
    """The check compares with the rounded weights."""
    pytest.importorskip("transformers")
    before = checkpoint()
    assert export_hf(before, tmp_path / "out", dtype=dtype)["dtype"] == raw(tmp_path / "out")["dtype"] == dtype
    with safe_open(tmp_path / "out/model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {getattr(torch, dtype)}  # noqa: SIM118
    back = import_hf(tmp_path / "out")
    rounded = {name: tensor.to(getattr(torch, dtype)).float() for name, tensor in before.weights.items()}
    assert all(torch.equal(back.weights[name], tensor) for name, tensor in rounded.items())


@pytest.mark.medium
def test_large_models_are_spread_over_files(tmp_path):
    pytest.importorskip("transformers")
    before = checkpoint()
    export_hf(before, tmp_path / "out", shard_bytes=40_000)
    files = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert len(files) > 2
    back = import_hf(tmp_path / "out")
    assert all(torch.equal(back.weights[name], tensor) for name, tensor in before.weights.items())


def test_a_gpt2_without_biases_gets_zeros(tmp_path, monkeypatch):
    without_transformers(monkeypatch)
    before = checkpoint(**{**GPT2, "bias": False})
    assert export_hf(before, tmp_path / "out")["checked_by"] == "hornbook"
    back = import_hf(tmp_path / "out")
    assert back.model_config.bias
    assert all(back.weights[name].equal(tensor) for name, tensor in before.weights.items())
    assert not any(tensor.any() for name, tensor in back.weights.items() if name not in before.weights)


def without_transformers(monkeypatch):
    monkeypatch.setattr("hornbook.interop.hf_check.importlib.util.find_spec", lambda name: None)


@pytest.mark.parametrize("kind", [MaskedDiffusionConfig(schedule="cosine"), BlockDiffusionConfig(block_length=8)])
@pytest.mark.parametrize("biased", [False, True])
def test_diffusion_models_are_laid_out_as_llada(kind, biased, tmp_path):
    objective = kind.model_dump(mode="json")
    before = checkpoint(objective, bias=biased, biases=("qkv",), tie_embeddings=biased)
    told = export_hf(before, tmp_path / "out", dtype="float32")
    assert (told["layout"], told["checked_by"]) == ("llada", "hornbook")
    assert "remote code" in told["notes"][0]
    config = raw(tmp_path / "out")
    assert (config["model_type"], config["mask_token_id"]) == ("llada", TOKENIZER.mask_id)
    with safe_open(tmp_path / "out/model.safetensors", "pt") as file:
        names = set(file.keys())
    block = "model.transformer.blocks.1"
    parts = ("q_proj", "k_proj", "v_proj", "attn_out", "ff_proj", "up_proj", "ff_out", "attn_norm", "ff_norm")
    assert {f"{block}.{part}.weight" for part in parts} <= names
    assert (f"{block}.q_proj.bias" in names) == biased
    assert f"{block}.attn_out.bias" not in names
    assert ("model.transformer.ff_out.weight" in names) == (not biased)
    back = import_hf(tmp_path / "out")
    assert back.objective == objective
    assert same_shape(back.model_config, before.model_config)
    assert all(torch.equal(back.weights[name], tensor) for name, tensor in before.weights.items())


def test_a_llada_of_others_is_a_masked_diffusion_model(tmp_path):
    export_hf(checkpoint(MaskedDiffusionConfig().model_dump(mode="json")), tmp_path / "out")
    config = raw(tmp_path / "out")
    del config["hornbook_objective"]
    (tmp_path / "out/config.json").write_text(json.dumps(config))
    assert import_hf(tmp_path / "out").objective["kind"] == "masked_diffusion"
    (tmp_path / "out/config.json").write_text(json.dumps({**config, "mask_token_id": 5}))
    with pytest.raises(CheckpointError, match="mask_token_id = 5, but the tokenizer's mask token has the id 28"):
        import_hf(tmp_path / "out")


OWN = ChatTemplate(
    control_tokens=("<q>", "<a>", "<e>"),
    begin="it's\n",
    system=("S: ", "\n"),
    user=("<q>", ""),
    assistant=("<a>", '<e>\n"🙂"'),
    stop="<e>",
    default_system='be "kind"',
)
TALKS = [
    [Message("user", "hi there")],
    [Message("system", "be brief"), Message("user", " hi\n"), Message("assistant", "so?"), Message("user", "{{ 1 }}")],
    [Message("system", ""), Message("user", "a <b> & 'c'")],
]


@pytest.mark.medium
@pytest.mark.parametrize("name", [*TEMPLATES, "own"])
def test_conversations_are_rendered_alike(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    template = TEMPLATES.get(name, OWN)
    tokenizer = TOKENIZER.with_chat_template(template)
    export_hf(checkpoint(tokenizer=tokenizer, vocab_size=tokenizer.vocab_size), tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for talk in TALKS:
        messages = [{"role": message.role, "content": message.content} for message in talk]
        prompt = render_prompt(tokenizer, talk).ids
        assert theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=False) == tokenizer.decode(
            prompt
        )
        if name in ("hornbook", "simple_transformer"):  # all marks are control tokens, so no token crosses one
            ids = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
            assert list(ids) == prompt
        whole = [*talk, Message("assistant", "yes")]
        messages.append({"role": "assistant", "content": "yes"})
        assert theirs.apply_chat_template(messages, tokenize=False) == tokenizer.decode(render(tokenizer, whole).ids)
    back = import_hf(tmp_path / "out").tokenizer
    assert back.chat_template == template
    if name != "own":  # without our own file, the program itself is known again
        (tmp_path / "out/chat_template.json").unlink()
        assert import_hf(tmp_path / "out").tokenizer.chat_template == template
    ends = json.loads((tmp_path / "out/generation_config.json").read_text())["eos_token_id"]
    assert tokenizer.special_tokens[template.stop] in (ends if isinstance(ends, list) else [ends])


QWEN = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (QWEN, "You are a helpful assistant."),
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", None),
        ("{{ 1 / 0 }}", None),
        ("{% broken", None),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", None),  # Jinja's sandbox
    ],
)
def test_templates_of_others(program, expected, tmp_path, monkeypatch):
    without_transformers(monkeypatch)
    pytest.importorskip("jinja2")
    export_hf(checkpoint(), tmp_path / "out")
    (tmp_path / "out/chat_template.jinja").write_text(program)
    back = import_hf(tmp_path / "out")
    if expected is None:
        assert back.tokenizer.chat_template is None
        assert "chat template is none of ours" in back.notes[0]
    else:
        assert back.tokenizer.chat_template.stop == "<|im_end|>"
        assert back.tokenizer.chat_template.default_system == expected


@pytest.mark.parametrize(
    ("shape", "objective", "words"),
    [
        ({"logit_soft_cap": 30.0}, NEXT_TOKEN, ["nearest is llama", "logit_soft_cap = 30.0"]),
        ({"norm_position": "post"}, NEXT_TOKEN, ["norm_position = 'post'"]),
        ({"ngram_length": 2, "ngram_rows": 8}, NEXT_TOKEN, ["ngram_length = 2"]),
        ({"scale_embeddings": True}, NEXT_TOKEN, ["scale_embeddings"]),
        ({"position": "learned"}, NEXT_TOKEN, ["position = 'learned' (it has rotary)"]),
        ({"position": "none"}, NEXT_TOKEN, ["position = 'none'"]),
        ({"feed_forward": "relu2"}, NEXT_TOKEN, ["feed_forward = 'relu2' (it has swiglu)"]),
        ({**GPT2, "qk_norm": True}, NEXT_TOKEN, ["nearest is gpt2", "qk_norm (only qwen3 has it)"]),
        ({**GPT2, "n_kv_heads": 2}, NEXT_TOKEN, ["n_kv_heads = 2"]),
        ({**GPT2, "head_dim": 4}, NEXT_TOKEN, ["head_dim = 4"]),
        ({"qk_norm": True, "bias": True}, NEXT_TOKEN, ["biases in mlp, out, qkv (it has none)"]),
        ({"bias": True}, {"kind": "masked_diffusion"}, ["llada", "biases in mlp, out"]),
        ({"qk_norm": True}, {"kind": "masked_diffusion"}, ["llada", "qk_norm"]),
        (
            {"rope_scaling": {"kind": "linear", "factor": 2.0}},
            {"kind": "masked_diffusion"},
            ["llada", "rope_scaling (it has none)"],
        ),
    ],
)
def test_what_no_layout_has_is_named(shape, objective, words, tmp_path):
    with pytest.raises(CheckpointError) as caught:
        export_hf(checkpoint(objective, **shape), tmp_path / "out")
    assert all(word in str(caught.value) for word in words), caught.value
    assert [*tmp_path.iterdir()] == []


def test_a_wrong_layout_and_tokenizers_that_do_not_fit(tmp_path):
    with pytest.raises(CheckpointError, match="layout gpt2 does not hold this model: norm = 'rms_norm'"):
        export_hf(checkpoint(), tmp_path / "out", layout="gpt2")
    with pytest.raises(CheckpointError, match="the tokenizer has 300 ids, the model only 299"):
        export_hf(checkpoint(vocab_size=299), tmp_path / "out")
    letters = Tokenizer.train(["abc"], TokenizerConfig(kind="characters"))
    with pytest.raises(TokenizerError, match="kind 'characters'; a model with such a tokenizer cannot"):
        export_hf(checkpoint(tokenizer=letters), tmp_path / "out")
    assert [*tmp_path.iterdir()] == []


def test_a_directory_with_other_logits_is_not_kept(tmp_path, monkeypatch):
    without_transformers(monkeypatch)
    from hornbook.interop import hf_export

    real = hf_export.config_to_hf
    monkeypatch.setattr(hf_export, "config_to_hf", lambda *args, **ids: {**real(*args, **ids), "rms_norm_eps": 0.5})
    with pytest.raises(CheckpointError, match="gives other logits in hornbook"):
        export_hf(checkpoint(), tmp_path / "out")
    assert [*tmp_path.iterdir()] == []


def test_stories260k_is_imported_and_tells_its_published_story(tmp_path):
    source = needs("models/stories260K-hf/config.json").parent
    reference = json.loads((source / "reference.json").read_text())
    saved = save_imported(import_hf(source), tmp_path / "stories")
    from hornbook import api

    model = api.load(saved, device="cpu")
    ids = reference["greedy_from_bos_ids"]
    made = model.generate("", max_new_tokens=len(ids) - 1, temperature=0.0)
    assert made == reference["published_greedy_text"]
    start = "Once upon a time, there was a little girl"
    assert start + model.generate(start, max_new_tokens=20, temperature=0.0) in made


@pytest.mark.medium
def test_stories260k_goes_out_again(tmp_path):
    transformers = pytest.importorskip("transformers")
    source = needs("models/stories260K-hf/config.json").parent
    saved = save_imported(import_hf(source), tmp_path / "stories")
    from hornbook.checkpoint.load import load_checkpoint

    export_hf(load_checkpoint(saved), tmp_path / "out")
    assert (
        load_hf_directory(source)[0].state_dict().keys() == load_hf_directory(tmp_path / "out")[0].state_dict().keys()
    )
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for each in json.loads((source / "reference.json").read_text())["texts"]:
        assert theirs(each["text"])["input_ids"] == each["ids"]
        assert theirs.decode(each["ids"], skip_special_tokens=True) == each["text"]
