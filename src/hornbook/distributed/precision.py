"""In which format products are computed. Weights, gradients and optimizer state are float32 always.

bf16 is autocast: matrix products take bfloat16 copies of their inputs, while norms, softmax and losses stay float32.
Its exponent is float32's, so gradients do not underflow and nothing needs a loss scale.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True)
class Precision:
    """A format on a device."""

    kind: Literal["fp32", "bf16"]
    device: torch.device

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass; backward belongs outside it."""
        if self.kind == "fp32":
            return nullcontext()
        return torch.autocast(device_type=self.device.type, dtype=torch.bfloat16)
