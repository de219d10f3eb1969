import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tiny_models
from hornbook.errors import GenerationError
from hornbook.models.masks import CAUSAL, FULL
from hornbook.models.transformer import Transformer, roles
from oracles.transformer import Oracle
from tiny_models import HEADS, POSITIONS, VOCABULARY, tiny_config, tiny_model

SHAPES = list(
    itertools.product(
        ("rms_norm", "layer_norm"), ("pre", "post"), POSITIONS, ("swiglu", "gelu", "gelu_tanh", "relu", "relu2")
    )
)

# Angles are float32 on purpose: an error of 2^-23 * position (at most 8) in each cosine, grown by a few layers.
ANGLES = 1e-5


def tokens_of(n_rows, length, seed=0):
    return torch.randint(VOCABULARY, (n_rows, length), generator=torch.Generator().manual_seed(seed))


def assert_equals_oracle(model, tokens):
    weights = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    expected = torch.stack([torch.from_numpy(Oracle(weights, model.config).logits(row)) for row in tokens.tolist()])
    torch.testing.assert_close(model(tokens), expected, rtol=0, atol=ANGLES)


@pytest.mark.parametrize(("norm", "norm_position", "position", "feed_forward"), SHAPES)
def test_every_shape_equals_the_oracle_and_trains_every_parameter(norm, norm_position, position, feed_forward):
    model = tiny_model(
        norm=norm,
        norm_position=norm_position,
        position=position,
        feed_forward=feed_forward,
        n_kv_heads=2,
        qk_norm=True,
        bias=True,
        tie_embeddings=False,
        n_layers=1,
    )
    for name, parameter in model.named_parameters():  # gains of 1 and biases of 0 would hide a mistake
        if name.endswith("bias") or "norm" in name:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
    tokens = tokens_of(2, 5)
    assert_equals_oracle(model, tokens)
    model(tokens, targets=tokens_of(2, 5, seed=1)).nll.sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 1e-12, name


@pytest.mark.parametrize(
    "settings",
    [
        {"n_kv_heads": 4},
        {"n_kv_heads": 1},
        {"n_heads": 3, "head_dim": 6},
        {"n_heads": 1},
        {"tie_embeddings": False},
        {"scale_embeddings": True, "position": "sinusoidal"},
        {"logit_soft_cap": 0.5},
        {"rope_theta": 100.0},
        {"norm_eps": 0.5},
        {"d_model": 10, "n_heads": 5, "d_ff": 7, "position": "sinusoidal"},
        {"norm": "layer_norm", "bias": False},
    ],
    ids=str,
)
@pytest.mark.parametrize(("n_rows", "length"), [(1, 1), (2, 6)])
def test_every_option_equals_the_oracle(settings, n_rows, length):
    assert_equals_oracle(tiny_model(**settings), tokens_of(n_rows, length))


def test_names_are_those_of_the_format():
    model = tiny_model(position="learned", qk_norm=True, bias=True, tie_embeddings=False, n_layers=1, norm="layer_norm")
    block = [
        f"layers.0.{name}"
        for name in (
            "attention_norm.weight",
            "attention_norm.bias",
            "attention.q_proj.weight",
            "attention.q_proj.bias",
            "attention.k_proj.weight",
            "attention.k_proj.bias",
            "attention.v_proj.weight",
            "attention.v_proj.bias",
            "attention.o_proj.weight",
            "attention.o_proj.bias",
            "attention.q_norm.weight",
            "attention.k_norm.weight",
            "feed_forward_norm.weight",
            "feed_forward_norm.bias",
            "feed_forward.gate_proj.weight",
            "feed_forward.gate_proj.bias",
            "feed_forward.up_proj.weight",
            "feed_forward.up_proj.bias",
            "feed_forward.down_proj.weight",
            "feed_forward.down_proj.bias",
        )
    ]
    outside = ["token_embedding.weight", "position_embedding.weight", "norm.weight", "norm.bias", "head.weight"]
    assert set(model.state_dict()) == {*outside, *block}


