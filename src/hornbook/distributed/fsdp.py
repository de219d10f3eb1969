"""Fully sharded: each process keeps a part of every parameter, gradient and optimizer state, and no more than that.

    before a layer      its parameters are gathered from all parts, and freed when it is done (again in backward)
    after its backward  its gradient is summed over processes, and each keeps the part that belongs to its own
    update              each process moves its parts; nothing else has to travel

The work is torch's `fully_shard` ("FSDP2"), in place and layer by layer: names stay bare. A part is a run of rows: of
n rows, each of s processes has ceil(n / s), the last ones fewer or none. With groups of `group_size` processes, what is
cut up is cut up inside a group, and groups are replicas whose gradients are summed as well (hybrid sharding).

What torch divides by is set to 1: the step divides. Every micro-batch's gradient is cut up at once (a sum a micro-batch
instead of one a step), because the gradient of a whole model on one process is what there is no room for.

Every pass is made by all processes together: where one fails in the middle, the others wait for it, and nobody can
begin again. Zhao et al., 2023, "PyTorch FSDP", arXiv:2304.11277; stage 3 of "ZeRO", arXiv:1910.02054.
"""

import math
import sys
import warnings
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from hornbook.distributed.ddp import agreed, check_same_model, send_from_first
from hornbook.distributed.full_state import FullState, check_fit, optimizer_tensors
from hornbook.distributed.parts import WholeMatrices, gathered_rows, part_of, rows_of
from hornbook.distributed.process_group import Processes, all_reduced, heard
from hornbook.distributed.strategy import Flags, MakeOptimizer
from hornbook.errors import ConfigError, TrainingError


