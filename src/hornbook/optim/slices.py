"""Large tensors cut up, so that an update of many operations reads memory once and works in the cache after that."""

from collections.abc import Iterator

from torch import Tensor

from hornbook.optim.rule import Tensors

SLICE_NUMBERS = 1 << 17
"""Numbers of each tensor in a slice."""


def slices(tensors: Tensors) -> Iterator[Tensors]:
    """The same tensors in parts of about SLICE_NUMBERS: small ones together, large ones cut along the first dimension.

    On a GPU there is one part: launches cost more there than memory does.
    """
    if tensors.parameters[0].device.type != "cpu":
        yield tensors
        return
    lists = [tensors.parameters, tensors.gradients, *tensors.state.values()]
    waiting: list[list[Tensor]] = [[] for _ in lists]
    n_waiting = 0
    for together in zip(*lists, strict=True):
        size = together[0].numel()
        if size > SLICE_NUMBERS:
            rows = max(1, SLICE_NUMBERS * len(together[0]) // size)
            for parts in zip(*(tensor.split(rows) for tensor in together), strict=True):
                yield _of([[part] for part in parts], tensors)
            continue
        if n_waiting + size > SLICE_NUMBERS:
            yield _of(waiting, tensors)
            waiting, n_waiting = [[] for _ in lists], 0
        for held, tensor in zip(waiting, together, strict=True):
            held.append(tensor)
        n_waiting += size
    if n_waiting or waiting[0]:
        yield _of(waiting, tensors)


def _of(lists: list[list[Tensor]], whole: Tensors) -> Tensors:
    parameters, gradients, *state = lists
    return Tensors(parameters=parameters, gradients=gradients, state=dict(zip(whole.state, state, strict=True)))
