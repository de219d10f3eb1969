"""Sweeps by HTCondor: the submit file with its queue of points, handing it in, and asking what waits and what runs.

condor_submit(1) defines the commands. A job that must leave its machine gets SIGTERM, saves and ends with status 99;
`on_exit_remove` keeps it in the queue, and it goes on elsewhere. The directory must be on a shared file system.
"""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from hornbook.distributed.launch import EXIT_PREEMPTED
from hornbook.sweeps.grid import Point
from hornbook.sweeps.jobs import JobRequest, JobState, asked, mebibytes, point_command

COMMAND = "condor_submit"
SCRIPT = "job.sub"
PROGRAM = "point.sh"
_STATES: dict[str, JobState] = {"1": "queued", "2": "running", "5": "queued", "6": "running", "7": "running"}
"""JobStatus: idle, running, held, transferring output, suspended; 3 is removed, 4 completed."""
_PASSED_ON = re.compile(r"HORNBOOK_\w+|PATH|HOME|USER|PYTHONPATH|VIRTUAL_ENV|LD_LIBRARY_PATH|LANG")


def script(request: JobRequest) -> str:
    """The submit file; it runs `PROGRAM`, which lies beside it."""
    commands = "".join(f"{name} = {value}\n" for name, value in _commands(request))
    more = "".join(f"{line}\n" for line in request.table.condor.options)
    indices = "".join(f"  {point.index}\n" for point in request.points)
    return f"""# The sweep {request.name}, written by `hornbook sweep submit` and yours to change; to hand it in:
#   condor_submit {SCRIPT}
{commands}{more}
# The indices of the points; each line is a job.
queue index from (
{indices})
"""


def program(request: JobRequest) -> str:
    """The shell script that a job runs, with a point's index as its argument."""
    setup = "".join(f"{line}\n" for line in request.table.setup)
    return f"""#!/bin/bash
# One point of the sweep {request.name}: {PROGRAM} INDEX
exec >>{shlex.quote(str(request.logs))}/"${{HORNBOOK_JOB/:/-}}".log 2>&1
{setup}export OMP_NUM_THREADS={request.table.resources.cpus}
exec {shlex.join(point_command(request.file))} "$1"
"""


def submit(path: Path) -> str:
    """Hand a submit file in; returns the cluster's number.

    Raises:
        SchedulerError: if there is no condor_submit, or it refuses.
    """
    said = asked([COMMAND, "-terse", str(path)])  # "12.0 - 12.5"
    return said.strip().splitlines()[-1].partition(".")[0]


def live_jobs() -> dict[str, JobState]:
    """{"condor:12.0": queued or running} of this user's jobs.

    Raises:
        SchedulerError: if there is no condor_q, or it refuses.
    """
    rows = [
        line.split() for line in asked(["condor_q", "-autoformat", "ClusterId", "ProcId", "JobStatus"]).splitlines()
    ]
    return {f"condor:{row[0]}.{row[1]}": _STATES[row[2]] for row in rows if len(row) == 3 and row[2] in _STATES}


def job_name(job: str, point: Point, place: int) -> str:
    """A process of the cluster is called by its place in the queue."""
    return f"condor:{job}.{place}"


def _commands(request: JobRequest) -> Iterator[tuple[str, str]]:
    resources = request.table.resources
    yield "universe", "vanilla"
    yield "batch_name", request.name
    yield "executable", _plain(request.file.parent / PROGRAM)
    yield "arguments", "$(index)"
    yield "initialdir", _plain(request.directory)
    yield "environment", _environment()
    yield "should_transfer_files", "NO"
    yield "log", _plain(request.logs / "condor.log")
    yield "request_cpus", str(resources.cpus * resources.processes)
    if resources.memory_gb is not None:
        yield "request_memory", f"{mebibytes(resources.memory_gb * resources.processes)}MB"
    if resources.gpu:
        yield "request_gpus", str(resources.processes)
    yield "kill_sig", "SIGTERM"
    yield "job_max_vacate_time", str(request.table.condor.grace_seconds)
    yield "want_graceful_removal", "True"  # condor_rm too lets it save
    yield "on_exit_remove", f"ExitCode =!= {EXIT_PREEMPTED}"  # which of a job that a signal ended is undefined: it goes


def _plain(text: Path | str) -> str:
    """A dollar sign that stands for itself."""
    return str(text).replace("$", "$(DOLLAR)")


def _environment() -> str:
    """Variables that the jobs need, in the new syntax: all in double quotes, each value in single ones."""
    known = {name: _plain(value) for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
    pairs = {**known, "HORNBOOK_JOB": "condor:$(ClusterId).$(ProcId)"}
    words = (f"{name}='{value}'" for name, value in ((n, v.replace("'", "''")) for n, v in pairs.items()))
    return '"' + " ".join(words).replace('"', '""') + '"'
