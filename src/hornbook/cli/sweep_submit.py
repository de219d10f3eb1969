"""`hornbook sweep submit` and `retry`: points for a scheduler, and points once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # this imports pydantic, which no --help may wait for
    from hornbook.sweeps.sweep import Sweep

FAILED = ("failed", "killed")
BEGUN = (*FAILED, "preempted")


def submit(sweep: Sweep, scheduler: str | None, *, dry_run: bool = False, states: Sequence[str] | None = None) -> int:
    """Write a job script for the points in one of the `states`, and hand it in unless this is only a rehearsal."""
    from hornbook.cli.sweep_run import nothing_to_do, points_to_run
    from hornbook.sweeps.jobs import index_list
    from hornbook.sweeps.submission import choose_scheduler, hand_in, write_submission
    from hornbook.tracking.console import emit, speaks_to_people

    chosen = points_to_run(sweep, states, asking=not dry_run)
    if not chosen:
        return nothing_to_do(sweep)
    written = write_submission(sweep, chosen, choose_scheduler(scheduler))
    job = None if dry_run else hand_in(written)
    indices = [point.index for point in chosen]
    emit("sweep_submission", scheduler=written.scheduler, job=job, script=written.script, indices=indices)
    if speaks_to_people():
        done = f"handed in as job {job}" if job else f"not handed in; that takes: {written.command}"
        print(f"{written.script}: points {index_list(indices)}, {done}")
    return 0


def retry(sweep: Sweep, scheduler: str | None, *, only_failed: bool) -> int:
    """Go on with what began and is not finished, here or by a scheduler."""
    from hornbook.cli.sweep_run import run_all

    states = FAILED if only_failed else BEGUN
    if scheduler is not None:
        return submit(sweep, scheduler, states=states)
    return run_all(sweep, states)
