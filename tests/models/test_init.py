import math

import pytest
import torch

from hornbook.models.init import LAWS, initialise
from hornbook.models.masks import CAUSAL, resolve
from hornbook.models.transformer import Transformer
from tiny_models import tiny_config

L, D, F, V, T = 2, 96, 160, 300, 64


def model_of(kind, *, tie_embeddings=False, **settings):
    config = tiny_config(
        **{"d_model": D, "n_layers": L, "d_ff": F, "context_length": T, "position": "learned", **settings},
        bias=True,
        norm="layer_norm",
        qk_norm=True,
        tie_embeddings=tie_embeddings,
        init=kind,
    ).model_dump()
    return Transformer(type(tiny_config()).model_validate({**config, "vocab_size": V}))


def uniform(bound):
    return bound / math.sqrt(3)


def glorot(fan_in, fan_out):
    return uniform(math.sqrt(6 / (fan_in + fan_out)))


DEEP = (2 * L) ** -0.5
# The table in the docstring of hornbook.models.init, as standard deviations.
STANDARD_DEVIATIONS = {
    "ours": {
        "token_embedding.weight": 0.2,
        "position_embedding.weight": 0.02,
        "q_proj.weight": D**-0.5,
        "up_proj.weight": D**-0.5,
        "o_proj.weight": 0.25 * D**-0.5 * DEEP,
        "down_proj.weight": 0.25 * F**-0.5 * DEEP,
        "head.weight": 0.02,
        "proj.bias": 0.0,
    },
    "zero": {
        "token_embedding.weight": 0.5,
        "position_embedding.weight": 0.02,
        "q_proj.weight": D**-0.5,
        "up_proj.weight": D**-0.5,
        "o_proj.weight": 0.0,
        "down_proj.weight": 0.0,
        "head.weight": 0.0,
        "proj.bias": 0.0,
    },
    "torch_default": {
        "token_embedding.weight": 1.0,
        "position_embedding.weight": 1.0,
        "q_proj.weight": uniform(D**-0.5),
        "up_proj.weight": uniform(D**-0.5),
        "o_proj.weight": uniform(D**-0.5),
        "down_proj.weight": uniform(F**-0.5),
        "head.weight": uniform(D**-0.5),
        "q_proj.bias": uniform(D**-0.5),
        "down_proj.bias": uniform(F**-0.5),
    },
    "gpt2": {
        "token_embedding.weight": 0.02,
        "position_embedding.weight": 0.02,
        "q_proj.weight": 0.02,
        "up_proj.weight": 0.02,
        "o_proj.weight": 0.02 * DEEP,
        "down_proj.weight": 0.02 * DEEP,
        "head.weight": 0.02,
        "proj.bias": 0.0,
    },
    "xavier": {
        "token_embedding.weight": D**-0.5,
        "position_embedding.weight": D**-0.5,
        "q_proj.weight": glorot(D, D),
        "up_proj.weight": glorot(D, F),
        "o_proj.weight": glorot(D, D),
        "down_proj.weight": glorot(F, D),
        "head.weight": glorot(D, V),
        "proj.bias": 0.0,
    },
}


def matching(model, suffix):
    return torch.cat([tensor.flatten() for name, tensor in model.state_dict().items() if name.endswith(suffix)])


def assert_standard_deviation(values, expected):
    """Within five standard errors, std / sqrt(2 n) for normal numbers and less for uniform ones; so the mean."""
    if expected == 0:
        assert (values == 0).all()
        return
    n = values.numel()
    assert values.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * n))
    assert abs(values.mean().item()) < 5 * expected / math.sqrt(n)


@pytest.mark.parametrize("kind", list(LAWS))
def test_every_documented_standard_deviation(kind):
    model = model_of(kind)
    for suffix, expected in STANDARD_DEVIATIONS[kind].items():
        assert_standard_deviation(matching(model, suffix), expected)


@pytest.mark.parametrize("kind", ["ours", "zero"])
def test_a_tied_embedding_of_ours_is_scaled_as_a_head(kind):
    assert_standard_deviation(matching(model_of(kind, tie_embeddings=True), "token_embedding.weight"), 0.5 * D**-0.5)


