import pytest
import torch

from hornbook.models.feed_forward import ACTIVATIONS
from oracles.transformer import activation


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_activations_equal_their_formulas(name):
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    torch.testing.assert_close(
        ACTIVATIONS[name](x), torch.from_numpy(activation(name, x.numpy())), rtol=1e-12, atol=1e-12
    )
