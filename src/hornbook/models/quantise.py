"""int8 weights for inference: each row of a matrix is whole numbers times one float32 scale.

    w[o, i] ~ scales[o] * values[o, i]        scales[o] = max |w[o, :]| / 127, values rounded to even, -127 .. 127

An entry errs by at most half its row's scale, so by 1/254 of the row's largest entry.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Int8
from torch import Tensor

LARGEST = 127


@dataclass(frozen=True)
class QuantisedMatrix:
    """A matrix (out, in) in int8, with a scale for each row."""

    values: Int8[Tensor, "out d"]
    scales: Float32[Tensor, " out"]

    def dequantised(self) -> Float32[Tensor, "out d"]:
        """The matrix that these numbers stand for."""
        return self.values.float() * self.scales[:, None]


def quantise(weight: Float[Tensor, "out d"]) -> QuantisedMatrix:
    """The nearest int8 numbers with a scale for each row; a row of zeros has scale 0."""
    wide = weight.detach().float()
    scales = wide.abs().amax(dim=1) / LARGEST
    values = (wide / scales.clamp_min(torch.finfo(torch.float32).tiny)[:, None]).round().clamp(-LARGEST, LARGEST)
    return QuantisedMatrix(values.to(torch.int8), scales)


def relative_error(weight: Float[Tensor, "out d"], quantised: QuantisedMatrix) -> float:
    """The root mean square of the error over that of the weight; 0 for a matrix of zeros."""
    wide = weight.detach().float()
    size = wide.square().mean().sqrt()
    error = (quantised.dequantised() - wide).square().mean().sqrt()
    return float(error / size) if size > 0 else 0.0
