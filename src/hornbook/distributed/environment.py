"""Which process of how many this is: what torchrun, srun or `hornbook train --nproc` put into the environment.

    torchrun    RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT
    srun        SLURM_PROCID SLURM_STEP_NUM_TASKS SLURM_LOCALID SLURM_STEP_TASKS_PER_NODE SLURM_STEP_NODELIST
    --nproc     as torchrun, but the processes meet in the file HORNBOOK_RENDEZVOUS instead of at a port

Of SLURM only what a step (srun) sets is read: in a batch script outside of one, SLURM_NTASKS counts processes that
nobody has started. Imports nothing heavy.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hornbook.errors import ConfigError

RENDEZVOUS = "HORNBOOK_RENDEZVOUS"
_FIRST_PORT, _N_PORTS = 15_000, 15_000


@dataclass(frozen=True, kw_only=True)
class Place:
    """This process among those that train together, and where they meet."""

    rank: int = 0
    """From 0, over all machines."""
    world_size: int = 1
    local_rank: int = 0
    """From 0, on this machine: the number of its GPU."""
    local_world_size: int = 1
    meeting_point: str = ""
    """A URL for torch.distributed; empty where there is nobody to meet."""
    is_ours: bool = False
    """Started by `hornbook train --nproc`, which tells the user what became of each process."""


def place_of(environ: Mapping[str, str]) -> Place:
    """Where the environment says that this process stands; a lone one where it says nothing.

    Raises:
        ConfigError: naming the variable that is missing or makes no sense.
    """
    is_slurm = _number(environ, "SLURM_STEP_NUM_TASKS", 1) > 1 and "SLURM_PROCID" in environ
    if "WORLD_SIZE" in environ and ("RANK" in environ or not is_slurm):  # batch scripts like to export it alone
        return _checked(_of_torchrun(environ))
    return _checked(_of_slurm(environ)) if is_slurm else Place()


def _of_torchrun(environ: Mapping[str, str]) -> Place:
    world_size, rank = _number(environ, "WORLD_SIZE"), _number(environ, "RANK")
    is_ours = RENDEZVOUS in environ
    if world_size > 1 and not is_ours:
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            if name not in environ:
                raise ConfigError(f"WORLD_SIZE = {world_size}, but {name} is not set; start the processes by torchrun")
    return Place(
        rank=rank,
        world_size=world_size,
        local_rank=_number(environ, "LOCAL_RANK", rank),
        local_world_size=_number(environ, "LOCAL_WORLD_SIZE", world_size),
        meeting_point=f"file://{environ[RENDEZVOUS]}" if is_ours else "env://",
        is_ours=is_ours,
    )


def _of_slurm(environ: Mapping[str, str]) -> Place:
    """The first machine of the step is where all meet, at a port that follows from the job, unless both are named."""
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_NODELIST", "")
    address = environ.get("MASTER_ADDR") or first_host(nodes)
    key = _number(environ, "SLURM_JOB_ID", 0) * 31 + _number(environ, "SLURM_STEP_ID", 0)
    port = _number(environ, "MASTER_PORT", _FIRST_PORT + key % _N_PORTS)
    return Place(
        rank=_number(environ, "SLURM_PROCID"),
        world_size=_number(environ, "SLURM_STEP_NUM_TASKS"),
        local_rank=_number(environ, "SLURM_LOCALID"),
        local_world_size=_tasks_here(environ),
        meeting_point=f"tcp://{address}:{port}",
    )


def first_host(nodes: str) -> str:
    """The first machine of SLURM's list, such as node[07-09,12],other or rack[0-3]node[1-8].

    Raises:
        ConfigError: if there is none.
    """
    match = re.match(r"(?:[^,\[\]\s]|\[\d[^\]]*\])+", nodes)
    if match is None:
        raise ConfigError(f"SLURM_STEP_NODELIST = {nodes!r}: expected names of machines; start the processes by srun")
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", match[0])


def _tasks_here(environ: Mapping[str, str]) -> int:
    """Processes on this machine, from a list such as 2(x3),1: that of each machine in turn."""
    counts: list[int] = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", environ.get("SLURM_STEP_TASKS_PER_NODE", "")):
        counts += [int(count)] * int(times or 1)
    node = _number(environ, "SLURM_NODEID", 0)
    return counts[node] if node < len(counts) else _number(environ, "SLURM_STEP_NUM_TASKS")


def _checked(place: Place) -> Place:
    if not (0 <= place.rank < place.world_size and 0 <= place.local_rank < place.local_world_size):
        raise ConfigError(
            f"the environment makes this process {place.rank} of {place.world_size} (on this machine "
            f"{place.local_rank} of {place.local_world_size}), counted from 0: that cannot be; look at RANK, "
            "WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE, or under srun at SLURM_PROCID and SLURM_STEP_NUM_TASKS"
        )
    return place


def _number(environ: Mapping[str, str], name: str, otherwise: int | None = None) -> int:
    text = environ.get(name)
    if text is None and otherwise is not None:
        return otherwise
    if text is None or not text.isdecimal():
        found = "is not set" if text is None else f"= {text!r} is no number"
        raise ConfigError(f"{name} {found} in the environment; start the processes by torchrun, srun or --nproc")
    return int(text)
