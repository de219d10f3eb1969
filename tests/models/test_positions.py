import pytest
import torch

from hornbook.models.cache import KVCache
from hornbook.models.positions import frequencies, rotate, rotation, sinusoid
from oracles.transformer import rotate as slow_rotate
from oracles.transformer import sinusoid as slow_sinusoid
from tiny_models import tiny_config, tiny_model


@pytest.mark.parametrize("d_model", [2, 7, 16, 512])
def test_sinusoid_equals_the_formula(d_model):
    positions = torch.tensor([[0, 1, 5, 255], [1000, 2, 3, 4]])
    expected = torch.stack(
        [torch.stack([torch.from_numpy(slow_sinusoid(p, d_model)) for p in row]) for row in positions.tolist()]
    )
    # The angle is a float32: relative error of three roundings, so the position times 3 * 2^-24 in absolute terms.
    torch.testing.assert_close(sinusoid(positions, d_model=d_model).double(), expected, rtol=0, atol=1000 * 3 * 2**-24)


def test_every_frequency_of_the_sinusoid_counts():
    table = sinusoid(torch.arange(256)[None], d_model=512)[0]
    assert (table.std(dim=0)[::2] > 1e-3).all()  # the slowest sine still rises to 0.026 within the context


@pytest.mark.parametrize("theta", [100.0, 10_000.0])
@pytest.mark.parametrize("head_dim", [2, 8])
def test_rotation_equals_the_formula(head_dim, theta):
    x = torch.randn(2, 3, 4, head_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    positions = torch.tensor([[0, 1, 2, 3], [7, 7, 0, 100]])
    got = rotate(x, rotation(positions, head_dim=head_dim, theta=theta))
    for row in range(2):
        for head in range(3):
            for i in range(4):
                expected = slow_rotate(x[row, head, i].numpy(), positions[row, i].item(), theta)
                # Angles in float32, as for the sinusoid; |x| is below 4.
                torch.testing.assert_close(
                    got[row, head, i], torch.from_numpy(expected), rtol=0, atol=8 * 100 * 3 * 2**-24
                )


def test_scores_depend_on_the_distance_alone_and_norms_on_nothing():
    q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(1))

    def turned(x, position):
        return rotate(x, rotation(torch.tensor([[position]]), head_dim=8, theta=10_000.0))

    def score(i, j):
        return (turned(q, i) * turned(k, j)).sum().item()

    for shift in (1, 10, 100):
        assert score(5 + shift, 2 + shift) == pytest.approx(score(5, 2), abs=1e-4)
    assert abs(score(6, 2) - score(5, 2)) > 1e-2
    assert turned(q, 50).norm().item() == pytest.approx(q.norm().item(), rel=1e-6)
    assert torch.equal(turned(q, 0), q)


def test_angles_stay_float32_for_bfloat16_vectors():
    x = torch.ones(1, 1, 1, 4, dtype=torch.bfloat16)
    turn = rotation(torch.tensor([[1001]]), head_dim=4, theta=10_000.0)
    assert turn.cos.dtype == torch.float32
    got = rotate(x, turn)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, rotate(x.float(), turn).bfloat16())  # one rounding, at the end


SCALINGS = {
    "linear": ({"kind": "linear", "factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
    "llama3": (
        {"kind": "llama3", "factor": 8.0, "original_context_length": 256, "high_freq_factor": 5.0},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "original_max_position_embeddings": 256,
            "low_freq_factor": 1.0,
            "high_freq_factor": 5.0,
        },
    ),
    "yarn": (
        {"kind": "yarn", "factor": 4.0, "original_context_length": 256},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256},
    ),
    "yarn, all settings": (
        {
            "kind": "yarn",
            "factor": 2.0,
            "original_context_length": 64,
            "beta_fast": 16.0,
            "beta_slow": 0.5,
            "attention_factor": 1.5,
            "truncate": False,
        },
        {
            "rope_type": "yarn",
            "factor": 2.0,
            "original_max_position_embeddings": 64,
            "beta_fast": 16.0,
            "beta_slow": 0.5,
            "attention_factor": 1.5,
            "truncate": False,
        },
    ),
    "yarn, nothing between": (
        {"kind": "yarn", "factor": 2.0, "original_context_length": 4, "beta_fast": 2.0},
        {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 4, "beta_fast": 2.0},
    ),
}


@pytest.mark.medium
@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize("head_dim", [8, 64])
def test_scaled_frequencies_are_those_of_transformers(name, head_dim):
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    ours, theirs = SCALINGS[name]
    config = transformers.LlamaConfig(
        hidden_size=4 * head_dim, num_attention_heads=4, rope_parameters={**theirs, "rope_theta": 10_000.0}
    )
    expected, stretch = ROPE_INIT_FUNCTIONS[theirs["rope_type"]](config, torch.device("cpu"))
    got, got_stretch = frequencies(head_dim, 10_000.0, scaling(ours), torch.device("cpu"))
    torch.testing.assert_close(got, expected, rtol=2**-20, atol=0)  # a dozen roundings of float32
    assert got_stretch == pytest.approx(stretch, rel=1e-12)


def scaling(settings):
    return tiny_config(rope_scaling=settings).rope_scaling


def test_linear_scaling_divides_positions():
    plain = rotation(torch.tensor([[6]]), head_dim=8, theta=100.0)
    slower = rotation(torch.tensor([[24]]), head_dim=8, theta=100.0, scaling=scaling({"kind": "linear", "factor": 4.0}))
    torch.testing.assert_close(slower.cos, plain.cos)
    torch.testing.assert_close(slower.sin, plain.sin)


def test_a_scaled_model_decodes_as_it_reads():
    """Keys in the cache and a whole forward agree, and the scaling does something."""
    model = tiny_model(rope_scaling=SCALINGS["yarn, nothing between"][0])
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6]])
    with torch.inference_mode():
        whole = model(tokens)
        cache = KVCache(model.config, batch_size=1, max_length=6, dtype=torch.float64)
        pieces = []
        for part in (tokens[:, :4], tokens[:, 4:]):
            pieces.append(model(part, cache=cache))
            cache.advance(part.shape[1])
        torch.testing.assert_close(torch.cat(pieces, dim=1), whole)
        assert not torch.allclose(whole, tiny_model()(tokens))
    assert model.layers[0].attention.q_proj.weight.requires_grad


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rope_scaling": {"kind": "linear", "factor": 2.0}, "position": "learned"}, 'only with position = "rotary"'),
        ({"rope_scaling": {"kind": "linear", "factor": 0.5}}, "greater than or equal to 1"),
        (
            {"rope_scaling": {"kind": "llama3", "factor": 2.0, "original_context_length": 8, "high_freq_factor": 1.0}},
            "not above low_freq_factor",
        ),
        (
            {"rope_scaling": {"kind": "yarn", "factor": 2.0, "original_context_length": 8, "beta_fast": 1.0}},
            "not above beta_slow",
        ),
    ],
)
def test_scalings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(**settings)
