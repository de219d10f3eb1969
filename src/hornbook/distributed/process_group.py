"""The processes that train together: meeting, parting, and what they tell one another besides tensors of training.

Nothing is pickled on the way: what travels is tensors, and JSON as bytes. Whatever torch.distributed raises while this
process waits for others means that one of them is gone, and is a PeerLostError here. CPU tensors go through gloo, CUDA
tensors through NCCL (or gloo, if that was asked for).
"""

import contextlib
import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from hornbook.config.distributed import DistributedConfig
from hornbook.distributed.environment import Place
from hornbook.distributed.launch import stop_with_launcher
from hornbook.errors import ConfigError, HornbookError, PeerLostError, TrainingError


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process among those that train together."""

    rank: int = 0
    world_size: int = 1
    local_world_size: int = 1
    """Of them, on this machine."""

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def first(self, make: Callable[[], Any]) -> Any:
        """What `make`, called on the first process alone, returns: a JSON value, the same on every process.

        Raises:
            HornbookError: what `make` raises, on every process.
        """
        if self.world_size == 1:
            return make()
        told: dict[str, Any] = {}
        raised: HornbookError | None = None
        if self.is_first:
            try:
                told = {"value": make()}
            except HornbookError as error:
                raised, told = error, {"error": str(error)}
        told = self.broadcast(told)
        if raised is not None:
            raise raised
        if "error" in told:
            raise HornbookError(told["error"])
        return told["value"]

    def broadcast(self, value: Any, *, source: int = 0) -> Any:
        """The JSON value of process `source`, on all."""
        if self.world_size == 1:
            return value
        content = json.dumps(value).encode() if self.rank == source else b""
        length = torch.tensor([len(content)])
        with heard():
            dist.broadcast(length, source)
        text = torch.empty(int(length), dtype=torch.uint8)
        if self.rank == source:
            text = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        with heard():
            dist.broadcast(text, source)
        return json.loads(text.numpy().tobytes())

    def everyones(self, value: Any) -> list[Any]:
        """The JSON values of all processes, by rank."""
        return [self.broadcast(value, source=rank) for rank in range(self.world_size)]

    def any(self, *flags: bool) -> list[bool]:
        """Of each flag, whether it is raised on any process."""
        if self.world_size == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.int32)
        with heard():
            dist.all_reduce(raised, dist.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]

    def check_same(self, value: str, *, what: str) -> None:
        """Make sure that `value` is the same on every process.

        Raises:
            ConfigError: naming the processes where it is another than on the first.
        """
        values = self.everyones(value)
        others = [str(rank) for rank, each in enumerate(values) if each != values[0]]
        if others:
            raise ConfigError(
                f"{what} of rank {', '.join(others)} is another than that of rank 0; start all processes with the same "
                "command, files and versions"
            )


ALONE = Processes()


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Turn what torch.distributed raises inside into one error.

    Raises:
        PeerLostError: with the first line of the reason.
    """
    try:
        yield
    except torch.OutOfMemoryError:  # is a RuntimeError too, and our own affair
        raise
    except RuntimeError as error:  # DistBackendError, DistNetworkError and gloo's own are all of this kind
        raise lost(error) from error


def lost(error: BaseException) -> PeerLostError:
    """What to say of an error of torch.distributed."""
    reason = str(error).strip().partition("\n")[0][:300]
    return PeerLostError(
        f"lost contact with another process of this run ({reason}); see why it ended, then go on with --resume"
    )


def is_lost(error: BaseException) -> bool:
    """Whether torch.distributed raised it, where other code might have."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "/gloo/" in str(error))


@contextlib.contextmanager
def joined(place: Place, config: DistributedConfig, device: torch.device) -> Iterator[Processes]:
    """Meet the others; inside, all processes are there. With one process nothing happens.

    A group that exists already, since the caller's program made one, is taken and left as it is.

    Raises:
        TrainingError: if they do not all come within the time that is granted.
        ConfigError: if the backend does not serve the device.
    """
    if dist.is_initialized():
        yield Processes(rank=dist.get_rank(), world_size=dist.get_world_size(), local_world_size=place.local_world_size)
        return
    if place.world_size == 1:
        yield ALONE
        return
    if place.is_ours:
        stop_with_launcher()
    backend = backend_for(config.backend, device)
    try:
        dist.init_process_group(
            backend,
            init_method=place.meeting_point,
            rank=place.rank,
            world_size=place.world_size,
            timeout=dt.timedelta(minutes=config.timeout_minutes),
            device_id=device if "nccl" in backend else None,
        )
    except RuntimeError as error:
        raise TrainingError(
            f"rank {place.rank} of {place.world_size} found nobody at {place.meeting_point} "
            f"({str(error).partition(chr(10))[0][:200]}); see that all processes were started and can reach that place"
        ) from error
    yield Processes(rank=place.rank, world_size=place.world_size, local_world_size=place.local_world_size)
    # After an error there is no farewell: the others may be in the middle of a sentence, for which it would wait.
    dist.destroy_process_group()


def backend_for(name: str, device: torch.device) -> str:
    """What torch.distributed shall use: NCCL for CUDA tensors, gloo for what lies on the host.

    Raises:
        ConfigError: for NCCL without a CUDA device.
    """
    if name == "nccl" and device.type != "cuda":
        raise ConfigError(f'distributed.backend = "nccl" is for CUDA devices, and this run is on {device}; use "auto"')
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" and name != "gloo" else "gloo"


def all_reduced(value: Tensor) -> Tensor:
    """The sum over all processes, in a tensor of its own."""
    total = value.detach().clone()
    with heard():
        dist.all_reduce(total)
    return total
