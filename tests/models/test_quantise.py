"""int8 weights: the bound on their error, and what is kept exactly."""

import torch

from hornbook.models.quantise import quantise, relative_error


def test_an_entry_errs_by_at_most_half_a_scale():
    weight = torch.randn(40, 64, generator=torch.Generator().manual_seed(1)) * torch.logspace(-6, 3, 40)[:, None]
    quantised = quantise(weight)
    assert quantised.values.dtype == torch.int8
    assert quantised.values.abs().amax(dim=1).tolist() == [127] * 40
    # Half a step, and what dividing and multiplying in float32 rounds: three times 2^-24 of at most 127 steps.
    bound = quantised.scales[:, None] * (0.5 + 127 * 3 * 2**-24)
    assert (quantised.dequantised() - weight).abs().le(bound).all()


def test_whole_numbers_and_zeros_are_kept():
    weight = torch.tensor([[127.0, -127.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    quantised = quantise(weight)
    assert torch.equal(quantised.dequantised(), weight)
    assert relative_error(weight, quantised) == 0
    assert relative_error(torch.zeros(2, 2), quantise(torch.zeros(2, 2))) == 0


def test_the_relative_error_of_evenly_spread_numbers():
    """Uniform rounding errors of a step s have root mean square s / 12^0.5."""
    weight = torch.linspace(-1, 1, 10_001)[None].float()
    expected = (1 / 127 / 12**0.5) / (1 / 3**0.5)
    assert abs(relative_error(weight, quantise(weight)) / expected - 1) < 0.02
