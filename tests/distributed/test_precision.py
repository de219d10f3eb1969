"""Where products are computed and where numbers stay float32."""

import pytest
import torch

from hornbook.distributed.precision import Precision

CPU = torch.device("cpu")
CUDA = pytest.param(
    torch.device("cuda"),
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")],
)


def test_fp32_changes_nothing() -> None:
    with Precision("fp32", CPU).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_bf16_products_with_fp32_weights_and_gradients(device: torch.device) -> None:
    layer = torch.nn.Linear(4, 4, device=device)
    inputs = torch.randn(3, 4, device=device)
    with Precision("bf16", device).autocast():
        out = layer(inputs)
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    assert layer.weight.dtype == torch.float32
    assert layer.weight.grad.dtype == torch.float32
    # bfloat16 has 8 bits: inputs, weights and outputs are each rounded by up to 2^-9 of their size.
    exact = layer(inputs)
    torch.testing.assert_close(out.float(), exact, rtol=0.0, atol=4 * 2**-9 * exact.abs().max().item() + 2**-8)
