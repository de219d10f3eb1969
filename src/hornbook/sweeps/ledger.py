"""What was tried of a point, one line a start and one an end: how its tries can be told from one another.

    {"event": "start", "time": 1783150000.0, "index": 3, "host": "n01", "pid": 4711, "job": "slurm:77_3"}
    {"event": "end", "time": 1783150100.0, "status": "finished"}

One process at a time writes: it holds the file's lock for as long as it trains, so whoever finds the lock free knows
that a start without an end was killed. `job` names the scheduler's job, None for a run of this machine's own.
"""

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hornbook.distributed.launch import EXIT_PREEMPTED
from hornbook.errors import HornbookError, TrainingError
from hornbook.storage.lock import alone, is_taken
from hornbook.sweeps.grid import Point
from hornbook.tracking.jsonl import MetricsFile, json_line

Status = Literal["finished", "preempted", "failed"]
_MOST_WORDS = 500
_LOOKS, _SECONDS_OF_A_LOOK = 10, 0.1  # who asks has the lock for an instant, which must not end a job that starts then


@dataclass(frozen=True, kw_only=True)
class Try:
    """One try of a point. Times are seconds since 1970."""

    started: float
    host: str
    pid: int
    job: str | None
    ended: float | None = None
    status: Status | None = None
    message: str = ""
    """Why it failed."""


@dataclass
class Outcome:
    """Filled in by whoever tries: what came of it."""

    status: Status = "failed"


@contextlib.contextmanager
def trying(file: Path, point: Point) -> Iterator[Outcome]:
    """Note the start, and at the end what the block put into its outcome, or what it raised.

    Raises:
        TrainingError: if another process is at this point; nothing is noted then.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    with _held(file, point):
        lines = MetricsFile(file)
        where = {"index": point.index, "host": platform.node(), "pid": os.getpid(), "job": scheduler_job()}
        lines.write(json_line({"event": "start", "time": _now(), **where}))
        outcome, message = Outcome(), ""
        try:
            yield outcome
        except SystemExit as error:
            outcome.status = "preempted" if error.code == EXIT_PREEMPTED else "failed"
            raise
        except KeyboardInterrupt:
            outcome.status = "preempted"
            raise
        except BaseException as error:
            outcome.status = "failed"
            message = str(error) if isinstance(error, HornbookError) else f"{type(error).__name__}: {error}"
            raise
        finally:
            said = {"message": message[:_MOST_WORDS]} if message else {}
            lines.write(json_line({"event": "end", "time": _now(), "status": outcome.status, **said}))
            lines.close()


def read_tries(file: Path) -> list[Try]:
    """Every try, oldest first; none if there is no such file. Lines that cannot be read are left out."""
    found: list[Try] = []
    for event in _events(file):
        match event:
            case {"event": "start", "time": float() | int() as started, "host": str(host), "pid": int(pid)}:
                job = event.get("job")
                found.append(Try(started=started, host=host, pid=pid, job=job if isinstance(job, str) else None))
            case {
                "event": "end",
                "time": float() | int() as ended,
                "status": "finished" | "preempted" | "failed" as how,
            }:
                if found and found[-1].ended is None:
                    last, message = found.pop(), str(event.get("message", ""))
                    found.append(replace(last, ended=ended, status=how, message=message))
    return found


def is_held(file: Path) -> bool:
    """Whether a process is at this point now, as far as the file system can tell."""
    return file.exists() and is_taken(file)


def scheduler_job() -> str | None:
    """The scheduler's name of the job that this process belongs to, such as slurm:77_3 or condor:12.0."""
    environment = os.environ
    if task := environment.get("SLURM_ARRAY_TASK_ID"):
        return f"slurm:{environment.get('SLURM_ARRAY_JOB_ID', environment.get('SLURM_JOB_ID'))}_{task}"
    if job := environment.get("SLURM_JOB_ID"):
        return f"slurm:{job}"
    return environment.get("HORNBOOK_JOB")


@contextlib.contextmanager
def _held(file: Path, point: Point) -> Iterator[None]:
    busy = TrainingError(f"{point}: another process is training it; wait for it, or stop it")
    with contextlib.ExitStack() as held:
        for tries_left in reversed(range(_LOOKS)):
            try:
                held.enter_context(alone(file, otherwise=busy))
                break
            except TrainingError:
                if not tries_left:
                    raise
                time.sleep(_SECONDS_OF_A_LOOK)
        yield


def _events(file: Path) -> Iterator[dict[str, object]]:
    if not file.is_file():
        return
    for line in file.read_bytes().split(b"\n"):
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                yield event


def _now() -> float:
    return round(time.time(), 3)
