"""A discrete-event simulation of work on streams, such as a processor's and a network's, that get in each other's way.

Each stream does its tasks one after another in the order in which they are given, as a CUDA stream or a process group
does; a task begins when the one before it on its stream and all that it waits for have ended. While several streams are
busy, each may be slower than alone: a sum over processes takes cycles of the processor, and the other way round. Rates
are constant between two events, so the next event is exact and nothing is stepped through.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Slowdown = Mapping[tuple[str, str], float]
"""(stream, other) -> the share of its speed, 0 to below 1, that `stream` loses while `other` is busy."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A piece of work on one stream."""

    stream: str
    seconds: float
    """With every other stream idle."""
    after: tuple[int, ...] = ()
    """Numbers of the tasks that must have ended; earlier ones, so that there is always a way to the end."""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Span:
    """When a task ran, in seconds from the start."""

    start: float
    end: float


def simulate(tasks: Sequence[Task], slowdown: Slowdown | None = None) -> list[Span]:
    """When each task begins and ends.

    Raises:
        ValueError: if a task waits for itself or a later one.
    """
    for number, task in enumerate(tasks):
        if any(not 0 <= earlier < number for earlier in task.after):
            raise ValueError(f"task {number} waits for {task.after}; expected numbers of earlier tasks")
    queues: dict[str, list[int]] = {}
    for number, task in reversed([*enumerate(tasks)]):
        queues.setdefault(task.stream, []).append(number)
    starts: dict[int, float] = {}
    ends: dict[int, float] = {}
    left: dict[int, float] = {}
    now = 0.0
    while len(ends) < len(tasks):
        for queue in queues.values():
            if queue and queue[-1] not in left and all(earlier in ends for earlier in tasks[queue[-1]].after):
                left[queue[-1]] = tasks[queue[-1]].seconds
                starts[queue[-1]] = now
        durations = {number: work / _rate(tasks, number, left, slowdown or {}) for number, work in left.items()}
        first = min(durations, key=lambda number: (durations[number], number))
        passed = durations[first]
        now += passed
        left = {number: work - passed * (work / durations[number]) if work else 0.0 for number, work in left.items()}
        del left[first]
        ends[first] = now
        queues[tasks[first].stream].pop()
    return [Span(start=starts[number], end=ends[number]) for number in range(len(tasks))]


def _rate(tasks: Sequence[Task], number: int, running: Mapping[int, float], slowdown: Slowdown) -> float:
    """Of a running task, as a share of its speed alone."""
    rate = 1.0
    for other in running:
        if other != number:
            rate *= 1.0 - slowdown.get((tasks[number].stream, tasks[other].stream), 0.0)
    return rate
