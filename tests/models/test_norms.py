import pytest
import torch

from hornbook.models.norms import RMSNorm, make_norm
from oracles.transformer import layer_norm, rms_norm
from tiny_models import tiny_config


@pytest.mark.parametrize("kind", ["rms_norm", "layer_norm"])
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_equals_the_formula(kind, eps):
    rng = torch.Generator().manual_seed(0)
    norm = make_norm(tiny_config(norm=kind, norm_eps=eps, bias=True)).double()
    norm.weight.data = torch.randn(16, dtype=torch.float64, generator=rng)
    x = torch.randn(2, 3, 16, dtype=torch.float64, generator=rng)
    if kind == "layer_norm":
        norm.bias.data = torch.randn(16, dtype=torch.float64, generator=rng)
    arrays = [parameter.detach().numpy() for parameter in norm.parameters()]
    slow = rms_norm if kind == "rms_norm" else layer_norm
    expected = torch.stack([torch.from_numpy(slow(row.numpy(), *arrays, eps)) for row in x.flatten(0, 1)])
    torch.testing.assert_close(norm(x).flatten(0, 1), expected, rtol=1e-12, atol=1e-12)


def test_bfloat16_vectors_are_normalised_in_float32():
    norm = RMSNorm(512, eps=1e-5)
    x = torch.randn(4, 512, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(norm(x), norm(x.float()).bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(norm(x), norm(x.float()).bfloat16())


def test_a_norm_that_is_itself_bfloat16_computes_in_float32_too():
    norm = RMSNorm(512, eps=1e-5)
    norm.weight.data = torch.randn(512, generator=torch.Generator().manual_seed(1)).bfloat16().float()
    x = torch.randn(4, 512, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = norm(x.float()).bfloat16()
    assert torch.equal(norm.bfloat16()(x), expected)


def test_only_layer_norm_has_a_bias_and_only_when_asked():
    def names(**settings):
        return [name for name, _ in make_norm(tiny_config(**settings)).named_parameters()]

    assert names(norm="layer_norm", bias=True) == ["weight", "bias"]
    assert names(norm="layer_norm", bias=False) == names(norm="rms_norm", bias=True) == ["weight"]
