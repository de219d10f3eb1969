"""What collective operations cost by the alpha-beta model: a message of n bytes takes alpha + n / beta seconds.

    all-reduce, ring                2 (N - 1) (alpha + n / (N beta))
    all-reduce, halving-doubling    2 ceil(log2 N) alpha + 2 (N - 1) / N * n / beta
    reduce-scatter, all-gather      half of an all-reduce

A ring is what gloo does; NCCL takes a ring or a tree, whose latency grows with the logarithm as that of halving and
doubling does, and here the faster one. Adding numbers up is part of beta, which is an *effective* bandwidth: measured,
not taken from a data sheet. Sources: Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication
Operations in MPICH", 2005, sections 3 and 4; Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms", 2009.

Processes on one machine share a faster link, so an all-reduce over machines has three stages: reduce-scatter inside,
all-reduce of each process's piece between, all-gather inside.
"""

from dataclasses import dataclass
from math import ceil, log2
from typing import Literal

Algorithm = Literal["ring", "fastest"]


@dataclass(frozen=True, kw_only=True)
class Link:
    """A way between two processes."""

    latency: float
    """Seconds of an empty message: alpha."""
    bandwidth: float
    """Bytes a second, each way, of one process: beta."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """How processes are connected."""

    inside: Link
    """Between processes of one machine."""
    between: Link
    """Between those of different machines; the bandwidth is one process's share of what its machine has."""
    per_machine: int
    """Processes on one machine."""
    algorithm: Algorithm = "fastest"

    def all_reduce(self, n_bytes: float, n: int) -> float:
        """Seconds of summing so many bytes over `n` processes, so that each has the sum."""
        inside, machines = min(n, self.per_machine), ceil(n / self.per_machine)
        return (
            reduce_scatter(self.inside, n_bytes, inside)
            + all_reduce(self.between, n_bytes / inside, machines, self.algorithm)
            + reduce_scatter(self.inside, n_bytes, inside)
        )

    def all_gather(self, n_bytes: float, n: int) -> float:
        """Seconds until each of `n` processes has all of so many bytes, of which each held its share."""
        inside, machines = min(n, self.per_machine), ceil(n / self.per_machine)
        between = all_reduce(self.between, n_bytes / inside, machines, self.algorithm) / 2
        return between + reduce_scatter(self.inside, n_bytes, inside)


def all_reduce(link: Link, n_bytes: float, n: int, algorithm: Algorithm) -> float:
    """Seconds of an all-reduce among `n` processes that are all connected alike; 0 for one."""
    if n == 1:
        return 0.0
    moved = 2 * (n - 1) / n * n_bytes / link.bandwidth
    ring = 2 * (n - 1) * link.latency + moved
    return ring if algorithm == "ring" else min(ring, 2 * ceil(log2(n)) * link.latency + moved)


def reduce_scatter(link: Link, n_bytes: float, n: int) -> float:
    """Seconds of a reduce-scatter, or of an all-gather, on a ring of `n` processes."""
    return (n - 1) * (link.latency + n_bytes / (n * link.bandwidth))
