"""Muon for one matrix (or a stack, one after the other), slowly and in float64."""

import torch
from torch import Tensor


def newton_schulz(matrix: Tensor, steps: int) -> Tensor:
    """One matrix, as the article writes it, without a thought for its shape."""
    x = matrix / matrix.square().sum().sqrt()
    for _ in range(steps):
        x = 3.4445 * x - 4.7750 * (x @ x.T) @ x + 2.0315 * (x @ x.T) @ (x @ x.T) @ x
    return x


def muon_path(
    weight: Tensor,
    gradients: list[Tensor],
    *,
    lr: float,
    momentum: float,
    momentum_start: float | None,
    warmup: int,
    nesterov: bool,
    steps: int,
    weight_decay: float,
) -> Tensor:
    """The weight after one update by each gradient."""
    if weight.ndim == 3:
        settings = {"lr": lr, "momentum": momentum, "momentum_start": momentum_start, "warmup": warmup}
        settings |= {"nesterov": nesterov, "steps": steps, "weight_decay": weight_decay}
        parts = [muon_path(part, [g[i] for g in gradients], **settings) for i, part in enumerate(weight)]
        return torch.stack(parts)
    buffer = torch.zeros_like(weight)
    for t, gradient in enumerate(gradients):
        mu = momentum
        if momentum_start is not None and t < warmup:
            mu = momentum_start * (1 - t / warmup) + momentum * t / warmup
        buffer = mu * buffer + (1 - mu) * gradient
        direction = mu * buffer + (1 - mu) * gradient if nesterov else buffer
        rows, columns = weight.shape
        move = max(1.0, rows / columns) ** 0.5 * newton_schulz(direction, steps)
        weight = weight - lr * weight_decay * weight - lr * move
    return weight