class FullySharded:
    """The Strategy of processes that share one model. `prepare` comes first, and once."""

    cuts_up_model = True

    def __init__(
        self,
        processes: Processes,
        *,
        device: torch.device,
        group_size: int | None = None,
        products: torch.dtype | None = None,
    ) -> None:
        """`group_size`: processes among which a parameter is cut up (None: all). `products`: of a 16-bit precision.

        Raises:
            ConfigError: if the processes do not make whole groups.
        """
        self.processes = processes
        self.device = device
        size = group_size or processes.world_size
        if processes.world_size % size:
            raise ConfigError(
                f"distributed.shard_group_size = {size} is no divisor of the {processes.world_size} processes; leave "
                "it out to cut parameters up among all"
            )
        self.replicas = processes.world_size // size
        names = ("replica", "part") if self.replicas > 1 else ("part",)
        shape = (self.replicas, size) if self.replicas > 1 else (size,)
        with heard():
            self.mesh = init_device_mesh(device.type, shape, mesh_dim_names=names)
        self.placements = (*([Replicate()] if self.replicas > 1 else []), Shard(0))
        self.group = self.mesh.get_group("part")
        self.part, self.parts = self.group.rank(), size
        # A 16-bit copy made inside a layer, as autocast does, would be kept for backward: all of the model on everyone.
        summed = None if products is None else torch.float32
        self.policy = MixedPrecisionPolicy(param_dtype=products, reduce_dtype=summed, cast_forward_inputs=False)
        self.root: FSDPModule
        self.own: dict[str, nn.Parameter] = {}
        """This process's part of each parameter by its name, sharing memory with the model's."""
        self._whole: dict[str, nn.Parameter] = {}

    @property
    def rank(self) -> int:
        """This process, from 0."""
        return self.processes.rank

    @property
    def world_size(self) -> int:
        """How many processes train together."""
        return self.processes.world_size

    def prepare(self, model: nn.Module) -> None:
        """Move the model to the device layer by layer, as the first process has it, and cut each up.

        Raises:
            ConfigError: if the processes have models of different shapes.
        """
        check_same_model(self.processes, model)
        # Scores are views of longer rows; nothing changes them in place.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view", category=UserWarning)
        lists = (child for child in model.children() if isinstance(child, nn.ModuleList))
        layers = [layer for each in lists for layer in each]
        for layer in layers:
            self._shard(layer, self.policy)
        # Embedding, last norm and head stay float32: the sum of residuals begins and ends in it.
        self.root = self._shard(model, MixedPrecisionPolicy())
        self._whole = dict(model.named_parameters())
        for name, parameter in self._whole.items():
            self.own[name] = nn.Parameter(part_of(parameter), requires_grad=parameter.requires_grad)

    def _shard(self, module: nn.Module, policy: MixedPrecisionPolicy) -> FSDPModule:
        tensors = [*module.parameters(), *module.buffers()]
        whole = [tensor for tensor in tensors if not isinstance(tensor, DTensor)]
        for tensor in whole:
            tensor.data = tensor.data.to(self.device)
        send_from_first(whole)
        # The outermost too is freed after forward: its parameters must not outlive an update that comes in between.
        sharded = fully_shard(module, mesh=self.mesh, reshard_after_forward=True, mp_policy=policy)
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)  # gloo has no other
        sharded.set_reduce_scatter_unused_params(True)  # what one rank's rows do not use, another's may
        return sharded

    def optimizer(self, model: nn.Module, make: MakeOptimizer) -> Optimizer:
        """The optimizer of this process's parts; one that moves matrices as a whole is told how to see them."""
        optimizer = make(self.own.items())
        shapes: dict[Tensor, torch.Size] = {self.own[name]: whole.shape for name, whole in self._whole.items()}
        optimizer.on_whole = WholeMatrices(self.group, shapes)  # type: ignore[attr-defined]
        return optimizer

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add this micro-batch's gradient, cut up and summed; with replicas, the sum over those waits for the last.

        Where every process fails alike, the next step begins anew after `zero_grad`.
        """
        self.root.set_requires_all_reduce(last)
        try:
            loss.backward()  # type: ignore[no-untyped-call]
        except BaseException:
            cast(nn.Module, self.root).zero_grad(set_to_none=True)  # of layers that are whole now, too
            self.root.reset_iter_state()
            raise
        if last:
            for name, parameter in self._whole.items():
                self.own[name].grad = None if parameter.grad is None else part_of(parameter.grad)

    def abandon(self) -> None:
        """Nothing can be given in the place of a pass that others are in the middle of.

        Raises:
            TrainingError: always.
        """
        raise TrainingError(
            f"rank {self.rank} could not finish a pass that all processes make together ({sys.exception()}), and with "
            'distributed.strategy = "fsdp" it cannot be had again; use a smaller train.micro_batch_size, or '
            "train.activation_checkpointing = true"
        )

    def clip_grad_norm(self, model: nn.Module, max_norm: float) -> Tensor:
        """Scale the parts by the norm of the whole, unless that is not finite; returns the norm before."""
        gradients = [own.grad for own in self.own.values() if own.grad is not None]
        local = get_total_norm(gradients)
        norm = self.norms(local).to(local.dtype)
        if math.isfinite(max_norm) and norm.isfinite():
            clip_grads_with_norm_(self.own.values(), max_norm, norm)
        return norm

    def norms(self, of_parts: Tensor) -> Tensor:
        """2-norms of whole tensors, float64, from those of this process's parts, elementwise."""
        return (self.sum(of_parts.double().square()) / self.replicas).sqrt()

    def update(self, optimizer: Optimizer) -> None:
        """One step of the optimizer on the parts of this process; the next pass gathers what others have moved."""
        optimizer.step()

    def share(self) -> None:
        """Every process changes its own parts, and every pass gathers them anew."""

    def zero_grad(self, optimizer: Optimizer) -> None:
        """Forget the gradients of all parts."""
        optimizer.zero_grad(set_to_none=True)
        for name, parameter in self._whole.items():
            parameter.grad = self.own[name].grad = None

    def sum(self, value: Tensor) -> Tensor:
        """Elementwise sum over ranks."""
        return all_reduced(value)

    def agree(self, flags: Flags) -> Flags:
        """Every rank's flags joined by `or`."""
        return agreed(self.processes, flags)

    def full_state(self, model: nn.Module, optimizer: Optimizer | None) -> FullState | None:
        """Everything gathered, a tensor at a time, on the CPU of the first process."""
        weights, state = (self._gathered(pieces) for pieces in self.pieces(model, optimizer))
        return None if weights is None or state is None else FullState(model=weights, optimizer=state)

    def pieces(self, model: nn.Module, optimizer: Optimizer | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The model's and the optimizer's live tensors, a DTensor wherever this process has only a part."""
        tensors = {} if optimizer is None else optimizer_tensors(optimizer)
        return dict(model.state_dict()), {name: self._piece(name, tensor) for name, tensor in tensors.items()}

    def load_full_state(self, model: nn.Module, optimizer: Optimizer, state: FullState) -> None:
        """Every process takes its parts of what all are given, a tensor at a time; all or nothing."""
        model_live, optimizer_live = self.pieces(model, optimizer)
        check_fit(model_live, optimizer_live, state)
        with torch.no_grad():
            for live, saved in ((model_live, state.model), (optimizer_live, state.optimizer)):
                for name, piece in live.items():
                    whole = saved[name]
                    is_part = isinstance(piece, DTensor)
                    part_of(piece).copy_(whole[rows_of(len(whole), self.part, self.parts)] if is_part else whole)

    def _piece(self, name: str, tensor: Tensor) -> Tensor:
        """An optimizer's tensor "name/key" as a part of what it is a part of; counts are the same everywhere."""
        if not tensor.ndim:
            return tensor
        like = self._whole[name.rpartition("/")[0]]
        return DTensor.from_local(
            tensor, self.mesh, self.placements, run_check=False, shape=like.shape, stride=like.stride()
        )

    def _gathered(self, pieces: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        gathered: dict[str, Tensor] = {}
        for name, piece in pieces.items():
            is_part = isinstance(piece, DTensor)
            whole = gathered_rows(part_of(piece), piece.shape, self.group) if is_part else piece.detach()
            if self.processes.is_first:
                gathered[name] = whole.to("cpu", copy=True)
        return gathered if self.processes.is_first else None
