"""How far every point of a sweep is: from what its run's directory, its ledger and the schedulers say."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hornbook.errors import HornbookError
from hornbook.storage.atomic import replace_file
from hornbook.sweeps import condor, slurm
from hornbook.sweeps.grid import Point
from hornbook.sweeps.jobs import JobState, Scheduler, SchedulerError
from hornbook.sweeps.ledger import Try, is_held, read_tries
from hornbook.sweeps.sweep import Sweep

SCHEDULERS: dict[str, Scheduler] = {"slurm": slurm, "condor": condor}
State = Literal["waiting", "queued", "running", "preempted", "finished", "failed", "killed"]
RUNNABLE: tuple[State, ...] = ("waiting", "preempted", "killed")
"""What is begun or gone on with when nothing else is asked for: a failed run would most likely fail again."""
_SUBMISSION = "submission.json"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A point and how far it is."""

    point: Point
    state: State
    tries: tuple[Try, ...]
    job: str | None
    """The scheduler's, where one waits, runs or ran last."""

    @property
    def message(self) -> str:
        """Why it failed, if it did."""
        if self.state == "killed" and not self.tries:
            return f"{self.job} ended before it came to train; see the scheduler's log"
        return self.tries[-1].message if self.state == "failed" and self.tries else ""


def standings(sweep: Sweep, *, asking: bool = True) -> list[Standing]:
    """Every point, in order. Without `asking` the schedulers, what waits for them or has just begun is not known.

    Raises:
        SchedulerError: if jobs of unfinished points were submitted and their scheduler cannot be asked.
    """
    jobs: dict[str, list[str]] = {}
    for job, point_id in _submitted_jobs(sweep):
        jobs.setdefault(point_id, []).append(job)
    found = [standing(sweep, point, jobs.get(point.id, ())) for point in sweep.points]
    open_jobs = [job for each in found for job in _open(each, jobs.get(each.point.id, []))]
    if not asking or not open_jobs:
        return found
    live: dict[str, JobState] = {}
    for scheduler in {job.partition(":")[0] for job in open_jobs}:
        live |= SCHEDULERS[scheduler].live_jobs()
    return [standing(sweep, point, jobs.get(point.id, ()), live) for point in sweep.points]


def note_submission(folder: Path, scheduler: str, job: str, points: Sequence[Point]) -> None:
    """Remember which jobs a submission made: one a point, in this order.

    Raises:
        StorageError: if the disk refuses.
    """
    name = SCHEDULERS[scheduler].job_name
    jobs = {point.id: name(job, point, place) for place, point in enumerate(points)}
    replace_file(folder / _SUBMISSION, json.dumps({"job": job, "jobs": jobs}, indent=2) + "\n")


def _submitted_jobs(sweep: Sweep) -> Iterator[tuple[str, str]]:
    """(job, point's id) of all that was ever submitted, oldest first."""
    for file in sorted(sweep.submissions.glob(f"*/{_SUBMISSION}")):
        try:
            said = json.loads(file.read_bytes())
        except ValueError:
            raise SchedulerError(f"{file}: not JSON; mend it, or remove it if none of its jobs is left") from None
        yield from ((job, point_id) for point_id, job in said["jobs"].items())


def standing(
    sweep: Sweep, point: Point, jobs: Sequence[str] = (), live: Mapping[str, JobState] | None = None
) -> Standing:
    """How far a point is for which `jobs` were submitted, where the `live` ones are known."""
    ledger = sweep.ledger(point)
    tries = tuple(read_tries(ledger))
    alive = next((job for job in jobs if job in (live or {})), None)
    last_job = tries[-1].job if tries else None
    state: State
    if is_held(ledger):
        state = "running"
    elif live is not None and alive is not None:
        state = live[alive]
    else:
        state = _past(sweep, point, tries, was_lost=bool(jobs) and live is not None)
    return Standing(point=point, state=state, tries=tries, job=alive or last_job or next(iter(jobs[-1:]), None))


def _open(standing: Standing, jobs: Sequence[str]) -> Sequence[str]:
    """Jobs of a point that may still wait or run: of a finished one only a later one, which makes it longer."""
    if standing.state != "finished":
        return jobs
    return [job for job in jobs[-1:] if job not in {each.job for each in standing.tries}]


def _past(sweep: Sweep, point: Point, tries: Sequence[Try], *, was_lost: bool) -> State:
    """Of a point that nobody is at now; `was_lost` if a job of it is gone."""
    try:
        if sweep.run_dir(point).state == "finished":
            return "finished"
    except HornbookError:
        pass  # no run yet
    if not tries:
        return "killed" if was_lost else "waiting"
    return tries[-1].status or "killed"
