"""What the tests of this room share: parameters, gradients and optimizers over them."""

import torch

from hornbook.config.optim import OptimConfig
from hornbook.optim.build import make_optimizer
from hornbook.optim.optimizer import RuledOptimizer

SHAPES = [(5, 3), (7,), (), (2, 2, 2)]


def parameters(dtype: torch.dtype, shapes: list[tuple[int, ...]] = SHAPES) -> list[torch.nn.Parameter]:
    """The same numbers at every call."""
    rng = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=rng, dtype=dtype)) for shape in shapes]


def build(tensors: list[torch.nn.Parameter], config: OptimConfig, role: str = "matrix") -> RuledOptimizer:
    """An optimizer of tensors that all have one role."""
    named = [(f"p{index}", tensor) for index, tensor in enumerate(tensors)]
    return make_optimizer(named, {name: role for name, _ in named}, config)


def draw_gradients(tensors: list[torch.nn.Parameter], rng: torch.Generator) -> None:
    """New random gradients."""
    for tensor in tensors:
        tensor.grad = torch.randn(tensor.shape, generator=rng, dtype=tensor.dtype).to(tensor.device)
