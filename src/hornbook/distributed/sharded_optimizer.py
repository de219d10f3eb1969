"""Each process keeps the optimizer's state of its own share of the parameters (ZeRO stage 1), whatever the optimizer.

    gradients    complete on every process, so norms and clipping need no word more
    update       a process moves what it owns: for the optimizer, parameters without gradient stay where they are
    afterwards   the owners send their parameters round, in the buckets' memory, which gradients no longer need

Owners are chosen by size (or by what an update costs, where products make it dear): the largest parameter that is left
goes to the process with the least so far. State is saved by parameter name and so fits any number of processes
(Rajbhandari et al., 2020, "ZeRO", arXiv:1910.02054, section 5.1).
"""

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from hornbook.distributed.buckets import Bucket
from hornbook.distributed.full_state import on_cpu, optimizer_tensors
from hornbook.distributed.process_group import Processes, heard
from hornbook.distributed.strategy import MakeOptimizer


def owners_of(parameters: Sequence[nn.Parameter], n: int, costs: Sequence[int] | None = None) -> list[int]:
    """Which of `n` processes owns each parameter; the same wherever it is asked.

    `costs` are how long an update of each takes, by default its size. No process has more than 4/3 of the least
    possible maximum, as Graham's rule (1969) has it.
    """
    costs = [parameter.numel() for parameter in parameters] if costs is None else costs
    loads, owners = [0] * n, [0] * len(parameters)
    for index in sorted(range(len(parameters)), key=lambda index: -costs[index]):
        owners[index] = loads.index(min(loads))
        loads[owners[index]] += costs[index]
    return owners


class OptimizerShards:
    """Who owns what, and the ways there and back."""

    def __init__(self, processes: Processes, buckets: Sequence[Bucket]) -> None:
        self.processes = processes
        self.buckets = buckets
        self.foreign = {
            parameter
            for bucket in buckets
            for parameter, owner in zip(bucket.parameters, bucket.owners, strict=True)
            if owner != processes.rank
        }
        """Parameters that another process moves."""

    def optimizer(self, model: nn.Module, make: MakeOptimizer) -> Optimizer:
        """The optimizer of every parameter, with state of own ones alone.

        It is made for parameters of which the foreign ones have a shape and no memory, and so has their state.
        """
        shown = {
            parameter: nn.Parameter(parameter.detach().to("meta")) if parameter in self.foreign else parameter
            for parameter in model.parameters()
        }
        optimizer = make((name, shown[parameter]) for name, parameter in model.named_parameters())
        real = {each: parameter for parameter, each in shown.items()}
        for group in optimizer.param_groups:
            group["params"] = [real.get(each, each) for each in group["params"]]
        for parameter in self.foreign:
            optimizer.state.pop(shown[parameter], None)
        return optimizer

    def update(self, optimizer: Optimizer) -> None:
        """Move own parameters; foreign ones lose their gradient."""
        for parameter in self.foreign:
            parameter.grad = None
        optimizer.step()

    @torch.no_grad()
    def share(self) -> None:
        """Give every process the parameters of every other, bit for bit. Gradients are lost.

        All pieces are under way together: while one is packed or unpacked, others travel.
        """
        for bucket in self.buckets:
            for parameter in bucket.parameters:
                parameter.grad = None
        sent = []
        for bucket in self.buckets:
            for owner, place, indices in bucket.segments:
                if owner == self.processes.rank:
                    _copy([bucket.views[i] for i in indices], [bucket.parameters[i] for i in indices])
                with heard():
                    sent.append(dist.broadcast(bucket.flat[place], owner, async_op=True))
        for bucket in self.buckets:
            for owner, _, indices in bucket.segments:
                with heard():
                    sent.pop(0).wait()
                if owner != self.processes.rank:
                    _copy([bucket.parameters[i] for i in indices], [bucket.views[i] for i in indices])

    def gathered(self, optimizer: Optimizer) -> dict[str, Tensor] | None:
        """All of the optimizer's tensors on the CPU of the first process; None on the others."""
        own = optimizer_tensors(optimizer)
        described = [
            [name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)] for name, tensor in own.items()
        ]
        all_described = self.processes.everyones(described)
        if not self.processes.is_first:
            for tensor in own.values():
                with heard():
                    dist.send(_bytes(tensor), 0)
            return None
        tensors = on_cpu(own)
        for rank, theirs in enumerate(all_described[1:], start=1):
            for name, dtype, shape in theirs:
                tensor = torch.empty(shape, dtype=getattr(torch, dtype))
                with heard():
                    dist.recv(_bytes(tensor), rank)
                tensors[name] = tensor
        names = [name for group in optimizer.param_groups for name in group["param_names"]]
        order = {name: index for index, name in enumerate(names)}
        return dict(sorted(tensors.items(), key=lambda item: order[item[0].rpartition("/")[0]]))

    def shapes(self, optimizer: Optimizer) -> dict[str, Tensor]:
        """Of every tensor of the optimizer, on whichever process it is, one without memory."""
        own = {name: list(tensor.shape) for name, tensor in optimizer_tensors(optimizer).items()}
        everyones = self.processes.everyones(own)
        return {name: torch.empty(shape, device="meta") for theirs in everyones for name, shape in theirs.items()}

    def load(self, optimizer: Optimizer, saved: Mapping[str, Tensor]) -> None:
        """Copy what is ours from a full state that fits."""
        with torch.no_grad():
            for name, tensor in optimizer_tensors(optimizer).items():
                tensor.copy_(saved[name])


def _copy(to: Sequence[Tensor], source: Sequence[Tensor]) -> None:
    torch._foreach_copy_(list(to), list(source))


def _bytes(tensor: Tensor) -> Tensor:
    """A contiguous tensor's memory, or a copy of another's, on the CPU."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
