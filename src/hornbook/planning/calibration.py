"""From what two processes measured to the numbers of the model, and how far its predictions are from what they took."""

from collections.abc import Sequence
from dataclasses import dataclass

from hornbook.planning.collectives import Link, Network
from hornbook.planning.overlap import COMPUTE, NETWORK, Communication, Compute, step_time
from hornbook.planning.simulation import Slowdown


@dataclass(frozen=True, kw_only=True)
class SumTime:
    """An all-reduce that was measured with nothing else going on."""

    n_bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class StepMeasured:
    """A training step that was measured."""

    bucket_bytes: float
    shard_optimizer: bool
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What processes on one machine measured, all of them at the same time. Seconds are medians over repetitions, the
    largest over ranks."""

    n: int
    """Processes."""
    sums: tuple[SumTime, ...]
    compute: Compute
    compute_beside_network: float
    """Seconds of the same backward while sums were under way all the time, over those alone."""
    network_beside_compute: float
    """The same of a large sum while backward was running all the time."""
    variation: float
    """Standard deviation of the seconds of computing a step, over their mean."""
    steps: tuple[StepMeasured, ...]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A measured step beside the simulated one."""

    measured: StepMeasured
    seconds: float
    """Simulated."""
    exposed: float
    """Of them, without computing."""
    buckets: int

    @property
    def error(self) -> float:
        """Relative; positive where the model is too slow."""
        return self.seconds / self.measured.seconds - 1.0


def fit_link(sums: Sequence[SumTime], n: int) -> Link:
    """Latency and effective bandwidth of a ring of `n` processes, from all-reduces of different sizes.

    Least squares of relative errors, so that the smallest sum counts as much as the largest; a negative latency, which
    noise may give, is 0.

    Raises:
        ValueError: with fewer than two different sizes.
    """
    if len({each.n_bytes for each in sums}) < 2:
        raise ValueError("a latency and a bandwidth need all-reduces of at least two sizes")
    # seconds = 2 (n - 1) (latency + bytes / (n bandwidth)) = a + b bytes; each equation divided by its seconds.
    rows = [(1.0 / each.seconds, each.n_bytes / each.seconds) for each in sums]
    aa, ab, bb = (sum(row[i] * row[j] for row in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    a1, b1 = sum(row[0] for row in rows), sum(row[1] for row in rows)
    determinant = aa * bb - ab * ab
    constant, slope = (a1 * bb - b1 * ab) / determinant, (aa * b1 - ab * a1) / determinant
    if constant < 0.0:
        constant, slope = 0.0, b1 / bb
    return Link(latency=constant / (2 * (n - 1)), bandwidth=2 * (n - 1) / (n * slope))


def interference(measured: Measured) -> Slowdown:
    """How much computing and summing slow each other down; never a gain."""
    return {
        (COMPUTE, NETWORK): max(0.0, 1.0 - 1.0 / measured.compute_beside_network),
        (NETWORK, COMPUTE): max(0.0, 1.0 - 1.0 / measured.network_beside_compute),
    }


def communication(measured: Measured, *, shard_optimizer: bool) -> Communication:
    """The network of the processes that measured."""
    link = fit_link(measured.sums, measured.n)
    network = Network(inside=link, between=link, per_machine=measured.n, algorithm="ring")
    return Communication(
        all_reduce=lambda n_bytes: network.all_reduce(n_bytes, measured.n),
        all_gather=(lambda n_bytes: network.all_gather(n_bytes, measured.n)) if shard_optimizer else None,
        update_share=1.0 / measured.n if shard_optimizer else 1.0,
        slowdown=interference(measured),
    )


def predictions(measured: Measured) -> list[Prediction]:
    """Every measured step simulated from what was measured of its parts: no step enters its own prediction."""
    made = []
    for each in measured.steps:
        how = communication(measured, shard_optimizer=each.shard_optimizer)
        found = step_time(measured.compute, how, bucket_bytes=each.bucket_bytes)
        made.append(Prediction(measured=each, seconds=found.seconds, exposed=found.exposed, buckets=found.buckets))
    return made
