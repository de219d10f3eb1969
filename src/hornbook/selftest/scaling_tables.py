"""How steps take longer on more processes: measured on a few here, simulated for thousands elsewhere.

The measured part needs a machine that does nothing else. The simulated part is arithmetic on assumed hardware
(REACHED, MEMORY, VARIATION and the networks of `planning.scaling`), and docs/scaling.md says how far to trust it.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hornbook.config.dump import to_json
from hornbook.config.load import load_config
from hornbook.config.model import ModelConfig
from hornbook.config.run import Config
from hornbook.models.accounting import parameter_counts
from hornbook.planning.calibration import Measured, Prediction, predictions
from hornbook.planning.scaling import NETWORKS, Scaled, compute_on_paper, scaling
from hornbook.selftest.parallel_timing import measure

SHAPE: Mapping[str, object] = {
    "model.n_layers": 6,
    "model.d_model": 256,
    "model.n_heads": 4,
    "model.context_length": 128,
    "model.vocab_size": 4096,
    "train.tokens_per_step": 512,
    "train.micro_batch_size": 2,
    "train.compile": "off",
}
"""What is measured without a configuration: six million parameters, seconds on two cores."""
ON_PAPER = (("gpt2", 50_304, 16_384, 1), ("llama-1b", 50_304, 16_384, 4))
"""What is simulated without one: presets, their vocabulary, the tokens of a micro-batch, and micro-batches a step."""
REACHED, MEMORY, VARIATION = 0.4 * 989e12, 3.35e12, 0.02
"""Of a process: operations a second that are reached in bf16, bytes a second of its memory, and by how much its
computing time varies."""
ASSUMED = (
    f"NOT MEASURED, from here on: a process is assumed to compute {REACHED / 1e12:.0f} TFLOP/s and to move "
    f"{MEMORY / 1e12:.2f} TB/s of memory, in times that vary by {VARIATION:.0%}; the optimizer is sharded"
)
"""What people are told above the tables."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What each process computes in a step, whatever their number."""

    name: str
    model: ModelConfig
    tokens: int
    """Of a micro-batch."""
    micro_batches: int


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A table of numbers that nobody measured."""

    work: Work
    network: str
    rows: list[Scaled]


def measured(config: Config | None, n: int) -> tuple[Measured, list[Prediction]]:
    """The parts of a step on `n` processes here, and whole steps beside what the model makes of the parts.

    Raises:
        HornbookError: if they cannot train so.
    """
    values = SHAPE if config is None else json.loads(to_json(config))
    if config is not None and config.model.vocab_size is None:
        values = {**values, "model.vocab_size": config.tokenizer.vocab_size}
    own = load_config(None, values=values).config
    found = measure(own, n=n, buckets_mb=bucket_sizes(own))
    return found, predictions(found)


def bucket_sizes(config: Config) -> list[float]:
    """MB of buckets to measure with: about 64, 16 and 4 of them, and all in one (0)."""
    assert config.model.vocab_size is not None
    megabytes = 4 * sum(parameter_counts(config.model.complete(vocab_size=config.model.vocab_size)).values()) / 2**20
    return [2.0 ** round(math.log2(megabytes / parts)) for parts in (64, 16, 4)] + [0.0]


def works(config: Config | None) -> list[Work]:
    """What is simulated: the steps of the configuration, each process making a whole one, or else two known models."""
    if config is None:
        return [
            Work(
                name=preset,
                model=load_config(None, values={"model.preset": preset}).config.model.complete(vocab_size=vocabulary),
                tokens=tokens,
                micro_batches=micro_batches,
            )
            for preset, vocabulary, tokens, micro_batches in ON_PAPER
        ]
    model = config.model.complete(vocab_size=config.model.vocab_size or config.tokenizer.vocab_size)
    tokens, rows = config.positions_per_step, config.train.micro_batch_size
    pieces = 1 if rows == "auto" else tokens // (rows * model.context_length)
    name = config.run.name or "this configuration"
    return [Work(name=name, model=model, tokens=tokens // pieces, micro_batches=pieces)]


def simulated(config: Config | None) -> Iterator[Simulated]:
    """Steps of hardware that is not here: on each network, 8 to 4,096 processes."""
    for work in works(config):
        compute = compute_on_paper(
            work.model,
            tokens=work.tokens,
            flops_per_second=REACHED,
            bytes_per_second=MEMORY,
            micro_batches=work.micro_batches,
        )
        for name, network in NETWORKS.items():
            yield Simulated(work=work, network=name, rows=list(scaling(compute, network, variation=VARIATION)))
