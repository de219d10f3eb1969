"""Checkpoints of other projects: tiny ones by their names and shapes, beside a slow forward as their code has it."""

import json
import math
import struct

import pytest
import torch
from safetensors.torch import save_file

from data_paths import needs
from hornbook.cli.main import main
from hornbook.errors import CheckpointError, HornbookError
from hornbook.interop.foreign_checkpoints import import_nanochat, import_nanogpt, load_safely
from hornbook.interop.foreign_llamas import import_diffusionlm, import_plainlm
from hornbook.interop.imported import save_imported
from hornbook.interop.llama2c import import_llama2c
from hornbook.models.transformer import Transformer

VOCABULARY, WIDTH, HEADS, LAYERS, CONTEXT = 20, 16, 2, 2, 12
HEAD = WIDTH // HEADS
TOKENS = torch.tensor([3, 1, 19, 7, 7, 0, 12, 5])


def random_state(shapes):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) * 0.4 for name, shape in shapes.items()}


def logits_of(imported):
    """Ours, in float64."""
    model = Transformer(imported.model_config).double().eval()
    model.load_state_dict({name: tensor.double() for name, tensor in imported.weights.items()})
    with torch.inference_mode():
        return model(TOKENS[None])[0]


def same(ours, theirs):
    # Both are float64, and rotary tables are float32 in ours.
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def wide(state):
    return {name: tensor.double() for name, tensor in state.items()}


def rms(x, eps, gain=1.0):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * gain


def layer_norm(x, gain, bias):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain + bias


def angles(theta):
    exponents = torch.arange(0, HEAD, 2, dtype=torch.float64) / HEAD
    return torch.arange(len(TOKENS), dtype=torch.float64)[:, None] / theta**exponents


def turned_neighbours(x, theta):
    """(t, heads, e): pairs (2i, 2i + 1) turned by the angles of their positions."""
    cos, sin = angles(theta).cos()[:, None], angles(theta).sin()[:, None]
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


def attention(q, k, v, *, causal=True, scale=1.0):
    """(t, heads, e) each, one head after the other."""
    heads = []
    for head in range(q.shape[1]):
        shared = head * k.shape[1] // q.shape[1]
        scores = q[:, head] @ k[:, shared].T / math.sqrt(HEAD) * scale
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -math.inf)
        heads.append(scores.softmax(-1) @ v[:, shared])
    return torch.cat(heads, -1)


def split(x):
    return x.view(len(TOKENS), -1, HEAD)


def silu(x):
    return x / (1 + (-x).exp())


# nanoGPT


def nanogpt_state(*, bias):
    layer = {
        **{f"{name}.weight": (WIDTH,) for name in ("ln_1", "ln_2")},
        "attn.c_attn.weight": (3 * WIDTH, WIDTH),
        "attn.c_proj.weight": (WIDTH, WIDTH),
        "mlp.c_fc.weight": (4 * WIDTH, WIDTH),
        "mlp.c_proj.weight": (WIDTH, 4 * WIDTH),
    }
    shapes = {"transformer.wte.weight": (VOCABULARY, WIDTH), "transformer.wpe.weight": (CONTEXT, WIDTH)}
    shapes |= {f"transformer.h.{n}.{name}": shape for n in range(LAYERS) for name, shape in layer.items()}
    shapes["transformer.ln_f.weight"] = (WIDTH,)
    if bias:
        shapes |= {n.replace("weight", "bias"): s[:1] for n, s in shapes.items() if ".wte" not in n and ".wpe" not in n}
    state = random_state(shapes)
    return {**state, "lm_head.weight": state["transformer.wte.weight"]}


