"""A step at 8 to 4,096 processes, by simulation: how long, how efficient, and how much of it the network is waited for.

Weak scaling: each process computes the same, and the global batch grows with their number. Synchronous training waits
for the slowest process of each step, so the spread of one process's computing times costs more the more there are: of N
normal times the largest is expected at mean + deviation * z(N), z(N) = Phi^-1(1 - 0.625 / (N + 0.25)) to a per cent or
two (Blom, "Statistical Estimates and Transformed Beta-Variables", 1958).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from hornbook.config.model import ModelConfig
from hornbook.models.accounting import flops_per_token, parameter_counts, training_flops_per_token
from hornbook.planning.collectives import Link, Network
from hornbook.planning.overlap import MEGABYTE, Communication, Compute, Gradient, best_bucket, step_time
from hornbook.planning.simulation import Slowdown

WORLD_SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
BUCKETS = tuple(size * MEGABYTE for size in (1, 2, 5, 10, 25, 50, 100, 200, 400, 0))
"""What the best is looked for among; 0 is one bucket."""

NETWORKS: Mapping[str, Network] = {
    "10 Gb/s Ethernet, one process a machine": Network(
        inside=Link(latency=0.0, bandwidth=1e12), between=Link(latency=50e-6, bandwidth=1.25e9), per_machine=1
    ),
    "100 Gb/s Ethernet, 8 GPUs a machine": Network(
        inside=Link(latency=5e-6, bandwidth=200e9), between=Link(latency=15e-6, bandwidth=12.5e9 / 8), per_machine=8
    ),
    "400 Gb/s InfiniBand for each of 8 GPUs a machine": Network(
        inside=Link(latency=5e-6, bandwidth=400e9), between=Link(latency=8e-6, bandwidth=50e9), per_machine=8
    ),
}
"""Nominal figures, which are assumptions and not measurements: what vendors give for the bandwidth, and orders of
magnitude for the latency."""


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """A step at one number of processes."""

    n: int
    bucket_mb: float
    """The one that was asked for, or the best; 0: one bucket."""
    seconds: float
    exposed: float
    """Seconds in which nothing is computed."""
    waiting: float
    """Seconds more than the mean that the slowest process computes."""
    efficiency: float
    """Samples a second and process, over those of a process that is alone."""


def slowest_of(n: int) -> float:
    """By how many standard deviations the largest of `n` normal numbers is expected above the mean."""
    return NormalDist().inv_cdf(1.0 - 0.625 / (n + 0.25)) if n > 1 else 0.0


def slowed(compute: Compute, factor: float) -> Compute:
    """The same work at 1 / `factor` of the speed."""
    return replace(
        compute,
        forward=compute.forward * factor,
        backward=tuple(Gradient(each.seconds * factor, each.n_bytes) for each in compute.backward),
        update=compute.update * factor,
    )


def scaling(
    compute: Compute,
    network: Network,
    *,
    world_sizes: Sequence[int] = WORLD_SIZES,
    bucket_bytes: float | None = None,
    shard_optimizer: bool = True,
    variation: float = 0.0,
    slowdown: Slowdown | None = None,
) -> Iterator[Scaled]:
    """The step of each number of processes.

    bucket_bytes: None takes the best of BUCKETS for each.
    variation: standard deviation of a process's computing time, over its mean.
    """
    for n in world_sizes:
        own = slowed(compute, 1.0 + variation * slowest_of(n))
        how = _communication(network, n, shard_optimizer=shard_optimizer, slowdown=slowdown)
        size = best_bucket(own, how, BUCKETS) if bucket_bytes is None else bucket_bytes
        found = step_time(own, how, bucket_bytes=size)
        yield Scaled(
            n=n,
            bucket_mb=size / MEGABYTE,
            seconds=found.seconds,
            exposed=found.exposed,
            waiting=own.seconds - compute.seconds,
            efficiency=compute.seconds / found.seconds,
        )


def _communication(network: Network, n: int, *, shard_optimizer: bool, slowdown: Slowdown | None) -> Communication:
    sharded = shard_optimizer and n > 1
    return Communication(
        all_reduce=lambda n_bytes: network.all_reduce(n_bytes, n),
        all_gather=(lambda n_bytes: network.all_gather(n_bytes, n)) if sharded else None,
        update_share=1.0 / n if sharded else 1.0,
        slowdown=slowdown,
    )


def compute_on_paper(
    config: ModelConfig, *, tokens: int, flops_per_second: float, bytes_per_second: float, micro_batches: int = 1
) -> Compute:
    """What one process computes, from operations and bytes alone: for hardware that nobody has measured here.

    tokens: of one micro-batch. flops_per_second: what is reached, not the peak.
    bytes_per_second: of memory; AdamW reads four and writes three float32 numbers a parameter.
    """
    operations = training_flops_per_token(config, context=config.context_length) * tokens
    shares = backward_shares(config)
    backward = operations * 2 / 3 / flops_per_second
    return Compute(
        forward=operations / 3 / flops_per_second,
        backward=tuple(Gradient(backward * share, n_bytes) for n_bytes, share in shares),
        update=7 * sum(n_bytes for n_bytes, _ in shares) / bytes_per_second,
        micro_batches=micro_batches,
    )


def backward_shares(config: ModelConfig) -> list[tuple[int, float]]:
    """(bytes, share of backward's operations) of the gradients of a model, in the order in which they are ready.

    Gradients are float32, one for each matrix; norms and biases go with the matrices of their layer. The gradient of a
    tied embedding is ready last, although the head's part of it is the first to be computed.
    """
    counts = parameter_counts(config)
    flops = flops_per_token(config, context=config.context_length)
    total = sum(flops.values())
    n_matrices = 3 if config.feed_forward == "swiglu" else 2
    per_layer = 1.0 / config.n_layers / total
    feed_forward = flops["feed_forward"] * per_layer
    attention = (flops["attention_projections"] + flops["attention_scores"]) * per_layer
    norms = counts["norm"] // config.n_layers
    layer = _split(counts["feed_forward"] // config.n_layers + norms, feed_forward, n_matrices)
    layer += _split(counts["attention"] // config.n_layers, attention, 4)
    embeddings = counts["token_embedding"] + counts["position_embedding"] + counts["ngram_embedding"]
    head = flops["head"] / total
    whole = [*(layer * config.n_layers), (embeddings, 0.0)]
    if config.tie_embeddings:  # the time of the head goes by before the first gradient of the last layer
        whole[0] = (whole[0][0], whole[0][1] + head)
    else:
        whole.insert(0, (counts["head"], head))
    rest = sum(counts.values()) - sum(numbers for numbers, _ in whole)
    whole[-1] = (whole[-1][0] + rest, 0.0)
    return [(4 * numbers, share) for numbers, share in whole]


def _split(numbers: int, share: float, parts: int) -> list[tuple[int, float]]:
    """The same in so many pieces, all alike but for a remainder in the first."""
    pieces = [(numbers // parts, share / parts)] * parts
    return [(numbers // parts + numbers % parts, share / parts), *pieces[1:]]
