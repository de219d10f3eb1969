"""How a token's position enters the model: rotation of queries and keys, or a vector added to the embedding.

Rotary (Su et al., 2021, https://arxiv.org/abs/2104.09864): with e = head_dim, dimension i < e/2 pairs with i + e/2 and
the pair turns by the angle p * theta^(-2i/e), so a score depends only on the distance between query and key. This is
the layout of Hugging Face Llama; the paper pairs neighbours, a fixed permutation of the same thing.

Sinusoidal (Vaswani et al., 2017, section 3.5): PE(p, 2i) = sin(p / 10000^(2i/d)), PE(p, 2i+1) = cos(the same angle).

Both are computed for the positions at hand, in float32: there is no table to run off the end of, and nothing to store.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

SINUSOID_BASE = 10_000.0


class Rotation(NamedTuple):
    """Cosines and sines of the rotary angles, float32; one set serves every layer and head."""

    cos: Float[Tensor, "#b 1 t half_e"]
    sin: Float[Tensor, "#b 1 t half_e"]


def _angles(positions: Int[Tensor, "#b t"], width: int, base: float) -> Float[Tensor, "#b t half"]:
    """p * base^(-2i / width) for i = 0 .. ceil(width / 2) - 1, float32."""
    exponents = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32) / width
    return positions[..., None].float() * (1.0 / base**exponents)


def rotation(positions: Int[Tensor, "#b t"], *, head_dim: int, theta: float) -> Rotation:
    """The rotation of queries and keys at `positions`; `head_dim` is even (ModelConfig checks it)."""
    angles = _angles(positions, head_dim, theta)[:, None]  # (B, 1, T, E/2)
    return Rotation(angles.cos(), angles.sin())


def rotate(x: Float[Tensor, "b h t e"], turn: Rotation) -> Float[Tensor, "b h t e"]:
    """Queries or keys turned by their positions; computed in float32 at least, returned in the dtype of `x`."""
    left, right = x.chunk(2, dim=-1)
    turned = torch.cat((left * turn.cos - right * turn.sin, right * turn.cos + left * turn.sin), dim=-1)
    return turned.to(x.dtype)


def sinusoid(positions: Int[Tensor, "#b t"], *, d_model: int) -> Float[Tensor, "#b t d"]:
    """The sinusoidal position vectors, float32; sines at even dimensions, cosines at odd ones."""
    angles = _angles(positions, d_model, SINUSOID_BASE)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)[..., :d_model]
