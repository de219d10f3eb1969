"""Sweeps by SLURM: the script of a job array, handing it in, and asking what waits and what runs.

sbatch(1) defines the options. A job that comes near its time limit gets SIGUSR1, saves, ends with status 99, and its
script queues it again; a preempted one (SIGTERM) is queued by SLURM itself, and a cancelled one is not.
"""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from hornbook.distributed.launch import EXIT_PREEMPTED
from hornbook.sweeps.grid import Point
from hornbook.sweeps.jobs import JobRequest, JobState, asked, index_list, mebibytes, point_command

COMMAND = "sbatch"
SCRIPT = "job.sh"
_SECONDS_AFTER_THE_FIRST = 300  # of a run's processes ended, the others are ended too: they may wait for one that died
_WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD", "REQUEUE_FED")


def script(request: JobRequest) -> str:
    """The batch script: one task of an array for each point, its number the point's index."""
    setup = "".join(f"{line}\n" for line in request.table.setup)
    options = "".join(f"#SBATCH {option}\n" for option in _options(request))
    command = f'{shlex.join(point_command(request.file))} "$SLURM_ARRAY_TASK_ID"'
    several = request.table.slurm.nodes * request.table.resources.processes > 1
    srun = f"srun --wait={_SECONDS_AFTER_THE_FIRST}" if several else "srun"
    return f"""#!/bin/bash
# The sweep {request.name}, written by `hornbook sweep submit` and yours to change; to hand it in: sbatch {SCRIPT}
{options}
{setup}export OMP_NUM_THREADS="$SLURM_CPUS_PER_TASK"
export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"   # srun does not take it from the job
trap 'cancelled=1' TERM   # by scancel, or by SLURM, which then queues it itself

{srun} {command}
status=$?
if [ "$status" -eq {EXIT_PREEMPTED} ] && [ -z "$cancelled" ]; then   # it saved before its time was up: queue it again
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
"""


def submit(path: Path) -> str:
    """Hand a script in; returns the array's job number.

    Raises:
        SchedulerError: if there is no sbatch, or it refuses.
    """
    return asked([COMMAND, "--parsable", str(path)]).strip().partition(";")[0]


def live_jobs() -> dict[str, JobState]:
    """{"slurm:77_3": queued or running} of this user's jobs.

    Raises:
        SchedulerError: if there is no squeue, or it refuses.
    """
    user = str(os.getuid())
    lines = asked(["squeue", "--noheader", "--array", f"--user={user}", "--format=%i %T"]).splitlines()
    pairs = (line.split()[:2] for line in lines if len(line.split()) > 1)
    return {f"slurm:{job}": "queued" if state in _WAITING else "running" for job, state in pairs}


def job_name(job: str, point: Point, place: int) -> str:
    """A task of the array is called by its index."""
    return f"slurm:{job}_{point.index}"


def _options(request: JobRequest) -> Iterator[str]:
    slurm, resources = request.table.slurm, request.table.resources
    at_once = f"%{slurm.max_running}" if slurm.max_running is not None else ""
    yield f"--job-name={request.name}"
    yield f"--array={index_list([point.index for point in request.points])}{at_once}"
    yield f"--nodes={slurm.nodes}"
    yield f"--ntasks-per-node={resources.processes}"
    yield f"--cpus-per-task={resources.cpus}"
    if resources.gpu:  # of the node, not of a task: a process takes the one of its local rank
        yield f"--gres=gpu:{resources.processes}"
    if resources.memory_gb is not None:
        yield f"--mem={mebibytes(resources.memory_gb * resources.processes)}M"
    if slurm.partition is not None:
        yield f"--partition={slurm.partition}"
    if slurm.account is not None:
        yield f"--account={slurm.account}"
    if slurm.minutes is not None:
        yield f"--time={slurm.minutes}"
    yield f"--signal=USR1@{slurm.grace_seconds}"  # a partition may have a limit of its own
    yield "--requeue"
    yield "--open-mode=append"
    yield f"--chdir={_quoted(request.directory)}"
    yield f"--output={_quoted(str(request.logs).replace('%', '%%'))}/slurm-%A_%a.log"
    yield from slurm.options


def _quoted(word: Path | str) -> str:
    """As #SBATCH lines have it: a backslash means the next letter between quotes of either kind, unlike in a shell."""
    return '"' + re.sub(r'(["\\])', r"\\\1", str(word)) + '"'
