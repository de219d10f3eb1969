import pytest
import torch

from hornbook.profiling.probe import peak_flops


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_cpu_peak_is_a_rate_that_no_product_beats_by_much(precision):
    peak = peak_flops(torch.device("cpu"), precision)
    assert peak is not None
    assert 1e8 < peak < 1e14


def test_an_unlisted_accelerator_has_no_peak():
    assert peak_flops(torch.device("meta"), "bf16") is None


@pytest.mark.parametrize(
    ("name", "bf16"),
    [
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA GeForce RTX 4090 D", 147e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA GeForce RTX 3090 Ti", 80e12),
        ("NVIDIA L40", None),
        ("NVIDIA A10G", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
    ],
)
def test_the_longest_matching_name_of_whole_words_wins(monkeypatch, name, bf16):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert peak_flops(torch.device("cuda"), "bf16") == bf16