def test_the_smallest_set_of_names_has_no_head_no_bias_and_no_final_norm():
    names = set(tiny_model(feed_forward="relu", norm_position="post", n_layers=1).state_dict())
    assert names == {
        "token_embedding.weight",
        *(f"layers.0.attention.{letter}_proj.weight" for letter in "qkvo"),
        *(f"layers.0.{name}_norm.weight" for name in ("attention", "feed_forward")),
        *(f"layers.0.feed_forward.{name}_proj.weight" for name in ("up", "down")),
    }


def test_roles_cover_every_parameter():
    model = tiny_model(position="learned", qk_norm=True, bias=True, tie_embeddings=False, norm="layer_norm")
    named = roles(model)
    assert set(named) == {name for name, _ in model.named_parameters()}
    assert named["token_embedding.weight"] == named["position_embedding.weight"] == "embedding"
    assert named["head.weight"] == "head"
    assert named["norm.weight"] == named["layers.0.attention.q_norm.weight"] == "norm"
    assert named["norm.bias"] == named["layers.1.attention.q_proj.bias"] == "bias"
    assert named["layers.1.feed_forward.down_proj.weight"] == "matrix"


def test_a_tied_embedding_is_one_parameter_with_both_gradients():
    tied, untied = tiny_model(tie_embeddings=True), tiny_model(tie_embeddings=False)
    assert untied.n_parameters - tied.n_parameters == VOCABULARY * 16
    untied.load_state_dict({**tied.state_dict(), "head.weight": tied.token_embedding.weight.detach()})
    tokens = tokens_of(2, 6)
    for model in (tied, untied):
        model(tokens, targets=tokens).nll.sum().backward()
    both = untied.token_embedding.weight.grad + untied.head.weight.grad
    torch.testing.assert_close(tied.token_embedding.weight.grad, both, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("n_kv_heads", [4, 1])
def test_causal_logits_have_no_gradient_from_later_tokens_and_full_ones_do(position, n_kv_heads):
    model = tiny_model(position=position, n_kv_heads=n_kv_heads)
    tokens = torch.arange(6)[None]  # all different, so that row i of the table's gradient belongs to token i
    for mask in (CAUSAL, FULL):
        reach = torch.zeros(6, 6)
        for t in range(6):
            hidden = model.token_embedding.weight.detach()[:6]
            leaf = hidden.clone().requires_grad_()
            logits = torch.func.functional_call(
                model,
                {"token_embedding.weight": torch.cat((leaf, model.token_embedding.weight.detach()[6:]))},
                (tokens,),
                {"mask": mask},
            )
            # The tied head also reads the table: column 10 belongs to no token of the row.
            (gradient,) = torch.autograd.grad(logits[0, t, 10], leaf)
            reach[t] = gradient.abs().amax(dim=1)
        expected = torch.ones(6, 6, dtype=torch.bool)
        assert torch.equal(reach > 0, expected.tril() if mask is CAUSAL else expected)


def test_dropout_acts_in_training_only_and_on_every_place():
    tokens = tokens_of(2, 8)
    model = tiny_model(dropout=0.5)
    assert torch.equal(model(tokens), model(tokens))
    plain = tiny_model(dropout=0.0)
    assert torch.equal(model(tokens), plain(tokens))
    model.train()
    assert not torch.equal(model(tokens), model(tokens))
    # With the sublayers cut off, what still moves is the embedding's own dropout.
    for layer in model.layers:
        layer.attention.o_proj.weight.data.zero_()
        layer.feed_forward.down_proj.weight.data.zero_()
    assert not torch.equal(model(tokens), model(tokens))


def test_dropout_one_place_at_a_time():
    tokens = tokens_of(1, 8)
    model = tiny_model(dropout=0.5)
    for module in [*model.layers, *(layer.attention for layer in model.layers)]:
        module.train()
        assert not torch.equal(model(tokens), model(tokens)), type(module)
        module.eval()
    assert torch.equal(model(tokens), model(tokens))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_activation_checkpointing_changes_no_gradient(dropout):
    tokens, targets = tokens_of(2, 8), tokens_of(2, 8, seed=1)
    gradients = []
    for recompute in (False, True):
        model = tiny_model(dropout=dropout).train()
        model.activation_checkpointing = recompute
        torch.manual_seed(3)
        model(tokens, targets=targets).nll.sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for without, with_it in zip(*gradients, strict=True):
        assert torch.equal(without, with_it)


def test_activation_checkpointing_runs_each_block_twice():
    model = tiny_model().train()
    runs = []
    model.layers[0].feed_forward.register_forward_pre_hook(lambda *_: runs.append(1))
    model.activation_checkpointing = True
    model(tokens_of(1, 4)).sum().backward()
    assert len(runs) == 2
    with torch.no_grad():
        model(tokens_of(1, 4))
    assert len(runs) == 3


def test_the_last_position_alone():
    model, tokens = tiny_model(), tokens_of(2, 7)
    torch.testing.assert_close(model(tokens, only=slice(-1, None)), model(tokens)[:, -1:], rtol=1e-12, atol=1e-12)


def test_soft_cap_bounds_logits():
    logits = tiny_model(logit_soft_cap=0.25, init="torch_default")(tokens_of(2, 8))
    assert logits.abs().max() <= 0.25
    uncapped = tiny_model(init="torch_default")(tokens_of(2, 8))
    torch.testing.assert_close(logits, 0.25 * torch.tanh(uncapped / 0.25), rtol=1e-12, atol=1e-12)


def test_longer_than_the_learned_table_is_an_error():
    with pytest.raises(GenerationError, match=r"got 17 positions.*context_length = 16"):
        tiny_model(position="learned")(tokens_of(1, 17))
    assert tiny_model(position="rotary")(tokens_of(1, 17)).isfinite().all()


def test_building_draws_nothing_from_the_global_generator():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    Transformer(tiny_config())
    assert torch.equal(torch.rand(3), expected)


def test_on_the_meta_device_there_are_shapes_only():
    with torch.device("meta"):
        model = Transformer(tiny_config())
    assert all(parameter.is_meta for parameter in model.parameters())
    real = Transformer(tiny_config(), seed=5)
    model.load_state_dict(real.state_dict(), assign=True)
    assert torch.equal(model(tokens_of(1, 5)), real(tokens_of(1, 5)))
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("heads", HEADS)
def test_bfloat16_autocast_is_close_and_gives_float32(heads):
    settings = {"n_heads": heads[0], "n_kv_heads": heads[1], "qk_norm": True}
    model, tokens = Transformer(tiny_config(**settings)), tokens_of(2, 8)
    exact = model(tokens, targets=tokens)
    with torch.autocast("cpu", torch.bfloat16):
        logits, scores = model(tokens), model(tokens, targets=tokens)
        scores.nll.sum().backward()
    assert logits.dtype == scores.nll.dtype == torch.float32
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())
    # A bfloat16 product is good to 2^-9; two layers of a few of them, on logits below 1.
    torch.testing.assert_close(scores.nll, exact.nll, rtol=0, atol=10 * 2**-9)


