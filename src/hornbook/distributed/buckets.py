"""Gradients in flat buckets, each summed over processes while backward is still filling the next.

    parameters, last first    head | norm | layers.1 ... | layers.0 ... | embedding
    buckets                   [0         ] [1                 ] [2                ]      of at most so many bytes
    one bucket                [gradients of rank 0's parameters | of rank 1's | ... | a number a parameter: is it used]

Backward reaches the last parameters first, so bucket 0 is full long before the end. Once a bucket is full its sum over
processes is started; buckets are started in their order on every process, because sums are matched by order. A gradient
is a view of its bucket: what backward made is copied in when it arrives for the first time in a step, and micro-batches
that follow add to it in place.

A parameter that nobody used has no gradient (None) afterwards, as in one process; one that others used has their sum.
The numbers at the end of a bucket tell: they are summed too, at no further cost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hornbook.distributed.process_group import heard

_ALIGNED = 16
"""Gradients begin at multiples of so many numbers: compiled code wants its tensors aligned."""


@dataclass
class Bucket:
    """Parameters whose gradients travel together, those of one owner side by side.

    Its memory is there from the start: what runs out later is that of activations, and smaller micro-batches help.
    """

    parameters: list[nn.Parameter]
    owners: list[int]
    waiting: set[int] = field(default_factory=set)
    """Which gradients of this backward pass have not arrived yet."""
    work: dist.Work | None = None

    def __post_init__(self) -> None:
        order = sorted(range(len(self.parameters)), key=lambda index: self.owners[index])
        self.parameters = [self.parameters[index] for index in order]
        self.owners = [self.owners[index] for index in order]
        ends = [0]
        for parameter in self.parameters:
            ends.append(-(-(ends[-1] + parameter.numel()) // _ALIGNED) * _ALIGNED)
        self.starts = ends[:-1]
        self.tail = ends[-1]
        cuts = [index for index in range(len(order)) if index == 0 or self.owners[index] != self.owners[index - 1]]
        self.segments = [
            (self.owners[first], slice(self.starts[first], ends[last]), range(first, last))
            for first, last in pairwise([*cuts, len(order)])
        ]
        like = self.parameters[0]
        self.flat = torch.zeros(self.tail + len(order), dtype=like.dtype, device=like.device)
        self.views = [
            self.flat[start : start + parameter.numel()].view(parameter.shape)
            for start, parameter in zip(self.starts, self.parameters, strict=True)
        ]

    @torch.no_grad()
    def take(self, index: int) -> None:
        """Move the gradient of parameter `index` into the bucket, where it is not there already."""
        parameter = self.parameters[index]
        if parameter.grad is not None and parameter.grad is not self.views[index]:
            self.views[index].copy_(parameter.grad)
            parameter.grad = self.views[index]

    @torch.no_grad()
    def send(self) -> None:
        """Start the sum over processes."""
        used = [parameter.grad is not None for parameter in self.parameters]
        for index, is_used in enumerate(used):
            if is_used:
                self.take(index)
            else:
                self.views[index].zero_()
        self.flat[self.tail :] = 1.0 if all(used) else torch.tensor(used, dtype=self.flat.dtype)
        with heard():
            self.work = dist.all_reduce(self.flat, async_op=True)

    def receive(self) -> None:
        """Wait for the sum, and give it to the parameters."""
        assert self.work is not None
        with heard():
            self.work.wait()
        unused = [index for index, parameter in enumerate(self.parameters) if parameter.grad is None]
        if unused:  # only then are the numbers at the end read: on a GPU that is a wait
            users = self.flat[self.tail :].tolist()
            for index in unused:
                if users[index]:
                    self.parameters[index].grad = self.views[index]


class GradientBuckets:
    """All buckets of a model, and how far this step's sums are."""

    def __init__(self, parameters: Sequence[nn.Parameter], *, limit: int, owner: Callable[[nn.Parameter], int]) -> None:
        """`parameters` that are trained, in the model's order; `limit` in bytes, 0: all in one."""
        self.buckets = plan(parameters, limit=limit, owner=owner)
        self.is_summed = False
        """Whether this step's gradients are complete."""
        self._is_last = False
        self._next = 0
        for bucket in self.buckets:
            for index, parameter in enumerate(bucket.parameters):
                hook = self._hook(bucket, index)
                parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]

    def expect(self, *, last: bool) -> None:
        """A backward pass begins; with `last` its gradients are sent as they arrive."""
        assert not self.is_summed, "gradients are complete: zero_grad begins the next step"
        self._is_last = last
        for bucket in self.buckets:
            bucket.waiting = set(range(len(bucket.parameters)))

    def finish(self) -> None:
        """Send what has not been sent, in order, and wait for all sums."""
        while self._next < len(self.buckets):
            self._send_next()
        for bucket in self.buckets:
            bucket.receive()
        self._is_last, self.is_summed = False, True

    def forget(self) -> None:
        """Drop all gradients; the next step begins."""
        assert self._next in (0, len(self.buckets)), "sums are under way"
        for bucket in self.buckets:
            bucket.work = None
            for parameter in bucket.parameters:
                parameter.grad = None
        self._next, self._is_last, self.is_summed = 0, False, False

    def _hook(self, bucket: Bucket, index: int) -> Callable[[Tensor], None]:
        def arrived(parameter: Tensor) -> None:
            assert bucket.work is None, "a gradient that was sent has changed"
            bucket.take(index)
            bucket.waiting.discard(index)
            while self._is_last and self._next < len(self.buckets) and not self.buckets[self._next].waiting:
                self._send_next()

        return arrived

    def _send_next(self) -> None:
        bucket = self.buckets[self._next]
        self._next += 1  # before, so that a failure is not tried again
        bucket.send()


def plan(parameters: Sequence[nn.Parameter], *, limit: int, owner: Callable[[nn.Parameter], int]) -> list[Bucket]:
    """Buckets in the order in which backward fills them, of one type and device each.

    None is above `limit` bytes, but for a parameter that is so by itself; 0: no limit.
    """
    waiting: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    done: list[list[nn.Parameter]] = []
    for parameter in reversed(parameters):
        together = waiting.setdefault((parameter.dtype, parameter.device), [])
        size = sum(each.nbytes for each in together)
        if together and limit and size + parameter.nbytes > limit:
            done.append(list(together))
            together.clear()
        together.append(parameter)
    done += [together for together in waiting.values() if together]
    return [Bucket(members, [owner(parameter) for parameter in members]) for members in done]
