"""How a token's position enters the model: rotation of queries and keys, or a vector added to the embedding.

Rotary (Su et al., 2021, https://arxiv.org/abs/2104.09864): with e = head_dim, dimension i < e/2 pairs with i + e/2 and
the pair turns by the angle p * theta^(-2i/e), so a score depends only on the distance between query and key. This is
the layout of Hugging Face Llama; the paper pairs neighbours, a fixed permutation of the same thing.

A rotary model that is to read longer texts than it was trained on gets slower frequencies; see `frequencies`.

Sinusoidal (Vaswani et al., 2017, section 3.5): PE(p, 2i) = sin(p / 10000^(2i/d)), PE(p, 2i+1) = cos(the same angle).

Both are computed for the positions at hand, in float32: there is no table to run off the end of, and nothing to store.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hornbook.config.rope import LinearScaling, Llama3Scaling, RopeScaling, YarnScaling

SINUSOID_BASE = 10_000.0


class Rotation(NamedTuple):
    """Cosines and sines of the rotary angles, float32; one set serves every layer and head."""

    cos: Float[Tensor, "#b 1 t half_e"]
    sin: Float[Tensor, "#b 1 t half_e"]


def _frequencies(width: int, base: float, device: torch.device) -> Float[Tensor, " half"]:
    """base^(-2i / width) for i = 0 .. ceil(width / 2) - 1, float32, in radians per token."""
    exponents = torch.arange(0, width, 2, device=device, dtype=torch.float32) / width
    return 1.0 / base**exponents


def frequencies(
    head_dim: int, theta: int | float, scaling: RopeScaling | None, device: torch.device
) -> tuple[Float[Tensor, " half"], float]:
    """Rotary frequencies (e/2,) in radians per token, float32, and what queries and keys are multiplied by.

    With f = theta^(-2i/e) and s = factor, those of a scaled model are a mixture w f + (1 - w) f / s:

        linear   w = 0
        llama3   w rises linearly with the turns in the original context, f c / 2 pi, from 0 at low_freq_factor to 1 at
                 high_freq_factor
        yarn     w falls linearly with i, from 1 where f makes beta_fast turns in the original context to 0 where it
                 makes beta_slow

    Sources: Chen et al., 2023, https://arxiv.org/abs/2306.15595; the reference code of Llama 3.1; Peng et al., 2023,
    https://arxiv.org/abs/2309.00071, definitions 2 and 3.
    """
    plain = _frequencies(head_dim, theta, device)
    match scaling:
        case None:
            return plain, 1.0
        case LinearScaling():
            return plain / scaling.factor, 1.0
        case Llama3Scaling():
            turns = scaling.original_context_length * plain / (2 * math.pi)
            low, high = scaling.low_freq_factor, scaling.high_freq_factor
            kept = ((turns - low) / (high - low)).clamp(0, 1)
            return kept * plain + (1 - kept) * plain / scaling.factor, 1.0
        case YarnScaling():
            kept = _yarn_kept(head_dim, theta, scaling, device)
            sharper = scaling.attention_factor or 0.1 * math.log(scaling.factor) + 1.0
            return kept * plain + (1 - kept) * plain / scaling.factor, sharper


def _yarn_kept(head_dim: int, theta: float, scaling: YarnScaling, device: torch.device) -> Float[Tensor, " half"]:
    """How much of each frequency stays: 1 up to the dimension of beta_fast turns, 0 from that of beta_slow on."""

    def dimension(turns: float) -> float:
        """The i, not whole, whose frequency makes so many turns in the original context."""
        return head_dim * math.log(scaling.original_context_length / (turns * 2 * math.pi)) / (2 * math.log(theta))

    first, last = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, head_dim - 1)
    index = torch.arange(head_dim // 2, device=device, dtype=torch.float32)
    return 1 - ((index - first) / (last - first or 0.001)).clamp(0, 1)


def rotation(
    positions: Int[Tensor, "#b t"], *, head_dim: int, theta: int | float, scaling: RopeScaling | None = None
) -> Rotation:
    """The rotation of queries and keys at `positions`; `head_dim` is even (ModelConfig checks it)."""
    turning, stretch = frequencies(head_dim, theta, scaling, positions.device)
    angles = (positions[..., None].float() * turning)[:, None]  # (B, 1, T, E/2)
    if stretch == 1.0:
        return Rotation(angles.cos(), angles.sin())
    return Rotation(angles.cos() * stretch, angles.sin() * stretch)


def rotate(x: Float[Tensor, "b h t e"], turn: Rotation) -> Float[Tensor, "b h t e"]:
    """Queries or keys turned by their positions; computed in float32 at least, returned in the dtype of `x`."""
    left, right = x.chunk(2, dim=-1)
    turned = torch.cat((left * turn.cos - right * turn.sin, right * turn.cos + left * turn.sin), dim=-1)
    return turned.to(x.dtype)


def sinusoid(positions: Int[Tensor, "#b t"], *, d_model: int) -> Float[Tensor, "#b t d"]:
    """The sinusoidal position vectors, float32; sines at even dimensions, cosines at odd ones."""
    angles = positions[..., None].float() * _frequencies(d_model, SINUSOID_BASE, positions.device)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)[..., :d_model]