def nanogpt_logits(state):
    state = wide(state)

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0)

    def norm(x, name):
        return layer_norm(x, state[f"{name}.weight"], state.get(f"{name}.bias", 0))

    x = state["transformer.wte.weight"][TOKENS] + state["transformer.wpe.weight"][: len(TOKENS)]
    for n in range(LAYERS):
        at = f"transformer.h.{n}."
        q, k, v = linear(norm(x, at + "ln_1"), at + "attn.c_attn").split(WIDTH, -1)
        x = x + linear(attention(split(q), split(k), split(v)), at + "attn.c_proj")
        inner = linear(norm(x, at + "ln_2"), at + "mlp.c_fc")
        x = x + linear(inner * 0.5 * (1 + (inner / math.sqrt(2)).erf()), at + "mlp.c_proj")
    return norm(x, "transformer.ln_f") @ state["lm_head.weight"].T


def save_nanogpt(path, state, **changes):
    shape = {"n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "block_size": CONTEXT, "vocab_size": VOCABULARY}
    args = {**shape, "dropout": 0.1, "bias": any(name.endswith(".bias") for name in state), **changes}
    torch.save({"model": state, "optimizer": {"state": {}}, "model_args": args, "iter_num": 7, "config": {}}, path)


@pytest.mark.parametrize("bias", [True, False])
def test_nanogpt(bias, tmp_path):
    state = nanogpt_state(bias=bias)
    save_nanogpt(tmp_path / "ckpt.pt", {f"_orig_mod.{name}": tensor for name, tensor in state.items()}, bias=bias)
    imported = import_nanogpt(tmp_path / "ckpt.pt")
    same(logits_of(imported), nanogpt_logits(state))
    assert "meta.pkl is never read" in imported.notes[0]


# nanochat


def nanochat_state(rows):
    layer = {f"attn.c_{letter}.weight": (WIDTH, WIDTH) for letter in "q"} | {
        **{f"attn.c_{letter}.weight": (WIDTH // 2, WIDTH) for letter in "kv"},
        "attn.c_proj.weight": (WIDTH, WIDTH),
        "mlp.c_fc.weight": (4 * WIDTH, WIDTH),
        "mlp.c_proj.weight": (WIDTH, 4 * WIDTH),
    }
    shapes = {"transformer.wte.weight": (rows, WIDTH), "lm_head.weight": (rows, WIDTH)}
    return random_state(
        shapes | {f"transformer.h.{n}.{name}": shape for n in range(LAYERS) for name, shape in layer.items()}
    )


def nanochat_logits(state):
    state, eps = wide(state), torch.finfo(torch.float32).eps

    def turn(x):  # the other way round, halves
        cos, sin = angles(10_000).cos()[:, None], angles(10_000).sin()[:, None]
        left, right = x.chunk(2, -1)
        return torch.cat((left * cos + right * sin, right * cos - left * sin), -1)

    x = rms(state["transformer.wte.weight"][TOKENS], eps)
    for n in range(LAYERS):
        at = f"transformer.h.{n}."
        q, k, v = (split(rms(x, eps) @ state[f"{at}attn.c_{letter}.weight"].T) for letter in "qkv")
        mixed = attention(rms(turn(q), eps), rms(turn(k), eps), v)
        x = x + mixed @ state[f"{at}attn.c_proj.weight"].T
        inner = (rms(x, eps) @ state[f"{at}mlp.c_fc.weight"].T).clamp_min(0).square()
        x = x + inner @ state[f"{at}mlp.c_proj.weight"].T
    logits = rms(x, eps) @ state["lm_head.weight"].T
    return (15 * (logits / 15).tanh())[:, :VOCABULARY]


def save_nanochat(directory, state, **changes):
    shape = {"sequence_len": CONTEXT, "vocab_size": VOCABULARY, "n_layer": LAYERS, "n_head": HEADS}
    shape |= {"n_kv_head": 1, "n_embd": WIDTH, **changes}
    torch.save(state, directory / "model_000650.pt")
    (directory / "meta_000650.json").write_text(json.dumps({"step": 650, "model_config": shape}))
    return directory / "model_000650.pt"


@pytest.mark.parametrize("rows", [VOCABULARY, 64])
def test_nanochat(rows, tmp_path):
    state = nanochat_state(rows)
    imported = import_nanochat(save_nanochat(tmp_path, state))
    same(logits_of(imported), nanochat_logits(state))
    assert imported.model_config.vocab_size == VOCABULARY


def test_a_wrong_shape_of_nanochat_is_told(tmp_path):
    state = nanochat_state(VOCABULARY)
    state |= {
        "transformer.h.0.attn.c_q.weight": torch.zeros(3, 5),
        "transformer.wte.weight": torch.zeros(VOCABULARY, 3),
    }
    with pytest.raises(CheckpointError, match=r"layers\.0\.attention\.q_proj\.weight"):
        save_imported(import_nanochat(save_nanochat(tmp_path, state)), tmp_path / "out")


def test_later_models_of_nanochat_are_named(tmp_path):
    state = nanochat_state(VOCABULARY)
    path = save_nanochat(tmp_path, {**state, "resid_lambdas": torch.ones(LAYERS)})
    with pytest.raises(CheckpointError, match=r"no model of ours has: resid_lambdas"):
        import_nanochat(path)
    with pytest.raises(CheckpointError, match="attention in windows"):
        import_nanochat(save_nanochat(tmp_path, state, window_pattern="SSSL"))
    (tmp_path / "meta_000650.json").unlink()
    with pytest.raises(CheckpointError, match="it tells the shape"):
        import_nanochat(path)


# plainLM


def plainlm_state(kind, inner=24):
    up = 2 * inner if kind == "glu" else inner
    layer = {
        **{f"{name}.weight": (WIDTH,) for name in ("attn_norm", "mlp_norm")},
        "attn.w_qkv.weight": (3 * WIDTH, WIDTH),
        "attn.w_out.weight": (WIDTH, WIDTH),
        "mlp.fc1.weight": (up, WIDTH),
        "mlp.fc2.weight": (WIDTH, inner),
    }
    shapes = dict.fromkeys(("embed_tokens.weight", "lm_head.weight"), (VOCABULARY, WIDTH))
    shapes |= {f"layers.{n}.{name}": shape for n in range(LAYERS) for name, shape in layer.items()}
    return random_state({**shapes, "out_norm.weight": (WIDTH,)})


def plainlm_logits(state, kind):
    state = wide(state)
    x = state["embed_tokens.weight"][TOKENS]
    for n in range(LAYERS):
        at = f"layers.{n}."
        normed = rms(x, 1e-6, state[f"{at}attn_norm.weight"])
        q, k, v = map(split, (normed @ state[f"{at}attn.w_qkv.weight"].T).split(WIDTH, -1))
        mixed = attention(turned_neighbours(q, 500_000), turned_neighbours(k, 500_000), v)
        x = x + mixed @ state[f"{at}attn.w_out.weight"].T
        inner = rms(x, 1e-6, state[f"{at}mlp_norm.weight"]) @ state[f"{at}mlp.fc1.weight"].T
        if kind == "glu":
            gate, up = inner.chunk(2, -1)
            inner = silu(gate) * up
        else:
            inner = inner.clamp_min(0).square()
        x = x + inner @ state[f"{at}mlp.fc2.weight"].T
    return rms(x, 1e-6, state["out_norm.weight"]) @ state["lm_head.weight"].T


def save_plainlm(directory, state, kind):
    torch.save({"step": 9, "state_dict": state, "optimizer": None, "scheduler": {}}, directory / "ckpt_step_9.pth")
    (directory / "config.yaml").write_text(
        f"beta1: 0.9\nd_model: {WIDTH}\nexpand: 8/3\nmlp_class: {kind}\nmodel: 'transformer'\nn_heads: {HEADS}\n"
        f"n_layers: {LAYERS}\nseq_len: {CONTEXT}\nvocab_size: {VOCABULARY}  # ids\n"
    )
    return directory / "ckpt_step_9.pth"


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["glu", "mlp_relu_sq"])
def test_plainlm(kind, tied, tmp_path):
    state = plainlm_state(kind)
    if tied:
        state["lm_head.weight"] = state["embed_tokens.weight"]
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}
    imported = import_plainlm(save_plainlm(tmp_path, wrapped, kind))
    assert imported.model_config.tie_embeddings is tied
    same(logits_of(imported), plainlm_logits(state, kind))


def test_an_activation_of_plainlm_that_we_do_not_have_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"mlp_class = 'mlp' is not supported; expected glu or mlp_relu_sq"):
        import_plainlm(save_plainlm(tmp_path, plainlm_state("mlp"), "mlp"))


