"""In which format products are computed. Weights, gradients and optimizer state are float32 always.

bf16 and fp16 are autocast: matrix products take 16-bit copies of their inputs, while norms, softmax and losses stay
float32. bfloat16 has float32's exponent, so nothing underflows. float16 ends at 65,504 and loses what is below 6e-8:
there the loss is multiplied by a scale before backward, and the gradients are divided by it before anything reads them.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hornbook.errors import ConfigError

Kind = Literal["fp32", "bf16", "fp16"]
Products = Literal["exact", "fast"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SMALLEST_SCALE, LARGEST_SCALE = 1.0, 2.0**24
GROWTH_STEPS = 2000


@dataclass(frozen=True)
class Precision:
    """A format on a device."""

    kind: Kind
    device: torch.device

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass; backward belongs outside it."""
        if self.kind == "fp32":
            return nullcontext()
        return torch.autocast(device_type=self.device.type, dtype=DTYPES[self.kind])

    def check(self) -> None:
        """Refuse a format that the device cannot multiply in.

        Raises:
            ConfigError: for bf16 on a CUDA device older than compute capability 8.0.
        """
        if self.kind == "bf16" and self.device.type == "cuda":
            major, minor = torch.cuda.get_device_capability(self.device)
            if major < 8:
                raise ConfigError(
                    f"train.precision = 'bf16', but {torch.cuda.get_device_name(self.device)} (compute capability "
                    f"{major}.{minor}) has no bfloat16 products, which begin with 8.0; use 'fp16' or 'fp32'"
                )


@dataclass(frozen=True)
class LossScale:
    """What a float16 loss is multiplied by: a power of two, so that scaling and unscaling round nothing.

    An overflow halves it; after GROWTH_STEPS steps without one it doubles (Micikevicius et al., 2018, 3.2,
    https://arxiv.org/abs/1710.03740). Which scale a step had therefore never shows in the result, only in what is lost.
    """

    value: float = 2.0**16
    good_steps: int = 0
    """Steps since the last change."""

    def after(self, *, overflowed: bool) -> "LossScale":
        """The scale of the next step."""
        if overflowed:
            return LossScale(max(self.value / 2.0, SMALLEST_SCALE))
        if self.good_steps + 1 < GROWTH_STEPS:
            return LossScale(self.value, self.good_steps + 1)
        return LossScale(min(self.value * 2.0, LARGEST_SCALE))


def is_overflow(*, loss: float, grad_norm: float, scale: float | None) -> bool:
    """Whether a gradient that is not finite is the fault of its scale: the loss is finite, and a smaller scale exists.

    `scale` is None where nothing is scaled.
    """
    return scale is not None and scale > SMALLEST_SCALE and math.isfinite(loss) and not math.isfinite(grad_norm)


def unscale(gradients: Iterable[Tensor | None], scale: float | None) -> None:
    """Divide the gradients by their scale, in place."""
    if scale is not None and scale != 1.0:
        torch._foreach_mul_([gradient for gradient in gradients if gradient is not None], 1.0 / scale)


@contextlib.contextmanager
def fp32_products(kind: Products, device: torch.device) -> Iterator[None]:
    """How float32 products are computed inside; `fast` is oneDNN on a CPU and TF32 (10 bits) on a CUDA device."""
    before = torch.get_float32_matmul_precision()
    fast = "medium" if device.type == "cpu" else "high"
    torch.set_float32_matmul_precision(fast if kind == "fast" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
