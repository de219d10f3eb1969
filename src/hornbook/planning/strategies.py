"""What each of several processes holds, by strategy: whole copies, shared optimizer state, or parts of everything.

    single              weights, gradients, optimizer, activations, logits: as `training_memory` has them
    ddp                 the same; gradients lie in the buckets that travel
    ddp, sharded        the optimizer's state over all processes (ZeRO 1: Rajbhandari et al., arXiv:1910.02054)
    fsdp                weights, gradients and optimizer over all processes (ZeRO 3), and two units that are whole while
                        they are computed, with the gradient of one; a unit is a layer, or embedding and head

Activations and logits are each process's own: it computes its own micro-batch.
"""

from collections.abc import Mapping
from typing import Literal

from hornbook.config.model import ModelConfig
from hornbook.models.accounting import parameter_counts

StrategyName = Literal["single", "ddp", "ddp, sharded optimizer", "fsdp"]
STRATEGIES: tuple[StrategyName, ...] = ("single", "ddp", "ddp, sharded optimizer", "fsdp")
_WHOLE_UNITS = 3
"""Weights of the unit that is computed and of the next one, and a gradient."""
CACHE_BYTES = 4


def memory_of(
    memory: Mapping[str, int], config: ModelConfig, strategy: StrategyName, world_size: int
) -> dict[str, int]:
    """Bytes of one of `world_size` processes by component; `memory` is that of a process alone."""
    found = dict(memory)
    if world_size == 1 or strategy in ("single", "ddp"):
        return found
    found["optimizer"] //= world_size
    if strategy == "fsdp":
        found["weights"] //= world_size
        found["gradients"] //= world_size
        found["gathered"] = 4 * _WHOLE_UNITS * _largest_unit(config)
    return found


def _largest_unit(config: ModelConfig) -> int:
    counts = parameter_counts(config)
    ends = counts["token_embedding"] + counts["position_embedding"] + counts["ngram_embedding"] + counts["head"]
    return max((counts["attention"] + counts["feed_forward"]) // config.n_layers, ends)


def cache_bytes(config: ModelConfig, *, rows: int = 1) -> int:
    """Keys and values of `rows` texts of context_length in generation, float32."""
    per_token = 2 * config.n_layers * config.n_kv_heads * config.head_dim
    return rows * config.context_length * per_token * CACHE_BYTES