# diffusionLM

TRAIN_TOML = f"""
[model]
vocab_size = {VOCABULARY}
context_length = {CONTEXT}
d_model = {WIDTH}
num_layers = {LAYERS}
num_heads = {HEADS}
d_ff = 24
rope_theta = 5000.0
mask_token_id = 19

[training]
objective = "OBJECTIVE"
"""


def diffusionlm_state():
    layer = {f"attn.{name}_proj.weight": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
    layer |= {"ln1.weight": (WIDTH,), "ln2.weight": (WIDTH,)}
    layer |= {"ffn.w1.weight": (24, WIDTH), "ffn.w2.weight": (WIDTH, 24), "ffn.w3.weight": (24, WIDTH)}
    shapes = dict.fromkeys(("token_embeddings.weight", "lm_head.weight"), (VOCABULARY, WIDTH))
    shapes |= {f"layers.{n}.{name}": shape for n in range(LAYERS) for name, shape in layer.items()}
    return random_state({**shapes, "ln_final.weight": (WIDTH,)})


def diffusionlm_logits(state, *, causal):
    state = wide(state)
    x = state["token_embeddings.weight"][TOKENS]
    for n in range(LAYERS):
        at = f"layers.{n}."
        normed = rms(x, 1e-5, state[f"{at}ln1.weight"])
        q, k, v = (split(normed @ state[f"{at}attn.{name}_proj.weight"].T) for name in "qkv")
        mixed = attention(turned_neighbours(q, 5000), turned_neighbours(k, 5000), v, causal=causal)
        x = x + mixed @ state[f"{at}attn.output_proj.weight"].T
        normed = rms(x, 1e-5, state[f"{at}ln2.weight"])
        inner = silu(normed @ state[f"{at}ffn.w1.weight"].T) * (normed @ state[f"{at}ffn.w3.weight"].T)
        x = x + inner @ state[f"{at}ffn.w2.weight"].T
    return rms(x, 1e-5, state["ln_final.weight"]) @ state["lm_head.weight"].T


def save_diffusionlm(root, state, objective):
    (root / "config").mkdir()
    (root / "config" / "train.toml").write_text(TRAIN_TOML.replace("OBJECTIVE", objective))
    (root / "versions" / "v000100").mkdir(parents=True)
    save_file(state, root / "versions" / "v000100" / "model.safetensors")
    return root / "versions" / "v000100"


@pytest.mark.parametrize(
    ("objective", "ours"),
    [("ar", "next_token"), ("diffusion", "masked_diffusion"), ("joint-diffusion-ar", "joint")],
)
def test_diffusionlm(objective, ours, tmp_path):
    state = diffusionlm_state()
    imported = import_diffusionlm(save_diffusionlm(tmp_path, state, objective))
    assert imported.objective["kind"] == ours
    same(logits_of(imported), diffusionlm_logits(state, causal=True))


def test_what_else_diffusionlm_trains_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="objective = 'flow' is not supported"):
        import_diffusionlm(save_diffusionlm(tmp_path, diffusionlm_state(), "flow"))