@pytest.mark.parametrize("kind", list(LAWS))
def test_gains_are_one_and_shifts_zero(kind):
    state = model_of(kind).state_dict()
    norms = {name: values for name, values in state.items() if "norm" in name}
    assert len(norms) == L * 6 + 2
    for name, values in norms.items():
        gain = 1.2 if kind == "zero" and name.endswith(("q_norm.weight", "k_norm.weight")) else 1.0
        assert torch.equal(values, torch.full_like(values, gain if name.endswith("weight") else 0.0)), name


def test_zero_starts_with_blocks_that_do_nothing_and_every_token_equally_likely():
    model = model_of("zero")
    tokens = torch.randint(V, (2, T), generator=torch.Generator().manual_seed(0))
    assert model(tokens, targets=tokens).nll.mean().item() == pytest.approx(math.log(V), abs=1e-5)
    x = torch.randn(1, 5, D)
    visibility = resolve(CAUSAL, length=5, device=x.device)
    assert torch.equal(model.layers[0](x, None, visibility, None), x)


@pytest.mark.parametrize("kind", ["torch_default", "xavier"])
def test_uniform_laws_reach_their_bound_and_not_beyond(kind):
    values = matching(model_of(kind), "q_proj.weight").abs()
    bound = STANDARD_DEVIATIONS[kind]["q_proj.weight"] * math.sqrt(3)
    assert 0.99 * bound < values.max().item() <= bound * (1 + 1e-6)


def test_torch_default_is_torchs():
    assert_standard_deviation(
        torch.nn.Linear(D, F).weight.detach().flatten(), STANDARD_DEVIATIONS["torch_default"]["up_proj.weight"]
    )


@pytest.mark.parametrize("kind", list(LAWS))
def test_the_seed_decides_and_nothing_else_does(kind):
    def weights(seed):
        model = Transformer(tiny_config())
        torch.manual_seed(torch.seed() % 1000)  # whatever the global generator holds
        initialise(model, kind, seed=seed)
        return model.state_dict()

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = [name for name in first if "norm" not in name and first[name].any()]  # "zero" draws no head, for one
    assert drawn
    assert not any(torch.equal(first[name], other[name]) for name in drawn)
    numbers = [tuple(first[name].flatten()[:4].tolist()) for name in drawn]
    assert len(set(numbers)) == len(numbers)  # no two parameters share a stream


def test_a_deeper_model_starts_with_the_same_first_layers():
    shallow = Transformer(tiny_config(n_layers=1)).state_dict()
    deep = Transformer(tiny_config(n_layers=3)).state_dict()
    name = "layers.0.attention.q_proj.weight"
    assert torch.equal(shallow[name], deep[name])


def test_any_floating_dtype_is_filled_with_the_same_numbers():
    single, double = Transformer(tiny_config()), Transformer(tiny_config()).double()
    initialise(double, "ours", seed=0)
    for name, tensor in single.state_dict().items():
        assert torch.equal(double.state_dict()[name], tensor.double())


@pytest.mark.parametrize("kind", ["ours", "gpt2"])
@pytest.mark.parametrize("tie_embeddings", [True, False])
def test_the_first_loss_is_that_of_guessing(kind, tie_embeddings):
    model = model_of(kind, tie_embeddings=tie_embeddings)
    tokens, targets = torch.randint(V, (2, 16, T), generator=torch.Generator().manual_seed(0))
    assert model(tokens, targets=targets).nll.mean().item() == pytest.approx(math.log(V), abs=0.5)
    # Normalised vectors times weights of 0.02 (tied ours: 0.5 D^-0.5) give logits of variance s^2, so for normal logits
    # E[-log p] = ln V + s^2 / 2; the mean over 1,024 targets has standard error s / 32. Left out is the logit of the
    # input token itself, which a tied head finds again in the residual stream.
    logits = model(tokens).scatter(-1, tokens[..., None], 0.0)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()
    variance = 0.25 if (kind, tie_embeddings) == ("ours", True) else D * 0.02**2
    assert loss == pytest.approx(math.log(V) + variance / 2, abs=5 * math.sqrt(variance) / 32)
