"""Which device a run uses, whether only deterministic algorithms are allowed on it, and how its memory is kept."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

import torch

from hornbook.config.run import RunTable
from hornbook.distributed.environment import Place
from hornbook.errors import ConfigError

MMAP_MAX, TRIM_THRESHOLD = -4, -1
"""The numbers of glibc's settings M_MMAP_MAX and M_TRIM_THRESHOLD (malloc.h)."""


def ready_device(config: RunTable, place: Place | None = None) -> torch.device:
    """The device of a run, with the process set up for it as the table says; `place` among others, if there are any.

    Raises:
        ConfigError: if the device is not on this machine, or not there for each process.
    """
    device = device_of_rank(config.device, place or Place())
    keep_freed_memory()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.deterministic:
        use_deterministic_algorithms()
    return device


def device_of_rank(name: str, place: Place) -> torch.device:
    """The device that `[run] device` means for one of several processes: of CUDA devices, each takes its own.

    Raises:
        ConfigError: if there are fewer of them than processes on this machine, or one is named for all.
    """
    device = resolve_device(name)
    if place.world_size == 1 or device.type == "cpu":
        return device
    if ":" in name or device.type != "cuda":
        raise ConfigError(
            f"run.device = {name!r} with {place.world_size} processes, which need one each; use device = "
            '"cuda", or "cpu" for all of them'
        )
    count = torch.cuda.device_count()
    if place.local_world_size > count:
        raise ConfigError(
            f"{place.local_world_size} processes on a machine with {count} CUDA devices; start at most one each (and "
            'let each see all of them: under SLURM --gpus-per-node, not --gpus-per-task), or use device = "cpu"'
        )
    device = torch.device("cuda", place.local_rank)
    torch.cuda.set_device(device)
    return device


def accelerator_words(device: torch.device) -> str | None:
    """Name and memory of an accelerator; None for a CPU."""
    if device.type != "cuda":
        return None if device.type == "cpu" else device.type
    properties = torch.cuda.get_device_properties(device)
    return f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"


def resolve_device(name: str) -> torch.device:
    """The device that `[run] device` means: auto takes CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: if the named device is not on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ConfigError(
                f"run.device = {name!r}, but torch {torch.__version__} sees {count} CUDA devices here; "
                + (f"choose cuda:0 to cuda:{count - 1}" if count else 'use device = "auto" or "cpu"')
            )
        return torch.device("cuda", device.index if device.index is not None else torch.cuda.current_device())
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f'run.device = {name!r}, but torch sees no Apple GPU here; use device = "auto" or "cpu"')
    return device


def keep_freed_memory() -> bool:
    """From now on this process keeps the main memory that tensors give back, for the next ones. True where it can.

    glibc gives each large block back to the system at once, and every step then pays for fresh pages, 2 microseconds
    for 4 KB: 6 to 15 % of a training step on a CPU (docs/log.md). The process then never uses less than it once did.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # no glibc: macOS, Windows, musl
        return False
    never_mapped: int = mallopt(MMAP_MAX, 0)
    never_trimmed: int = mallopt(TRIM_THRESHOLD, -1)
    return bool(never_mapped and never_trimmed)


def use_deterministic_algorithms() -> None:
    """From now on an operation without a deterministic form raises, naming itself. Call before the first CUDA work."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when its first handle is made
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)


@contextlib.contextmanager
def explained_nondeterminism() -> Iterator[None]:
    """Name the operation that has no deterministic form, in words for people.

    Raises:
        ConfigError: where torch refuses an operation for this reason.
    """
    mark = " does not have a deterministic implementation"
    try:
        yield
    except RuntimeError as error:
        operation, found, _ = str(error).partition(mark)
        if not found:
            raise
        raise ConfigError(
            f"run.deterministic = true, but {operation}{mark} on this device; set it to false, or avoid the operation"
        ) from error
