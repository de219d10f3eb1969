"""What a scheduler is asked to do, in no scheduler's language; and what all of their job scripts have in common."""

import math
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from hornbook.config.sweep import SweepConfig
from hornbook.errors import HornbookError
from hornbook.sweeps.grid import Point

JobState = Literal["queued", "running"]
_SECONDS = 60


class SchedulerError(HornbookError):
    """A scheduler is missing, or refuses."""


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """Points to be run, each as a job of its own. All paths are absolute: a job starts elsewhere."""

    name: str
    file: Path
    """The frozen file of the sweep."""
    points: Sequence[Point]
    table: SweepConfig
    logs: Path
    directory: Path
    """Where relative paths of the configuration start."""


class Scheduler(Protocol):
    """What the module of a scheduler offers."""

    COMMAND: str
    """What hands a script in."""
    SCRIPT: str
    """The script's name."""

    def script(self, request: JobRequest) -> str:
        """The text of the script."""

    def submit(self, path: Path) -> str:
        """Hand a script in; returns the scheduler's number for it."""

    def live_jobs(self) -> dict[str, JobState]:
        """Of this user: jobs that wait or run, by the names that `scheduler_job` gives them."""

    def job_name(self, job: str, point: Point, place: int) -> str:
        """What such a name is for the point at a place in the script."""


def point_command(file: Path) -> list[str]:
    """The words that train one point, but for the last one, its index."""
    return [sys.executable, "-P", "-m", "hornbook", "sweep", "run", str(file), "--index"]


def mebibytes(memory_gb: float) -> int:
    """Memory as schedulers are asked for it; at least 1, since 0 is all that there is."""
    return max(1, math.ceil(1024 * memory_gb))


def index_list(indices: Sequence[int]) -> str:
    """Indices as `0-3,7`, ascending: how both schedulers and people write them."""
    groups: list[list[int]] = []
    for index in sorted(indices):
        if groups and index == groups[-1][-1] + 1:
            groups[-1].append(index)
        else:
            groups.append([index])
    return ",".join(str(group[0]) if len(group) == 1 else f"{group[0]}-{group[-1]}" for group in groups)


def asked(command: Sequence[str]) -> str:
    """What one of a scheduler's commands answers.

    Raises:
        SchedulerError: if it is not there, refuses, or does not answer.
    """
    if shutil.which(command[0]) is None:
        raise SchedulerError(f"{command[0]}: not found; a scheduler's commands are on the machines that submit to it")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"{command[0]} did not answer within {_SECONDS} s; try again later") from None
    if done.returncode:
        said = re.sub(r"\s+", " ", done.stderr.strip()) or f"exit status {done.returncode}"
        raise SchedulerError(f"{shlex.join(command)}: {said}")
    return done.stdout