# llama2.c


@pytest.fixture(scope="module")
def stories():
    return needs("models/stories260K/stories260K.bin"), needs("models/stories260K/tok512.bin")


def test_stories260k_from_its_original_files_writes_its_published_text(stories, tmp_path, capsys):
    model, tokenizer = stories
    assert main(["import", "llama2c", str(model), str(tmp_path / "out"), "--tokenizer", str(tokenizer)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["event"], told["form"], told["tokenizer_ids"], told["notes"]) == ("import", "llama2c", 512, [])
    from hornbook import api

    loaded = api.load(tmp_path / "out")
    reference = json.loads((needs("models/stories260K-hf") / "reference.json").read_text(encoding="utf-8"))
    ids = torch.tensor([reference["greedy_from_bos_ids"][:100]])
    with torch.inference_mode():
        assert loaded.model(ids)[0, :-1].argmax(-1).tolist() == ids[0, 1:].tolist()
    assert loaded.tokenizer.decode(ids[0].tolist(), skip_special=True) in reference["published_greedy_text"]
    text = reference["texts"][0]
    assert loaded.tokenizer.encode(text["text"], template=True) == text["ids"]


def test_a_head_of_its_own_in_llama2c(stories, tmp_path):
    data = stories[0].read_bytes()
    shape = list(struct.unpack("<7i", data[:28]))
    shape[5] = -shape[5]
    head = torch.randn(512, 64, generator=torch.Generator().manual_seed(0))
    (tmp_path / "model.bin").write_bytes(struct.pack("<7i", *shape) + data[28:] + head.numpy().tobytes())
    weights = import_llama2c(tmp_path / "model.bin").weights
    assert torch.equal(weights["head.weight"], head)


def test_broken_files_of_llama2c_are_errors(stories, tmp_path):
    path, tokenizer = tmp_path / "model.bin", tmp_path / "tok.bin"
    data, pieces = (file.read_bytes() for file in stories)
    for content, message in (
        (b"", "0 bytes"),
        (data[:-4], "cut off or damaged"),
        (struct.pack("<7i", 0x616B3432, 1, 0, 0, 0, 0, 0), "version 1"),
        (struct.pack("<7i", 64, 172, 2**31 - 1, 8, 4, 512, 512) + data[28:], "layers in"),
        (struct.pack("<7i", 64, 172, -5, 8, 4, 512, 512) + data[28:], "n_layers"),
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            import_llama2c(path)
    path.write_bytes(data)
    for content in (b"", pieces[:-3], pieces + b"x", pieces[:4] + b"\xff" * 100):
        tokenizer.write_bytes(content)
        with pytest.raises(HornbookError, match=r"tok\.bin"):
            import_llama2c(path, tokenizer=tokenizer)


# What no file may do


class Mischief:
    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('mischief').touch()",)


def test_a_program_in_a_checkpoint_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {}, "model_args": Mischief()}, tmp_path / "ckpt.pt")
    with pytest.raises(CheckpointError, match="cannot be read safely"):
        import_nanogpt(tmp_path / "ckpt.pt")
    assert not (tmp_path / "mischief").exists()


