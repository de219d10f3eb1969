"""What this device does well, measured once a process in a fraction of a second, and the rate that MFU divides by.

Model FLOPs utilisation = (FLOPs the model needs per token * tokens per second) / peak. The peak is for dense products
in the precision that is used: a data sheet's on a known accelerator, a short measurement on a CPU. Vendors' larger
"sparse" numbers are twice what a dense model can reach.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hornbook.profiling.accelerators import accelerator_of

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_SIZE = 512
_SECONDS = 0.04
LARGEST_FLOAT32_ERROR = 5e-6
"""Mean relative error of a product that still passes for float32: summing 512 numbers costs about 3e-7, TF32 about
3e-4, bfloat16 3e-3."""
NOT_SLOWER = 0.75
"""Of the default's speed: less is slower for sure. The other path is about twice as fast on AMD and equal on Intel, so
that noise on a busy machine does not choose, and two runs of one configuration choose alike."""


@dataclass(frozen=True, kw_only=True)
class FastProducts:
    """What `torch.set_float32_matmul_precision` gives on this device beyond its default."""

    speed_up: float
    """Of float32 products."""
    error: float
    """Mean relative error against float64."""

    @property
    def is_as_good_as_exact(self) -> bool:
        """Not slower, and as accurate as float32: on AMX the same switch may mean bfloat16."""
        return self.speed_up >= NOT_SLOWER and self.error < LARGEST_FLOAT32_ERROR


@functools.cache
def probe_fast_products(device: torch.device) -> FastProducts | None:
    """Measure the fast path of float32 products (oneDNN on a CPU, TF32 on CUDA); None where there is none."""
    if device.type not in ("cpu", "cuda") or (
        device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0)
    ):
        return None
    a = torch.randn(_SIZE, _SIZE, generator=torch.Generator().manual_seed(0)).to(device)
    reference = a.double() @ a.double()
    before = torch.get_float32_matmul_precision()
    seconds: dict[str, float] = {}
    fast = "medium" if device.type == "cpu" else "high"
    try:
        for mode in ("highest", fast, "highest", fast):  # in turns: other load then slows both
            torch.set_float32_matmul_precision(mode)
            seconds[mode] = min(seconds.get(mode, float("inf")), _fastest(a, seconds=_SECONDS / 2))
        error = ((a @ a).double() - reference).abs().mean() / reference.abs().mean()
    finally:
        torch.set_float32_matmul_precision(before)
    return FastProducts(speed_up=seconds["highest"] / seconds[fast], error=error.item())


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Dense peak in FLOP/s of `device` at `precision` (fp32, bf16 or fp16); None for an accelerator not listed."""
    if device.type == "cuda":
        listed = accelerator_of(torch.cuda.get_device_name(device))
        return None if listed is None else listed.peak(precision)
    if device.type == "cpu":
        return _measured(_DTYPES[precision], torch.get_float32_matmul_precision())
    return None


@functools.cache
def _measured(dtype: torch.dtype, mode: str) -> float:
    """The rate of a square product on the CPU, under the setting `mode` of float32 products, which is in force."""
    return 2.0 * _SIZE**3 / _fastest(torch.ones(_SIZE, _SIZE, dtype=dtype), seconds=_SECONDS)


def _fastest(a: Tensor, *, seconds: float, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of the best of several products: other load only ever makes one slower."""

    def product() -> None:
        torch.mm(a, a)
        if a.is_cuda:
            torch.cuda.synchronize(a.device)

    product()
    best, until = float("inf"), clock() + seconds
    while clock() < until or best == float("inf"):
        start = clock()
        product()
        best = min(best, clock() - start)
    return best
