"""A whole plan: what a configuration needs in parameters, operations, memory, time, energy and money."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hornbook.config.model import ModelConfig
from hornbook.config.run import Config
from hornbook.models.accounting import (
    adapter_parameters,
    flops_per_token,
    parameter_counts,
    run_flops_per_token,
    trained_parameters,
)
from hornbook.optim.build import state_tensors
from hornbook.planning.dry_run import DryRun
from hornbook.planning.laws import Optimum, optima
from hornbook.planning.machine import Machine
from hornbook.planning.shrink import Change, Demand, changes
from hornbook.planning.step_time import step_seconds
from hornbook.planning.strategies import STRATEGIES, StrategyName, cache_bytes, memory_of
from hornbook.profiling.accelerators import Accelerator

PROCESS_BYTES = 110_000_000
"""Of a process that trains on a CPU, beyond tensors and beyond what it has imported: pages of libraries that are first
used then, threads, and the products' own scratch (measured with a model of 20,000 parameters)."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user and the machine decide beside the configuration."""

    rows: int
    """Of a micro-batch, as the model reads them."""
    plain: bool
    compiled: bool
    tokens: float | None
    """None: steps times tokens of a step."""
    world_sizes: tuple[int, ...]
    mfu: float
    price: float | None
    """Of a device and hour."""
    has_reference: bool = False
    """A frozen copy of the model is held beside it."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """Memory of one process."""

    strategy: StrategyName
    world_size: int
    memory: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes."""
        return sum(self.memory.values())


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """The run on one accelerator of the table."""

    accelerator: Accelerator
    hours: float
    kilowatt_hours: float
    fits: bool
    cost: float | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is known of a run before it is made."""

    config: ModelConfig
    parameters: dict[str, int]
    flops: dict[str, float]
    """Forward, of a token, by component."""
    training_flops: float
    """Of a token, forward and backward."""
    tokens: float
    held: list[Held]
    process_bytes: int | None
    """Of a process alone on this machine's CPU, beyond its imports: tensors that are alive at once, and the process."""
    kept_bytes: int | None
    """The same with what its allocator keeps between them for the next ones; known to about a fifth."""
    free_bytes: int | None
    """Of the device that training would take here."""
    changes: list[Change]
    cache: int
    steps: float
    step: dict[str, float] | None
    """Seconds of a step on this machine by piece; None if nobody measured."""
    elsewhere: list[Elsewhere]
    optima: list[Optimum]
    remarks: list[str]

    @property
    def needed_bytes(self) -> int:
        """Of the process here, or where nobody ran it without numbers of one process's tensors."""
        return self.held[0].total if self.process_bytes is None else self.process_bytes

    @property
    def fits(self) -> Literal["yes", "perhaps", "no"] | None:
        """Whether there is room; perhaps, where what the allocator keeps is more than that. None if nobody knows."""
        if self.free_bytes is None:
            return None
        if self.needed_bytes > self.free_bytes:
            return "no"
        return "yes" if (self.kept_bytes or 0) <= self.free_bytes else "perhaps"

    @property
    def step_seconds(self) -> float | None:
        """Of a step on this machine."""
        return None if self.step is None else sum(self.step.values())

    def values(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        names = ("parameters", "flops", "training_flops", "tokens", "process_bytes", "kept_bytes", "free_bytes")
        return {
            **{name: getattr(self, name) for name in names},
            "fits": self.fits,
            "cache_bytes": self.cache,
            "steps": self.steps,
            "memory": [{**asdict(each), "total": each.total} for each in self.held],
            "step_seconds": self.step_seconds,
            "step": self.step,
            "changes": [asdict(each) for each in self.changes],
            "elsewhere": [
                {**asdict(each), "accelerator": each.accelerator.name, "source": each.accelerator.source}
                for each in self.elsewhere
            ],
            "optima": [asdict(each) for each in self.optima],
            "remarks": self.remarks,
        }


def make_plan(
    config: Config,
    shape: ModelConfig,
    wishes: Wishes,
    listed: Sequence[Accelerator],
    *,
    machine: Machine | None,
    held: DryRun | None,
    free: int | None,
    remarks: list[str],
) -> Plan:
    """The plan of training `shape` as `config` says, where so many bytes are `free`."""
    demand = Demand(
        rows=wishes.rows,
        half=config.train.precision != "fp32",
        state_tensors=state_tensors(config.optim),
        chunk_tokens=config.train.nll_chunk_tokens,
        checkpointing=config.train.activation_checkpointing,
        plain=wishes.plain,
        compiled=wishes.compiled,
        reads=config.objective.tokens_read,
        lora=config.lora,
        has_reference=wishes.has_reference,
    )
    alone = demand.memory(shape)
    tokens = wishes.tokens or float(config.train.steps * config.positions_per_step)
    per_token = run_flops_per_token(config, shape)
    beside = PROCESS_BYTES + alone.get("reference", 0)
    adapters = {} if config.lora is None else {"adapters": adapter_parameters(shape, config.lora)}
    return Plan(
        config=shape,
        parameters={**parameter_counts(shape), **adapters},
        flops=flops_per_token(shape, context=shape.context_length),
        training_flops=per_token,
        tokens=tokens,
        held=_all_held(alone, shape, wishes.world_sizes),
        process_bytes=None if held is None else held.live + beside,
        kept_bytes=None if held is None else held.held + beside,
        free_bytes=free,
        changes=changes(shape, demand),
        cache=cache_bytes(shape),
        steps=tokens / config.positions_per_step,
        step=None if machine is None else _step(config, shape, wishes, machine),
        elsewhere=[_elsewhere(each, config, per_token * tokens, sum(alone.values()), wishes) for each in listed],
        optima=optima(flops=per_token * tokens),
        remarks=remarks,
    )


def _all_held(alone: dict[str, int], shape: ModelConfig, world_sizes: Sequence[int]) -> list[Held]:
    return [
        Held(strategy=strategy, world_size=n, memory=memory_of(alone, shape, strategy, n))
        for strategy in STRATEGIES
        for n in world_sizes
        if (n == 1) == (strategy == "single")
    ]


def _step(config: Config, shape: ModelConfig, wishes: Wishes, machine: Machine) -> dict[str, float]:
    rows_read = config.rows_per_step * config.objective.tokens_read
    return step_seconds(
        shape,
        machine.rates,
        rows=wishes.rows,
        micro_batches=max(1, rows_read // wishes.rows),
        plain_attention=wishes.plain,
        chunk_tokens=config.train.nll_chunk_tokens,
        activation_checkpointing=config.train.activation_checkpointing,
        compiled=wishes.compiled,
        trained=None if config.lora is None else trained_parameters(shape, config.lora),
    )


def _elsewhere(accelerator: Accelerator, config: Config, flops: float, n_bytes: int, wishes: Wishes) -> Elsewhere:
    precision = config.train.precision
    forwards = 3 if config.lora is None else 2
    work = 1 + config.train.activation_checkpointing / forwards
    hours = flops * work / (accelerator.peak(precision) * wishes.mfu) / 3600
    return Elsewhere(
        accelerator=accelerator,
        hours=hours,
        kilowatt_hours=hours * accelerator.watts / 1e3,
        fits=n_bytes <= accelerator.memory,
        cost=None if wishes.price is None else hours * wishes.price,
    )
