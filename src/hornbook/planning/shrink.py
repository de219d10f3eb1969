"""What to change where a configuration does not fit: each change by itself, with the bytes it comes down to."""

from dataclasses import dataclass, replace

from hornbook.config.lora import LoraConfig
from hornbook.config.model import ModelConfig
from hornbook.models.accounting import parameter_counts
from hornbook.models.memory import training_memory


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What decides how much memory training takes."""

    rows: int
    """As the model reads them: `reads` for each of a micro-batch."""
    half: bool
    state_tensors: int
    chunk_tokens: int
    checkpointing: bool
    plain: bool
    compiled: bool = False
    reads: int = 1
    lora: LoraConfig | None = None
    has_reference: bool = False
    """A frozen copy of the weights stands beside them."""

    def memory(self, config: ModelConfig) -> dict[str, int]:
        """Bytes by component."""
        memory = training_memory(
            config,
            rows=self.rows,
            half=self.half,
            state_tensors=self.state_tensors,
            chunk_tokens=self.chunk_tokens,
            activation_checkpointing=self.checkpointing,
            plain_attention=self.plain,
            compiled=self.compiled,
            lora=self.lora,
        )
        copy = {"reference": 4 * sum(parameter_counts(config).values())} if self.has_reference else {}
        return {**memory, **copy}

    def total(self, config: ModelConfig) -> int:
        """Their sum."""
        return sum(self.memory(config).values())


@dataclass(frozen=True, kw_only=True)
class Change:
    """One setting, and what it saves."""

    setting: str
    total: int
    cost: str
    """What it takes in return."""


def changes(config: ModelConfig, demand: Demand) -> list[Change]:
    """Every change that saves memory, the result left alone first; most saved first among equals."""
    found: list[tuple[str, Demand, str]] = []
    if not demand.checkpointing:
        again = replace(demand, checkpointing=True, compiled=False)
        found.append(("train.activation_checkpointing = true", again, "a third more time"))
    for size in _smaller(demand.rows // demand.reads):
        fewer = replace(demand, rows=size * demand.reads)
        found.append((f"train.micro_batch_size = {size}", fewer, "more, smaller products"))
    tokens = min(demand.chunk_tokens, demand.rows * config.context_length)
    if tokens > 512:
        found.append(("train.nll_chunk_tokens = 512", replace(demand, chunk_tokens=512), "the head in more pieces"))
    if not demand.half:
        found.append(('train.precision = "bf16"', replace(demand, half=True), "rounding; faster where there are units"))
    if demand.state_tensors > 1:
        found.append(('optim.kind = "lion"', replace(demand, state_tensors=1), "another optimizer, to be tuned anew"))
    now = demand.total(config)
    made = [Change(setting=name, total=other.total(config), cost=cost) for name, other, cost in found]
    return sorted((each for each in made if each.total < now), key=lambda each: each.total)


def _smaller(size: int) -> list[int]:
    """Divisors, so that a step can still be cut up: at most a half, then at most a quarter of the last one."""
    found: list[int] = []
    for each in range(size // 2, 0, -1):
        if size % each == 0 and (not found or each <= found[-1] // 4):
            found.append(each)
    return found
