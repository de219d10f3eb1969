"""torch's own DistributedDataParallel as a Strategy: a yardstick, and nothing that training uses.

It wraps the model and divides gradients by the number of processes; here losses are multiplied by that first. All else,
the step, the optimizer and the small sums, is as with ours, so that only how gradients travel is compared.
"""

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hornbook.distributed.process_group import Processes, all_reduced
from hornbook.distributed.single import SingleProcess
from hornbook.distributed.strategy import Flags


class TorchDdp(SingleProcess):
    """Every step is one micro-batch on each process."""

    def __init__(self, processes: Processes, *, bucket_size_mb: float) -> None:
        self.processes = processes
        self.bucket_size_mb = bucket_size_mb
        self.wrapped: DistributedDataParallel
        self.rank, self.world_size = processes.rank, processes.world_size

    def prepare(self, model: nn.Module) -> None:
        """Wrap the model; what is trained is `wrapped`. Its own best settings: buckets that gradients are views of."""
        self.wrapped = DistributedDataParallel(
            model, bucket_cap_mb=self.bucket_size_mb, gradient_as_bucket_view=True, broadcast_buffers=False
        )

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """The sum over processes, since the mean of so many times the loss is that."""
        assert last
        (loss * self.world_size).backward()  # type: ignore[no-untyped-call]

    def sum(self, value: Tensor) -> Tensor:
        """As ours."""
        return all_reduced(value)

    def agree(self, flags: Flags) -> Flags:
        """As ours."""
        names = list(vars(flags))
        return Flags(**dict(zip(names, self.processes.any(*vars(flags).values()), strict=True)))
