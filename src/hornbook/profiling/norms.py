"""How large weights, gradients and activations are, module by module, seen from outside.

Parameters are put together by the part of the model that they belong to: `layers.3.attention.q_proj.weight` counts for
`layers.3.attention`, and `token_embedding.weight` for `token_embedding`. Nothing here waits for the device: what is
returned are tensors on it, so that a whole step's numbers can leave it in one transfer.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_WATCHED = re.compile(r"token_embedding|norm|layers\.\d+(\.attention|\.feed_forward)?")
"""Modules whose outputs are measured: the embedding, each layer (the residual stream), its two sublayers, the end."""


def module_of(parameter: str) -> str:
    """The part of the model that a parameter counts for."""
    path = parameter.split(".")[:-1]
    return ".".join(path[:3] if path[:1] == ["layers"] else path[:1])


def by_module(parameters: Sequence[str], norms: Sequence[float]) -> dict[str, float]:
    """2-norms of modules from those of their parameters: the root of the sum of squares."""
    squares: dict[str, float] = {}
    for name, norm in zip(parameters, norms, strict=True):
        module = module_of(name)
        squares[module] = squares.get(module, 0.0) + norm * norm
    return {module: math.sqrt(square) for module, square in squares.items()}


def tensor_norms(tensors: Iterable[Tensor]) -> Tensor:
    """(n,) float32: the 2-norm of each tensor, left on the device."""
    return torch.stack(torch._foreach_norm([tensor.detach() for tensor in tensors])).float()


@contextmanager
def activation_sizes(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """While entered, takes down how large the outputs of modules are: {module: root mean square, 0-d float32}.

    The root mean square does not depend on width or batch, so models of different shape can be compared. Hooks are gone
    afterwards, whatever happened. A module that ran several times is known by its last run.
    """
    sizes: dict[str, Tensor] = {}

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def note(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                norm = torch.linalg.vector_norm(output.detach(), dtype=torch.float32)
                sizes[name] = norm * output.numel() ** -0.5

        return module.register_forward_hook(note)

    handles = [watch(name, module) for name, module in model.named_modules() if _WATCHED.fullmatch(name)]
    try:
        yield sizes
    finally:
        for handle in handles:
            handle.remove()
