"""What to change where a configuration does not fit: each change by itself, with the bytes it comes down to."""

from dataclasses import dataclass, replace

from hornbook.config.model import ModelConfig
from hornbook.models.memory import training_memory


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What decides how much memory training takes."""

    rows: int
    half: bool
    state_tensors: int
    chunk_tokens: int
    checkpointing: bool
    plain: bool
    compiled: bool = False

    def memory(self, config: ModelConfig) -> dict[str, int]:
        """Bytes by component."""
        return training_memory(
            config,
            rows=self.rows,
            half=self.half,
            state_tensors=self.state_tensors,
            chunk_tokens=self.chunk_tokens,
            activation_checkpointing=self.checkpointing,
            plain_attention=self.plain,
            compiled=self.compiled,
        )

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
    size = demand.rows // 2
    while size >= 1:
        found.append((f"train.micro_batch_size = {size}", replace(demand, rows=size), "more, smaller products"))
        size //= 4
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
