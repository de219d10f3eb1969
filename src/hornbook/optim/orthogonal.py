"""The nearest orthogonal matrix, roughly, by matrix products alone.

Newton-Schulz iteration with an odd polynomial of degree 5: X <- a X + (b A + c A A) X with A = X X^T. It keeps the
singular vectors of X and moves each singular value s in (0, 1] by a s + b s^3 + c s^5. The coefficients were chosen to
lift small values fast, not to converge: after five steps what began between 0.001 and 1 lies between 0.68 and 1.14.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024, https://kellerjordan.github.io/posts/muon/.
"""

import torch
from jaxtyping import Float
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
SMALLEST_NORM = 1e-15
"""A matrix below it is lengthened no further: squares of much smaller numbers are 0 in float32, and so is their sum."""


def orthogonalised(matrices: Float[Tensor, "n rows columns"], steps: int) -> Float[Tensor, "n rows columns"]:
    """U V^T of each matrix U S V^T, singular values near 1; a zero matrix stays zero. At most as many rows as columns.

    In the type that the matrices come in: bfloat16 is precise enough, since the values themselves end only near 1.
    """
    a, b, c = COEFFICIENTS
    # The Frobenius norm bounds the largest singular value, so all values start in [0, 1].
    norms = torch.linalg.vector_norm(matrices, dim=(-2, -1), keepdim=True, dtype=wide(matrices.dtype))
    x: Tensor = (matrices / norms.clamp_min(SMALLEST_NORM)).to(matrices.dtype)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type to add up many numbers of `dtype` in."""
    return torch.promote_types(dtype, torch.float32)