COMPILED = """
import torch
from tiny_models import tiny_model

model = tiny_model(n_kv_heads=2, qk_norm=True)
tokens = torch.arange(8).view(1, 8)
compiled = torch.compile(model, backend="eager", fullgraph=True)
assert torch.equal(compiled(tokens), model(tokens))
assert torch.equal(compiled(tokens, targets=tokens).nll, model(tokens, targets=tokens).nll)
"""


@pytest.mark.medium
def test_compiles_without_a_graph_break():
    # In a process of its own: shape checks, where a test run turns them on, cannot be traced.
    subprocess.run([sys.executable, "-c", COMPILED], check=True, cwd=Path(tiny_models.__file__).parent)


@pytest.mark.gpu
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("heads", HEADS)
def test_cuda_equals_cpu(position, heads):
    model = Transformer(tiny_config(position=position, n_heads=heads[0], n_kv_heads=heads[1])).eval()
    tokens = tokens_of(2, 8)
    expected = model(tokens)
    model.to("cuda")
    torch.testing.assert_close(model(tokens.cuda()).cpu(), expected, rtol=0, atol=1e-5)
    with torch.autocast("cuda", torch.bfloat16):
        torch.testing.assert_close(model(tokens.cuda()).cpu(), expected, rtol=0, atol=10 * 2**-9)
