"""Normalisation layers: RMSNorm (Zhang and Sennrich, 2019, https://arxiv.org/abs/1910.07467) and torch's LayerNorm.

RMSNorm(x) = x / sqrt(mean(x^2) + eps) * gain, computed in float32 at least whatever the input: the mean of squares of
bfloat16 numbers is too coarse.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hornbook.config.model import ModelConfig


class RMSNorm(nn.Module):
    """Divides vectors by their root mean square, then multiplies by a learned gain; no mean is taken, no bias added."""

    def __init__(self, width: int, *, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        """The normalised vectors, in the dtype of the input."""
        if x.dtype == self.weight.dtype:  # torch itself computes in float32 then
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        # Not nn.RMSNorm: it leaves its fused path, with a warning, when autocast gives bfloat16 x and float32 gains.
        wide = torch.promote_types(x.dtype, torch.float32)
        return F.rms_norm(x.to(wide), self.weight.shape, self.weight.to(wide), self.eps).to(x.dtype)


def make_norm(config: ModelConfig) -> nn.Module:
    """The normalisation over d_model that `config.norm` names; only LayerNorm has a bias, and only with config.bias."""
    if config.norm == "rms_norm":
        return RMSNorm(config.d_model, eps=config.norm_eps)
    return nn.LayerNorm(config.d_model, eps=config.norm_eps, bias=config.bias)
