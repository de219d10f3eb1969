"""Kernels by name: the same result, and a clear word where there is none."""

import pytest
import torch

from hornbook.errors import ConfigError
from hornbook.models.attention_kernels import KERNELS, check_kernel, only_kernel
from tiny_models import tiny_config, tiny_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["auto", "sdpa", "flash", "math"])
def test_every_kernel_computes_the_same(name: str) -> None:
    check_kernel(name, tiny_config(n_kv_heads=2), CPU, torch.float32)
    tokens = torch.randint(11, (2, 12), generator=torch.Generator().manual_seed(0))
    expected = tiny_model(n_kv_heads=2)(tokens)
    with only_kernel(name):
        found = tiny_model(n_kv_heads=2)(tokens)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-13)


@pytest.mark.parametrize("name", ["efficient", "cudnn"])
def test_a_kernel_that_the_device_lacks_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match=f"attention_backend = '{name}': torch has no such kernel for cpu"):
        check_kernel(name, tiny_config(), CPU, torch.float32)


def test_one_that_cannot_drop_is_an_error_with_dropout() -> None:
    with pytest.raises(ConfigError, match=r"with dropout = 0\.1"):
        check_kernel("flash", tiny_config(dropout=0.1), CPU, torch.float32)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", KERNELS)
def test_cuda_has_them_in_bfloat16(name: str) -> None:
    check_kernel(name, tiny_config(d_model=128), torch.device("cuda"), torch.bfloat16)


def test_plain_attention_up_to_a_length_is_the_same_function() -> None:
    tokens = torch.randint(11, (2, 12), generator=torch.Generator().manual_seed(0))
    gradients = []
    for keys in (0, 12):
        model = tiny_model()
        model.use_plain_attention(keys)
        model(tokens).square().mean().backward()
        gradients.append(model.token_embedding.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0.0, atol=1e-13)
