"""Handing a sweep to a scheduler: a folder with what it is given, and then the request itself."""

import itertools
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hornbook.errors import ConfigError
from hornbook.storage.atomic import replace_file
from hornbook.storage.disk import explained
from hornbook.sweeps import condor, slurm
from hornbook.sweeps.grid import Point
from hornbook.sweeps.jobs import JobRequest
from hornbook.sweeps.status import SCHEDULERS, note_submission
from hornbook.sweeps.sweep import FILE, Sweep


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What was written for a scheduler."""

    scheduler: str
    script: Path
    points: tuple[Point, ...]

    @property
    def command(self) -> str:
        """What hands the script in."""
        return shlex.join([SCHEDULERS[self.scheduler].COMMAND, str(self.script)])


def choose_scheduler(named: str | None) -> str:
    """The scheduler that is named, or else the only one whose command is here.

    Raises:
        ConfigError: if none is named and there are none or several.
    """
    if named is not None:
        return named
    here = [name for name, module in SCHEDULERS.items() if shutil.which(module.COMMAND)]
    if len(here) != 1:
        what = "both sbatch and condor_submit are here" if here else "neither sbatch nor condor_submit is here"
        raise ConfigError(f"{what}; say --scheduler slurm or --scheduler condor")
    return here[0]


def write_submission(sweep: Sweep, points: Sequence[Point], scheduler: str) -> Submission:
    """Write a new folder in the sweep's `submissions`: the frozen sweep and the scripts.

    Raises:
        ConfigError: if the scheduler cannot do what is asked for.
        StorageError: if the disk refuses.
    """
    if scheduler == "condor" and sweep.table.slurm.nodes > 1:
        raise ConfigError(
            "sweep.slurm.nodes is for SLURM; with HTCondor a run has one machine, and its processes there"
        )
    file = frozen_file(sweep)
    folder = file.parent
    request = JobRequest(
        name=sweep.root.name,
        file=file.absolute(),
        points=tuple(points),
        table=sweep.table,
        logs=(sweep.root / "logs").absolute(),
        directory=Path.cwd(),
    )
    script = folder / SCHEDULERS[scheduler].SCRIPT
    if scheduler == "condor":
        replace_file(folder / condor.PROGRAM, condor.program(request))
        (folder / condor.PROGRAM).chmod(0o755)
        replace_file(script, condor.script(request))
    else:
        replace_file(script, slurm.script(request))
    return Submission(scheduler=scheduler, script=script, points=tuple(points))


def frozen_file(sweep: Sweep) -> Path:
    """Write the sweep into a new folder of its `submissions`, where no later start changes it; returns the file.

    Raises:
        StorageError: if the disk refuses.
    """
    sweep.prepare()
    file = _new_folder(sweep.submissions) / FILE
    replace_file(file, sweep.frozen())
    return file


def hand_in(submission: Submission) -> str:
    """Give the script to the scheduler; returns its number.

    Raises:
        SchedulerError: if that refuses.
    """
    job = SCHEDULERS[submission.scheduler].submit(submission.script)
    note_submission(submission.script.parent, submission.scheduler, job, submission.points)
    return job


def _new_folder(parent: Path) -> Path:
    with explained(parent):
        taken = [int(path.name) for path in parent.iterdir() if path.name.isdecimal()]
        for number in itertools.count(max(taken, default=0) + 1):
            folder = parent / f"{number:03}"
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    raise AssertionError("numbers do not end")
