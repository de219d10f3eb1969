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


class PackedLinear(nn.Module):
    """x W^T + b, for inference."""

    def __init__(self, weight: Float[Tensor, "out d"], bias: Float[Tensor, " out"] | None = None) -> None:
        super().__init__()
        self.packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
        self.bias = None if bias is None else bias.detach()

    def forward(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... out"]:
        """The product; `x` in the dtype of the weight."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, self.packed, self.bias, "none", [], "")
        return out


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
