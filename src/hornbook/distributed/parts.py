"""Tensors of which each process has some rows: which ones, the whole again, and work on whole matrices."""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from hornbook.distributed.process_group import heard


def part_of(tensor: Tensor) -> Tensor:
    """This process's rows of a tensor that is cut up (a DTensor), sharing its memory; any other tensor itself."""
    with torch.no_grad():
        part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor.detach()
    return part


def rows_of(n: int, part: int, parts: int) -> slice:
    """Which of `n` rows belong to part number `part`: as torch.chunk cuts, the last ones short or empty."""
    each = -(-n // parts)
    return slice(min(part * each, n), min((part + 1) * each, n))


class WholeMatrices:
    """Called with parameters, a tensor of the same rows for each, and what makes whole moves of whole directions.

    As many matrices at a time as there are processes: all gather them, each works on one, and sends what it made to the
    others, who take their rows. So no process has more than that many whole ones at once, and none is worked on twice.
    """

    def __init__(self, group: dist.ProcessGroup, shapes: Mapping[Tensor, torch.Size]) -> None:
        """`shapes`: of each whole parameter, by this process's part of it."""
        self.group = group
        self.shapes = shapes

    def __call__(
        self, parameters: Sequence[Tensor], parts: Sequence[Tensor], make: Callable[[list[Tensor]], list[Tensor]]
    ) -> list[Tensor]:
        """This process's rows of what `make` makes of the whole tensors, in their order."""
        rank, n = self.group.rank(), self.group.size()
        moves = list(parts)
        # Of one size together, so that all have as much to do.
        order = sorted(range(len(parts)), key=lambda index: -self.shapes[parameters[index]].numel())
        for at in range(0, len(order), n):
            dealt = order[at : at + n]
            wholes = [gathered_rows(parts[index], self.shapes[parameters[index]], self.group) for index in dealt]
            if rank < len(dealt):  # all work at once, and only then speak
                wholes[rank] = make([wholes[rank]])[0].to(wholes[rank]).contiguous()
            for owner, (index, whole) in enumerate(zip(dealt, wholes, strict=True)):
                with heard():
                    dist.broadcast(whole, group_src=owner, group=self.group)
                moves[index] = whole[rows_of(len(whole), rank, n)]
        return moves


def gathered_rows(part: Tensor, shape: torch.Size, group: dist.ProcessGroup) -> Tensor:
    """The whole tensor of `shape` from everybody's rows, on all of the group."""
    n = group.size()
    each = -(-shape[0] // n)
    padded = part.new_zeros((each, *shape[1:]))
    padded[: len(part)] = part
    whole = part.new_empty((each * n, *shape[1:]))
    with heard():
        dist.all_gather_single(whole, padded, group=group)
    return whole[: shape[0]]
