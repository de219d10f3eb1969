"""One data-parallel step as tasks on two streams: compute, and a network that sums buckets of gradients beside it.

    compute   | micro-batches before the last | forward | backward: bucket 0 | bucket 1 | bucket 2 |        | update |
    network                                                                  | sum of 0   | sum of 1 | sum of 2 |

The last bucket's sum has nothing left to hide behind, small buckets pay the latency often, and large ones start late:
the time of a step is a valley in the size of the buckets. `simulate` finds it for any timeline of gradients.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from hornbook.planning.simulation import Slowdown, Span, Task, simulate

COMPUTE, NETWORK = "compute", "network"
SMALL_SUMS = 4
"""Sums of a few numbers that every process waits for in a step: weights of the loss, whether the step fitted into
memory, metrics, whether to leave the update out."""
MEGABYTE = 2**20


class Gradient(NamedTuple):
    """When backward has made one parameter's gradient."""

    seconds: float
    """Since the one before it, or since backward began."""
    n_bytes: int


@dataclass(frozen=True, kw_only=True)
class Compute:
    """What one process computes in a step, in seconds, with the network idle."""

    forward: float
    """Of one micro-batch, loss included."""
    backward: tuple[Gradient, ...]
    """Of one micro-batch, in the order in which gradients are ready."""
    update: float
    """Clipping and optimizer, for all parameters."""
    micro_batches: int = 1
    """In a step, of this process."""

    @property
    def n_bytes(self) -> int:
        """Of all gradients, and of all parameters."""
        return sum(gradient.n_bytes for gradient in self.backward)

    @property
    def seconds(self) -> float:
        """Of a step of a process that is alone."""
        backward = sum(gradient.seconds for gradient in self.backward)
        return self.micro_batches * (self.forward + backward) + self.update


@dataclass(frozen=True, kw_only=True)
class Communication:
    """What the network takes, in seconds, and who is in whose way."""

    all_reduce: Callable[[float], float]
    """Of so many bytes: see `collectives`."""
    all_gather: Callable[[float], float] | None = None
    """With a sharded optimizer: parameters go round in the same buckets. None: every process updates all."""
    update_share: float = 1.0
    """The part of the update that one process makes."""
    slowdown: Slowdown | None = None
    small_sums: int = SMALL_SUMS
    """Of a few numbers, in a step."""


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """What a simulated step took."""

    seconds: float
    network: float
    """Busy seconds of the network."""
    exposed: float
    """Seconds in which nothing was computed."""
    buckets: int
    spans: tuple[tuple[Task, Span], ...]


def bucket_sizes(sizes: Sequence[int], limit: float) -> list[list[int]]:
    """Which gradients, by number, travel together: in order, at most `limit` bytes unless one is larger by itself.

    0: all in one. The rule of `hornbook.distributed.buckets`.
    """
    buckets: list[list[int]] = [[]]
    size = 0
    for number, n_bytes in enumerate(sizes):
        if buckets[-1] and limit and size + n_bytes > limit:
            buckets.append([])
            size = 0
        buckets[-1].append(number)
        size += n_bytes
    return buckets


def step_tasks(compute: Compute, communication: Communication, *, bucket_bytes: float) -> tuple[list[Task], int]:
    """A step's tasks, and its number of buckets."""
    sizes = [gradient.n_bytes for gradient in compute.backward]
    buckets = bucket_sizes(sizes, bucket_bytes)
    backward = sum(gradient.seconds for gradient in compute.backward)
    before = (compute.micro_batches - 1) * (compute.forward + backward) + compute.forward
    waited = communication.small_sums * communication.all_reduce(8)
    tasks = [Task(stream=NETWORK, seconds=waited, name="small sums")]
    tasks.append(Task(stream=COMPUTE, seconds=before, after=(0,), name="forward"))
    sums: list[int] = []
    for bucket in buckets:
        seconds = sum(compute.backward[number].seconds for number in bucket)
        tasks.append(Task(stream=COMPUTE, seconds=seconds, name="backward"))
        arrived = len(tasks) - 1
        summing = communication.all_reduce(sum(sizes[number] for number in bucket))
        tasks.append(Task(stream=NETWORK, seconds=summing, after=(arrived,), name="all-reduce"))
        sums.append(arrived + 1)
    updating = compute.update * communication.update_share
    tasks.append(Task(stream=COMPUTE, seconds=updating, after=tuple(sums), name="update"))
    if communication.all_gather is not None:
        updated = len(tasks) - 1
        for bucket in buckets:
            seconds = communication.all_gather(sum(sizes[number] for number in bucket))
            tasks.append(Task(stream=NETWORK, seconds=seconds, after=(updated,), name="all-gather"))
    return tasks, len(buckets)


def step_time(compute: Compute, communication: Communication, *, bucket_bytes: float) -> StepTime:
    """Simulate one step with buckets of at most `bucket_bytes`; 0: one bucket."""
    tasks, n_buckets = step_tasks(compute, communication, bucket_bytes=bucket_bytes)
    spans = simulate(tasks, communication.slowdown)
    seconds = max(span.end for span in spans)
    busy = {
        stream: sum(span.end - span.start for task, span in zip(tasks, spans, strict=True) if task.stream == stream)
        for stream in (COMPUTE, NETWORK)
    }
    return StepTime(
        seconds=seconds,
        network=busy[NETWORK],
        exposed=seconds - busy[COMPUTE],
        buckets=n_buckets,
        spans=tuple(zip(tasks, spans, strict=True)),
    )


def gradients(arrivals: Sequence[float], sizes: Sequence[int]) -> tuple[Gradient, ...]:
    """A timeline from the seconds after backward's start at which each gradient, in this order, was ready."""
    passed = [later - earlier for earlier, later in pairwise([0.0, *arrivals])]
    return tuple(Gradient(max(0.0, seconds), n_bytes) for seconds, n_bytes in zip(passed, sizes, strict=True))


def best_bucket(compute: Compute, communication: Communication, candidates: Sequence[float]) -> float:
    """The candidate, in bytes, with the shortest step; of equals the first."""
    return min(candidates, key=lambda limit: step_time(compute, communication, bucket_bytes=limit).seconds)
