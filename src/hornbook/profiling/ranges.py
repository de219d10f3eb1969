"""Named stretches of time, put around calls from outside: what is called knows nothing of them.

    with ranged([Point(strategy, "backward", "backward")], Nvtx()):
        ...                                     # every strategy.backward(...) is a range of that name

The name before the first "/" is the part of a step that a range counts for: "data/wait" counts for data.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

Name = str | Callable[..., str]
"""Of a range, or what makes it of the call's arguments."""


class Ranges(Protocol):
    """Hears when a range begins, and when the one that began last ends."""

    def push(self, name: str) -> None:
        """It begins."""
        ...

    def pop(self) -> None:
        """The one that began last in this thread ends."""
        ...


@dataclass(frozen=True)
class Point:
    """A method of an object, or of a class and so of all its objects, whose calls are ranges."""

    owner: object
    method: str
    name: Name


@contextlib.contextmanager
def ranged(points: Iterable[Point], ranges: Ranges) -> Iterator[None]:
    """Inside, calls at these points are ranges; afterwards everything is as it was."""
    with contextlib.ExitStack() as at_end:
        for point in points:
            at_end.callback(_put_on(point, ranges))
        yield


def _put_on(point: Point, ranges: Ranges) -> Callable[[], None]:
    """Put a range around the calls of a method, and return what takes it off."""
    owner: Any = point.owner
    method, before = getattr(owner, point.method), vars(owner).get(point.method)

    def call(*args: Any, **kwargs: Any) -> Any:
        ranges.push(point.name if isinstance(point.name, str) else point.name(*args, **kwargs))
        try:
            return method(*args, **kwargs)
        finally:
            ranges.pop()

    def take_off() -> None:
        if before is None:
            delattr(owner, point.method)
        else:
            setattr(owner, point.method, before)

    setattr(owner, point.method, call)
    return take_off


@contextlib.contextmanager
def module_ranges(model: nn.Module, ranges: Ranges, *, every: bool) -> Iterator[None]:
    """Inside, the forward pass of a module is a range: of `every` one, or of children, layers and their sublayers.

    Hooks see what runs as it is written. Compiled code is one piece, and where hooks would be compiled into it they
    do nothing.
    """

    def begin(name: str) -> Callable[..., None]:
        def begun(*_: object) -> None:
            if not torch.compiler.is_compiling():
                ranges.push(name)

        return begun

    def ended(*_: object) -> None:
        if not torch.compiler.is_compiling():
            ranges.pop()

    with contextlib.ExitStack() as at_end:
        for name, module in model.named_modules():
            if not name or isinstance(module, nn.ModuleList) or not (every or name.count(".") <= 2):
                continue
            at_end.callback(module.register_forward_pre_hook(begin(name)).remove)
            # Also when it is cut short, as activation checkpointing does when it has what it recomputes for.
            at_end.callback(module.register_forward_hook(ended, always_call=True).remove)
        yield


class Recorded:
    """Ranges of torch.profiler, beside the operators of its trace; those of each thread by themselves."""

    def __init__(self) -> None:
        self._open = threading.local()

    def push(self, name: str) -> None:
        """It begins."""
        record = torch.autograd.profiler.record_function(name)
        record.__enter__()  # type: ignore[no-untyped-call]
        self._stack().append(record)

    def pop(self) -> None:
        """The one that began last ends."""
        self._stack().pop().__exit__(None, None, None)

    def _stack(self) -> list[torch.autograd.profiler.record_function]:
        if not hasattr(self._open, "stack"):
            self._open.stack = []
        stack: list[torch.autograd.profiler.record_function] = self._open.stack
        return stack
