"""Data parallel: every process has the whole model, works on its share of each step's rows, and gradients are summed.

    start      parameters and buffers of the first process go to all
    backward   a bucket of gradients is summed while the next is filled; micro-batches before the last stay at home
    update     by every process alike, or by each for its own share of the parameters, which then go to all

Nothing is divided here: the step divides losses by weights that were summed over processes before. Li et al., 2020,
"PyTorch Distributed", arXiv:2006.15704, describe the buckets.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from hornbook.distributed.buckets import GradientBuckets
from hornbook.distributed.full_state import FullState, check_fit, copy_in, copy_out, on_cpu
from hornbook.distributed.process_group import Processes, all_reduced, heard
from hornbook.distributed.sharded_optimizer import OptimizerShards, owners_of
from hornbook.distributed.single import clip_gradients
from hornbook.distributed.strategy import Flags, MakeOptimizer
from hornbook.errors import PeerLostError


class DataParallel:
    """The Strategy of processes that have the whole model each. `prepare` comes first, and once."""

    cuts_up_model = False

    def __init__(
        self,
        processes: Processes,
        *,
        bucket_bytes: int,
        shard_optimizer: bool,
        costs: Mapping[str, int] | None = None,
    ) -> None:
        """`bucket_bytes`: the most in a bucket; 0: one bucket. `costs` of updates, by which owners are chosen."""
        self.processes = processes
        self.bucket_bytes = bucket_bytes
        self.shard_optimizer = shard_optimizer
        self.costs = costs
        self.buckets: GradientBuckets
        self.shards: OptimizerShards | None = None

    @property
    def rank(self) -> int:
        """This process, from 0."""
        return self.processes.rank

    @property
    def world_size(self) -> int:
        """How many processes train together."""
        return self.processes.world_size

    def prepare(self, model: nn.Module) -> None:
        """Give every process the first one's parameters and buffers, and hang the buckets on the parameters.

        Raises:
            ConfigError: if the processes have models of different shapes.
        """
        check_same_model(self.processes, model)
        send_from_first([*model.parameters(), *model.buffers()])
        named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        trained = list(named.values())
        costs = None if self.costs is None else [self.costs[name] for name in named]
        # With or without shards gradients lie alike: in which order three or more are added depends on where they lie.
        owner = dict(zip(trained, owners_of(trained, self.world_size, costs), strict=True))
        self.buckets = GradientBuckets(trained, limit=self.bucket_bytes, owner=owner.__getitem__)
        if self.shard_optimizer:
            self.shards = OptimizerShards(self.processes, self.buckets.buckets)

    def optimizer(self, model: nn.Module, make: MakeOptimizer) -> Optimizer:
        """The optimizer of every parameter; with shards, only own ones have state."""
        if self.shards is not None:
            return self.shards.optimizer(model, make)
        return make(model.named_parameters())

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add this micro-batch's gradient; with `last`, sums start while it runs, and are there on return.

        What backward raises is raised after the other ranks have had what they wait for.
        """
        self.buckets.expect(last=last)
        try:
            loss.backward()  # type: ignore[no-untyped-call]
        except PeerLostError:
            raise
        except BaseException:
            if last:
                self.abandon()
            raise
        if last:
            self.buckets.finish()

    def abandon(self) -> None:
        """Take part in every sum of this step that is still due."""
        if not self.buckets.is_summed:
            self.buckets.finish()

    def clip_grad_norm(self, model: nn.Module, max_norm: float) -> Tensor:
        """Of the summed gradients, which are equal everywhere, and so is the norm."""
        return clip_gradients(model, max_norm)

    def update(self, optimizer: Optimizer) -> None:
        """One step of the optimizer, by everybody or by owners."""
        if self.shards is None:
            optimizer.step()
        else:
            self.shards.update(optimizer)
            self.shards.share()

    def share(self) -> None:
        """Owners give all others their parameters; without shards everybody has changed them alike."""
        if self.shards is not None:
            self.shards.share()

    def zero_grad(self, optimizer: Optimizer) -> None:
        """Forget the gradients of all parameters, whoever owns them."""
        self.buckets.forget()
        optimizer.zero_grad(set_to_none=True)

    def sum(self, value: Tensor) -> Tensor:
        """Elementwise sum over ranks."""
        return all_reduced(value)

    def agree(self, flags: Flags) -> Flags:
        """Every rank's flags joined by `or`."""
        return agreed(self.processes, flags)

    def full_state(self, model: nn.Module, optimizer: Optimizer | None) -> FullState | None:
        """Copies on the CPU of the first process."""
        if self.shards is None or optimizer is None:
            return copy_out(model, optimizer) if self.processes.is_first else None
        gathered = self.shards.gathered(optimizer)
        return None if gathered is None else FullState(model=on_cpu(model.state_dict()), optimizer=gathered)

    def load_full_state(self, model: nn.Module, optimizer: Optimizer, state: FullState) -> None:
        """Every process takes the weights, and of the optimizer what it owns; all or nothing."""
        if self.shards is None:
            copy_in(model, optimizer, state)
            return
        live = model.state_dict()
        check_fit(live, self.shards.shapes(optimizer), state)
        with torch.no_grad():
            for name, tensor in live.items():
                tensor.copy_(state.model[name])
        self.shards.load(optimizer, state.optimizer)


def agreed(processes: Processes, flags: Flags) -> Flags:
    """Every process's flags joined by `or`."""
    names = [field.name for field in dataclasses.fields(Flags)]
    return Flags(**dict(zip(names, processes.any(*dataclasses.astuple(flags)), strict=True)))


def check_same_model(processes: Processes, model: nn.Module) -> None:
    """Make sure that the model has the same parameters and buffers on every process.

    Raises:
        ConfigError: naming the processes where it has others than on the first.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {name: (str(tensor.dtype), list(tensor.shape)) for name, tensor in tensors.items()}
    processes.check_same(str(shapes), what="the model")


@torch.no_grad()
def send_from_first(tensors: list[Tensor]) -> None:
    """Make tensors equal to those of the first process, all of a type and device in one broadcast."""
    together: dict[tuple[torch.dtype, torch.device], list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        together[tensor.dtype, tensor.device].append(tensor.detach())
    for members in together.values():
        flat = torch.cat([tensor.reshape(-1) for tensor in members])
        with heard():
            dist.broadcast(flat.view(torch.uint8), 0)  # bytes: gloo does not know every type
        for tensor, part in zip(members, torch.split(flat, [tensor.numel() for tensor in members]), strict=True):
            tensor.copy_(part.view(tensor.shape))
