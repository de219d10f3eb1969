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

    As many matrices at a time as there are processes: each gets one of them whole, works on it, and sends everybody
    their rows of what it made. So no process ever has more than one whole matrix, and none is worked on twice.
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
            made = None
            for owner, index in enumerate(dealt):
                whole = _gathered_at(owner, parts[index], self.shapes[parameters[index]], self.group)
                made = made if whole is None else whole
            if made is not None:  # all work at once, and only then speak
                made = make([made])[0].to(made)
            for owner, index in enumerate(dealt):
                own, shape = parts[index], self.shapes[parameters[index]]
                moves[index] = _scattered_from(owner, made if rank == owner else None, own, shape, self.group)
        return moves


def gathered_rows(part: Tensor, shape: torch.Size, group: dist.ProcessGroup) -> Tensor:
    """The whole tensor of `shape` from everybody's rows, on all of the group."""
    padded = _padded(part, _rows_each(shape, group))
    whole = part.new_empty((len(padded) * group.size(), *shape[1:]))
    with heard():
        dist.all_gather_single(whole, padded, group=group)
    return whole[: shape[0]]


def _gathered_at(owner: int, part: Tensor, shape: torch.Size, group: dist.ProcessGroup) -> Tensor | None:
    """The whole tensor on one of the group, None on the others."""
    padded = _padded(part, _rows_each(shape, group))
    is_owner = group.rank() == owner
    whole = part.new_empty((len(padded) * group.size(), *shape[1:])) if is_owner else None
    with heard():
        dist.gather(padded, None if whole is None else list(whole.chunk(group.size())), group=group, group_dst=owner)
    return None if whole is None else whole[: shape[0]]


def _scattered_from(
    owner: int, whole: Tensor | None, like: Tensor, shape: torch.Size, group: dist.ProcessGroup
) -> Tensor:
    """This process's rows, as many as `like` has, of a tensor that one of the group has whole and gives."""
    each = _rows_each(shape, group)
    pieces = None if whole is None else list(_padded(whole, each * group.size()).chunk(group.size()))
    rows = like.new_empty((each, *shape[1:]))
    with heard():
        dist.scatter(rows, pieces, group=group, group_src=owner)
    return rows[: len(like)]


def _rows_each(shape: torch.Size, group: dist.ProcessGroup) -> int:
    """Rows of a part that is not one of the last."""
    return -(-shape[0] // group.size())


def _padded(tensor: Tensor, rows: int) -> Tensor:
    """So many rows, one behind the other in memory: those of `tensor`, then zeros."""
    if len(tensor) == rows:
        return tensor.contiguous()
    padded = tensor.new_zeros((rows, *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    return padded
