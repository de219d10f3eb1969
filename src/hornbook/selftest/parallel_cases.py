"""The ways of training that `hornbook verify-parallel` compares, and the configuration of each.

    reference      one process, each step at once
    accumulated    one process, each step in three micro-batches
    DDP ...        two or three processes, each with its share of the step's rows, in one micro-batch or in three

All make the same steps: the same rows in the same order, the same loss, from the same weights.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hornbook.config.distributed import DistributedConfig
from hornbook.config.dump import to_json
from hornbook.config.load import load_config
from hornbook.config.run import Config
from hornbook.config.train import CheckpointConfig
from hornbook.errors import ConfigError
from hornbook.models.accounting import parameter_counts

Number = Literal["float64", "float32"]
ACCUMULATIONS = (1, 3)
STRATEGIES: Mapping[str, Mapping[str, object]] = {
    "DDP": {"strategy": "ddp", "shard_optimizer": False},
    "DDP, sharded optimizer": {"strategy": "ddp", "shard_optimizer": True},
    "FSDP2": {"strategy": "fsdp"},
}
"""What `[distributed]` says in each, besides where processes meet and how long they wait."""
BUCKETS = 5
"""At least so many, about: a bug in how they follow one another does not show in one."""
SMALL_VOCABULARY, SMALL_CONTEXT, SMALL_HEADS, SMALL_HEAD_WIDTH = 61, 16, 4, 8


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to make the steps."""

    name: str
    number: Number
    """What weights, gradients and optimizer state are."""
    world_size: int = 1
    accumulation: int = 1
    """Micro-batches of a step on each process."""

    @property
    def words(self) -> str:
        """For people."""
        processes = f", {self.world_size} processes" if self.world_size > 1 else ""
        return f"{self.number}, {self.name}{processes}, {self.accumulation} micro-batch(es)"


def alone(number: Number) -> list[Case]:
    """The reference, and what one process is compared by."""
    return [Case(name="one process", number=number, accumulation=pieces) for pieces in ACCUMULATIONS]


def together(config: Config, number: Number, world_size: int) -> list[Case]:
    """What `world_size` processes are compared by: every strategy that the configuration accepts."""
    return [
        Case(name=name, number=number, world_size=world_size, accumulation=pieces)
        for name in STRATEGIES
        if refusal(config, name) is None
        for pieces in ACCUMULATIONS
    ]


def refusal(config: Config, name: str) -> str | None:
    """Why the configuration does not accept a strategy; None: it does."""
    try:
        _changed(config, {"distributed": distributed(config, name)})
    except ConfigError as error:
        return str(error)
    return None


def rows_for(world_sizes: Sequence[int]) -> int:
    """Rows of a step that one process and each of these numbers of them can share in any number of pieces."""
    return math.lcm(*(n * pieces for n in (1, *world_sizes) for pieces in ACCUMULATIONS))


def case_config(config: Config, case: Case, rows: int) -> Config:
    """What a case is trained by; `config` is what `verified` gave."""
    changes: dict[str, object] = {"train.micro_batch_size": rows // (case.world_size * case.accumulation)}
    if case.world_size > 1:
        changes["distributed"] = distributed(config, case.name)
    return _changed(config, changes)


def distributed(config: Config, name: str) -> dict[str, object]:
    """All of `[distributed]` for a strategy; nothing of another's settings is left."""
    asked = config.distributed
    kept: dict[str, object] = {"backend": asked.backend, "timeout_minutes": asked.timeout_minutes}
    if STRATEGIES[name]["strategy"] == "ddp":
        kept["bucket_size_mb"] = asked.bucket_size_mb
    return {**DistributedConfig().model_dump(mode="json"), **kept, **STRATEGIES[name]}


def verified(config: Config, rows: int) -> Config:
    """The configuration without what must make a difference (dropout, which belongs to a micro-batch; 16 bits; choices
    by clock) and without what is not a step; with buckets small enough for there to be several."""
    counts = parameter_counts(config.model.complete(vocab_size=config.model.vocab_size or config.tokenizer.vocab_size))
    small = 4 * sum(counts.values()) / 2**20 / BUCKETS
    size = config.distributed.bucket_size_mb
    compiled = config.model.attention_backend == "compiled"
    changes: dict[str, object] = {
        "sweep": None,
        "checkpoint": CheckpointConfig().model_dump(mode="json"),
        "distributed": {**distributed(config, "DDP"), "bucket_size_mb": min(size, small) if size else 0.0},
        "model.init_from": None,
        "model.dropout": 0.0,
        "model.ngram_dropout": 0.0,
        "model.attention_backend": "auto" if compiled else config.model.attention_backend,
        "train.precision": "fp32",
        "train.fp32_products": "exact",
        "train.compile": "off",
        "train.sequences_per_step": None,
        "train.tokens_per_step": rows * config.model.context_length,
        "train.micro_batch_size": rows,
        "tracking.norms_every": 0,
        "tracking.histograms_every": 0,
    }
    return _changed(config, changes)


def cut_down(config: Config) -> Config:
    """The same kind of model in seconds: two layers of 32, windows of 16 tokens, 61 ids, and a norm that is clipped."""
    model = config.model
    heads = min(model.n_heads, SMALL_HEADS)
    grouped = (model.n_kv_heads or model.n_heads) < model.n_heads
    changes: dict[str, object] = {
        "model.preset": None,
        "model.depth": None,
        "model.context_length": SMALL_CONTEXT,
        "model.d_model": SMALL_HEADS * SMALL_HEAD_WIDTH,
        "model.n_layers": min(model.n_layers, 2),
        "model.n_heads": heads,
        "model.n_kv_heads": 1 if grouped else heads,
        "model.head_dim": SMALL_HEAD_WIDTH,
        "model.d_ff": None,
        "model.vocab_size": SMALL_VOCABULARY,
        "model.ngram_rows": 31 if model.ngram_rows else None,
        "data.stride": None,
        "train.micro_batch_size": 1,
        "train.sequences_per_step": None,
        "train.tokens_per_step": SMALL_CONTEXT,
    }
    if config.optim.clip_grad_norm is not None:
        changes["optim.clip_grad_norm"] = 0.1
    if hasattr(config.objective, "block_length"):
        changes["objective.block_length"] = SMALL_CONTEXT // 4
    return _changed(config, changes)


def _changed(config: Config, changes: Mapping[str, object]) -> Config:
    return load_config(None, values={**json.loads(to_json(config)), **changes}).config
