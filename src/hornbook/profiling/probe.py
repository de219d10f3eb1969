"""The rate that MFU divides by: a data sheet's dense peak on a known accelerator, a short measurement elsewhere.

Model FLOPs utilisation = (FLOPs the model needs per token * tokens per second) / peak. The peak is for dense products
in the precision that is used: vendors' larger "sparse" numbers are twice what a dense model can reach.
"""

import time

import torch

_DENSE_PEAKS: tuple[tuple[str, float, float], ...] = (
    # name contains, bf16 FLOP/s, fp32 FLOP/s (TF32 off); NVIDIA data sheets, dense
    ("H200", 989e12, 67e12),
    ("H100 PCIe", 756e12, 51e12),
    ("H100", 989e12, 67e12),
    ("A100", 312e12, 19.5e12),
    ("L40S", 362e12, 91.6e12),
    ("L4", 121e12, 30.3e12),
    ("A10", 125e12, 31.2e12),
    ("RTX 4090", 165e12, 82.6e12),
    ("RTX 3090", 71e12, 35.6e12),
    ("T4", 65e12, 8.1e12),
    ("V100", 125e12, 15.7e12),
)
_SIZE = 512
_SECONDS = 0.05


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Dense peak in FLOP/s of `device` at `precision` ("fp32" or "bf16"); None for an accelerator not listed."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return next((bf16 if precision == "bf16" else fp32 for part, bf16, fp32 in _DENSE_PEAKS if part in name), None)
    if device.type == "cpu":
        return _measured(torch.bfloat16 if precision == "bf16" else torch.float32)
    return None


def _measured(dtype: torch.dtype) -> float:
    """The best of several short runs of a square product: other load only ever makes one slower."""
    a = torch.ones(_SIZE, _SIZE, dtype=dtype)
    torch.mm(a, a)
    best, until = float("inf"), time.perf_counter() + _SECONDS
    while time.perf_counter() < until:
        start = time.perf_counter()
        torch.mm(a, a)
        best = min(best, time.perf_counter() - start)
    return 2.0 * _SIZE**3 / best
