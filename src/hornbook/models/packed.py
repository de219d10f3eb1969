"""The same model for decoding on a CPU: each matrix stored once more, in the order in which oneDNN's product reads it.

A product with few rows reads a whole matrix for little arithmetic. Left as it is, the matrix is rearranged at every
call, which takes longer than the product itself; here that is done once. Sums are taken in another order, so results
agree to rounding.
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hornbook.models.transformer import Transformer

ROWS = 32
"""Rows that the order is chosen for; it serves other numbers of rows too."""
MOST_ROWS = 256
"""Rows of one product; more are several products."""


class PackedLinear(nn.Module):
    """x W^T + b, for inference.

    oneDNN keeps a compiled product for each number of rows that it has met, a few hundred KB each. So rows are filled
    up to a few numbers (`_filled`), and a server's memory stays as it is.
    """

    def __init__(self, weight: Float[Tensor, "out d"], bias: Float[Tensor, " out"] | None = None) -> None:
        super().__init__()
        self.packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
        self.bias = None if bias is None else bias.detach()

    def forward(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... out"]:
        """The product; `x` in the dtype of the weight."""
        rows = x.reshape(-1, x.shape[-1])
        parts = [self._product(part) for part in torch.split(rows, MOST_ROWS)]
        out = parts[0] if len(parts) == 1 else torch.cat(parts)
        return out.view(*x.shape[:-1], out.shape[-1])

    def _product(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n out"]:
        more = nn.functional.pad(rows, (0, 0, 0, _filled(len(rows)) - len(rows)))
        out: Tensor = torch.ops.mkldnn._linear_pointwise.default(more, self.packed, self.bias, "none", [], "")
        return out[: len(rows)]


def _filled(n_rows: int) -> int:
    """A power of two, from ROWS on a multiple of it: thirteen numbers up to MOST_ROWS."""
    return 1 << (n_rows - 1).bit_length() if 0 < n_rows <= ROWS else -(-n_rows // ROWS) * ROWS


def packed(model: Transformer) -> Transformer:
    """`model` with packed matrices, as they are now; all else is shared with it. For inference alone.

    The model itself where that is no gain or not possible: on other devices, in float64, without oneDNN.
    """
    if not _can_be_packed(model.token_embedding.weight):
        return model
    twin = _with_packed_products(model)
    assert isinstance(twin, Transformer)
    if twin.head is None:
        twin.head = PackedLinear(model.token_embedding.weight)
    return twin


def _can_be_packed(weight: Tensor) -> bool:
    has_onednn = torch.backends.mkldnn.enabled and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if weight.device.type != "cpu" or not has_onednn:
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


def _with_packed_products(module: nn.Module) -> nn.Module:
    """A shallow copy in which every linear layer is a packed one."""
    if type(module) is nn.Linear:  # not its subclasses, which may do more
        return PackedLinear(module.weight, module.bias)
    twin = copy.copy(module)
    twin._modules = {name: child and _with_packed_products(child) for name, child in module._modules.items()}
    return twin