def test_files_that_are_no_checkpoints_are_errors(tmp_path):
    path = tmp_path / "ckpt.pt"
    with pytest.raises(CheckpointError, match="no such file"):
        load_safely(path)
    for content in (b"", b"nothing", b"PK\x03\x04" + bytes(100), b"\x80\x02" + bytes(50)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot be read safely"):
            load_safely(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="holds a list"):
        load_safely(path)
    torch.save({"model": 3}, path)
    with pytest.raises(CheckpointError, match="model_args is NoneType; expected a dictionary"):
        import_nanogpt(path)


def test_missing_tensors_and_wrong_shapes_are_listed(tmp_path):
    state = nanogpt_state(bias=True)
    del state["transformer.h.1.mlp.c_fc.bias"]
    state["transformer.wpe.weight"] = state["transformer.wpe.weight"][1:]
    save_nanogpt(tmp_path / "ckpt.pt", state)
    with pytest.raises(CheckpointError) as caught:
        save_imported(import_nanogpt(tmp_path / "ckpt.pt"), tmp_path / "out")
    assert "layers.1.feed_forward.up_proj.bias" in str(caught.value)
    assert "position_embedding.weight" in str(caught.value)
    assert not (tmp_path / "out").exists()
    save_nanogpt(tmp_path / "ckpt.pt", state, n_layer=2**40)
    with pytest.raises(CheckpointError, match="layers in"):
        import_nanogpt(tmp_path / "ckpt.pt")
    save_nanogpt(tmp_path / "ckpt.pt", state, n_layer=-1)
    with pytest.raises(CheckpointError, match="n_layers: Input should be greater than 0"):
        import_nanogpt(tmp_path / "ckpt.pt")
