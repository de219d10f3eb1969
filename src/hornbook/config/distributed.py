"""`[distributed]`: how several processes train together. With one process nothing of it matters."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from hornbook.config.table import Table


class DistributedConfig(Table):
    """Processes come from `hornbook train --nproc N`, torchrun or srun; these settings say how they work together."""

    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """ddp: every process has the whole model and a share of each step's windows. auto: that. fsdp: every process also
    has only its part of each parameter, gradient and optimizer state, for models that one device cannot hold."""
    shard_group_size: Annotated[int, Field(ge=2)] | None = None
    """fsdp: processes among which parameters are cut up, in groups that are replicas of one another; a divisor of the
    number of processes, such as the GPUs of a machine. Default: all."""
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

    def cuts_up_model(self, world_size: int) -> bool:
        """Whether each of so many processes gets parts of the model, and never all of it."""
        return self.strategy == "fsdp" and world_size > 1

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.strategy != "fsdp":
            if self.shard_group_size is not None:
                raise ValueError(
                    f'shard_group_size = {self.shard_group_size} has no effect with strategy = "{self.strategy}"; set '
                    'that to "fsdp", or leave it out'
                )
            return self
        for name, why in (
            ("shard_optimizer", "every process has its part of the optimizer's state alone"),
            ("bucket_size_mb", "gradients travel a layer at a time"),
        ):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f'{name} has no effect with strategy = "fsdp": {why}; leave it out')
        return self
