"""Muon: momentum whose matrix is made orthogonal before it moves the weights.

    m <- mu m + (1 - mu) g                  mu rises from momentum_start to momentum over momentum_warmup_steps updates
    u  = mu m + (1 - mu) g   (Nesterov), or m
    p <- p (1 - lr weight_decay) - lr sqrt(max(1, rows / columns)) orthogonalised(u)

Every singular direction of the momentum then counts alike, rare ones too. Each matrix is orthogonalised by itself: the
query, key and value projections are matrices of their own here. All of one shape, or of its transpose, go through the
products together.

Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/; decoupled decay as in Liu et al., arXiv:2502.16982.
"""

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from hornbook.optim.orthogonal import orthogonalised
from hornbook.optim.rule import Counts, Numbers, Rule, Tensors, zeros


@dataclass(frozen=True, kw_only=True)
class Muon(Rule):
    """For matrices, (rows, columns) or stacks of them, (..., rows, columns)."""

    momentum: float
    momentum_start: float | None
    momentum_warmup_steps: int
    nesterov: bool
    ns_steps: int
    weight_decay: float
    elementwise = False

    def first_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """Zero momentum."""
        assert parameter.ndim >= 2, "Muon moves matrices"
        return {"momentum": zeros(parameter)}

    def advance(self, counts: Counts, *, lr: float) -> tuple[Numbers, Counts]:
        """The momentum of this update, and what decay leaves."""
        start = self.momentum if self.momentum_start is None else self.momentum_start
        risen = min(1.0, counts["step"] / self.momentum_warmup_steps)
        momentum = start + (self.momentum - start) * risen
        numbers = {"momentum": momentum, "fresh": 1.0 - momentum, "rate": -lr, "kept": 1.0 - lr * self.weight_decay}
        return numbers, {"step": counts["step"] + 1.0}

    def cost(self, parameter: Tensor) -> int:
        """Products of some 6 short operations a number and iteration, where passes over memory take the time of 600."""
        return parameter.numel() * (1 + self.ns_steps * min(parameter.shape[-2:]) // 100)

    def update(self, tensors: Tensors, numbers: Numbers) -> None:
        """Momentum, then one orthogonal move."""
        buffers = tensors.state["momentum"]
        fresh = torch._foreach_mul(tensors.gradients, numbers["fresh"])
        torch._foreach_mul_(buffers, numbers["momentum"])
        torch._foreach_add_(buffers, fresh)
        directions = buffers
        if self.nesterov:
            directions = list(torch._foreach_mul(buffers, numbers["momentum"]))
            torch._foreach_add_(directions, fresh)
        if tensors.on_whole is None:
            moves = self._orthogonal(directions)
        else:
            moves = tensors.on_whole(tensors.parameters, directions, self._orthogonal)
        moves = [move.to(parameter) for move, parameter in zip(moves, tensors.parameters, strict=True)]
        torch._foreach_mul_(moves, numbers["rate"])
        if self.weight_decay:
            torch._foreach_mul_(tensors.parameters, numbers["kept"])
        torch._foreach_add_(tensors.parameters, moves)

    def _orthogonal(self, directions: list[Tensor]) -> list[Tensor]:
        """Each direction orthogonalised, and lengthened by sqrt(max(1, rows / columns))."""
        stacks: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, direction in enumerate(directions):
            rows, columns = direction.shape[-2:]
            stacks[min(rows, columns), max(rows, columns)].append(index)
        moves = list(directions)
        for (short, long), indices in stacks.items():
            wide = [_wide(directions[index]) for index in indices]
            orthogonal = orthogonalised(torch.cat(wide), self.ns_steps)
            for index, move in zip(indices, torch.split(orthogonal, [len(part) for part in wide]), strict=True):
                is_tall = directions[index].shape[-2] > directions[index].shape[-1]
                scaled = move.mT * (long / short) ** 0.5 if is_tall else move
                moves[index] = scaled.reshape(directions[index].shape)
        return moves


def _wide(direction: Tensor) -> Tensor:
    """(n, short, long), in bfloat16 where the weights are float32: products are the cost, and their result is rough."""
    matrices = direction.flatten(0, -3) if direction.ndim > 2 else direction[None]
    matrices = matrices.mT if matrices.shape[-2] > matrices.shape[-1] else matrices
    return matrices.to(torch.bfloat16) if matrices.dtype == torch.float32 else matrices
