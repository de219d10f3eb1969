"""`[distributed]`: how several processes train together. With one process nothing of it matters."""

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat

from hornbook.config.table import Table


class DistributedConfig(Table):
    """Processes come from `hornbook train --nproc N`, torchrun or srun; these settings say how they work together."""

    strategy: Literal["auto", "ddp"] = "auto"
    """ddp: every process has the whole model and a share of each step's windows. auto: that."""
    shard_optimizer: bool = True
    """Each process keeps the optimizer's state of its own share of the parameters and sends them round once updated:
    less memory, the same result."""
    bucket_size_mb: NonNegativeFloat = 25.0
    """Gradients travel in pieces of about so many megabytes (2^20 bytes), each as soon as backward has filled it; 0:
    all in one, when backward has ended."""
    backend: Literal["auto", "gloo", "nccl"] = "auto"
    """auto: nccl between CUDA devices, gloo otherwise."""
    timeout_minutes: PositiveFloat = 10.0
    """A process that waits so long for another gives up, and the job ends."""
