"""A sweep on this machine: as many runs at once as its cores, GPUs and memory give room for, each a process.

Every run has cores and GPUs of its own: two runs that share a core slow each other down many times over, because the
threads of one wait for one another while the other one computes.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hornbook.config.sweep import ResourcesConfig
from hornbook.distributed.launch import FOLLOWS
from hornbook.errors import TrainingError
from hornbook.storage.cores import available_cores
from hornbook.sweeps.grid import Point

_SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Room for one run at a time."""

    cores: tuple[int, ...]
    gpus: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What there is to share out."""

    cores: tuple[int, ...]
    gpus: tuple[str, ...]
    memory_gb: float | None
    """None where it is not known."""


class Teller(Protocol):
    """Hears of what happens: a point's exit status, or None when it starts."""

    def __call__(self, point: Point, status: int | None) -> None:
        """One thing that happened."""


def this_machine(*, with_gpus: bool) -> Machine:
    """The cores and GPUs that this process may use; GPUs are looked for only if asked for, since that imports torch."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(available_cores())
    return Machine(cores=tuple(cores), gpus=_gpus() if with_gpus else (), memory_gb=_memory_gb())


def slots(machine: Machine, wanted: ResourcesConfig) -> list[Slot]:
    """How many runs fit beside one another.

    Raises:
        TrainingError: if not even one does.
    """
    n_cores, n_gpus = wanted.cpus * wanted.processes, wanted.processes if wanted.gpu else 0
    room = len(machine.cores) // n_cores
    short = f"{n_cores} cores, and here are {len(machine.cores)}" if not room else ""
    if n_gpus and len(machine.gpus) // n_gpus < room:
        room = len(machine.gpus) // n_gpus
        short = short or f"{n_gpus} GPUs, and here are {len(machine.gpus)}"
    memory_gb = (wanted.memory_gb or 0.0) * wanted.processes
    if memory_gb and machine.memory_gb is not None and machine.memory_gb // memory_gb < room:
        room = int(machine.memory_gb // memory_gb)
        short = short or f"{memory_gb:g} GB of memory, and here are {machine.memory_gb:.1f}"
    if not room:
        raise TrainingError(f"[sweep.resources] each run wants {short}; ask for less, or submit to a cluster")
    return [
        Slot(
            cores=machine.cores[number * n_cores : (number + 1) * n_cores],
            gpus=machine.gpus[number * n_gpus : (number + 1) * n_gpus],
        )
        for number in range(room)
    ]


def run_points(
    points: Sequence[Point],
    room: Sequence[Slot],
    *,
    command: Callable[[Point], Sequence[str]],
    log: Callable[[Point], Path],
    stopping: Callable[[], bool],
    tell: Teller,
) -> dict[int, int]:
    """Run each point's command in a process of its own; {index: exit status} of those that were started.

    As soon as `stopping`, no more are started, and those that run get SIGTERM, so that they save; they are waited for.
    When this process is killed, their standard input ends, upon which they save as well.
    """
    waiting, running, statuses = list(points), dict[int, tuple[Point, subprocess.Popen[bytes]]](), dict[int, int]()
    told_to_stop = False
    ends_with_us, held = os.pipe()
    try:
        while running or (waiting and not stopping()):
            for number in range(len(room)):
                if number not in running and waiting and not stopping():
                    point = waiting.pop(0)
                    running[number] = (point, _start(command(point), log(point), room[number], ends_with_us))
                    tell(point, None)
            if stopping() and not told_to_stop:
                told_to_stop = True
                _signal([process for _, process in running.values()], signal.SIGTERM)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            for number, (point, process) in list(running.items()):
                if process.poll() is not None:
                    del running[number]
                    statuses[point.index] = process.returncode
                    tell(point, process.returncode)
    finally:  # where nothing went wrong, none is left
        left = [process for _, process in running.values()]
        _signal(left, signal.SIGKILL)
        for process in left:
            process.wait()
        os.close(held)
        os.close(ends_with_us)
    return statuses


def _start(command: Sequence[str], log: Path, slot: Slot, stdin: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, FOLLOWS: "1", "CUDA_VISIBLE_DEVICES": ",".join(slot.gpus)}
    with log.open("ab") as output, _on(slot.cores):
        # A session of its own: Ctrl-C reaches this process alone, which then tells the others.
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


@contextlib.contextmanager
def _on(cores: Sequence[int]) -> Iterator[None]:
    """Processes that are started meanwhile keep to these cores, where the system knows of such a thing."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _signal(processes: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)


def _gpus() -> tuple[str, ...]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = (name.strip() for name in visible.split(","))
        return tuple(itertools.takewhile(lambda name: name not in ("", "-1"), names))  # as CUDA reads it
    import torch

    return tuple(map(str, range(torch.cuda.device_count())))


def _memory_gb() -> float | None:
    if sys.platform == "win32" or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
