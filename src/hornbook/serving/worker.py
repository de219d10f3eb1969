"""The thread of one model: takes jobs from the server, decodes, and tells what was drawn.

server (asyncio)  --submit, cancel-->  inbox  -->  thread: source.step -> rows -> job.tell  -->  server
"""

import sys
import threading
import traceback
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from hornbook.errors import HornbookError
from hornbook.generation.engine import BrokenRowsError
from hornbook.serving.jobs import Event, Failure, Job
from hornbook.serving.row_scores import ScoredRow
from hornbook.serving.sources import Source, Token
from hornbook.serving.turns import Turns
from hornbook.tokenizer.tokenizer import Tokenizer

INTERNAL = "the server failed while it decoded; its log says more"


@dataclass
class _Open:
    """A row that has a ticket."""

    job: Job
    row: ScoredRow


class Worker:
    """Serves the jobs of one model in a thread of its own.

    `make_source` is called at once, and again in that thread after a failure.

    Raises:
        HornbookError: if there can be no source.
    """

    def __init__(self, tokenizer: Tokenizer, make_source: Callable[[], Source], turns: Turns, *, name: str) -> None:
        self._tokenizer = tokenizer
        self._make_source = make_source
        self._turns = turns
        self._source: Source | None = make_source()
        self._open: dict[int, _Open] = {}
        self._wake = threading.Condition()
        self._inbox: list[Job] = []
        self._has_cancelled = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"decode {name}", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Decode the job's rows; from any thread."""
        with self._wake:
            self._inbox.append(job)
            self._wake.notify()

    def cancel(self, job: Job) -> None:
        """Nobody wants the rest of a job; from any thread."""
        job.cancelled = True
        with self._wake:
            self._has_cancelled = True
            self._wake.notify()

    def close(self) -> None:
        """End the thread after its present step, and wait for that; jobs that are not done are not told."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        for each in list(self._open.values()):
            each.job.cancelled = True
        self._thread.join(timeout=60)

    def _run(self) -> None:
        while self._take():
            try:
                with self._turns:
                    drawn = [] if self._source is None else self._source.step()
                self._tell(drawn)
            except BrokenRowsError as error:
                for job in {id(each.job): each.job for each in map(self._open.get, error.tickets) if each}.values():
                    self._drop(job, str(error))
            except HornbookError as error:
                self._fail(str(error))
            except Exception:  # noqa: BLE001 - whatever it is, the server goes on
                traceback.print_exc(file=sys.stderr)
                self._fail(INTERNAL)

    def _take(self) -> bool:
        """Wait for something to do, and take in what has come; false when the thread is to end."""
        with self._wake:
            while not (self._inbox or self._has_cancelled or self._open or self._closed):
                self._wake.wait()
            jobs, self._inbox = self._inbox, []
            has_cancelled, self._has_cancelled = self._has_cancelled, False
        if has_cancelled:
            for ticket in [ticket for ticket, each in self._open.items() if each.job.cancelled]:
                self._forget(ticket)
        for job in jobs:
            if not job.cancelled:
                self._begin(job)
        return not self._closed

    def _begin(self, job: Job) -> None:
        try:
            if self._source is None:
                with self._turns:
                    self._source = self._make_source()
            for number, row in enumerate(job.rows):
                ticket = self._source.submit(job, number)
                scored = ScoredRow(number, self._tokenizer, job.config.stop, row.stop_ids, row.tokens)
                self._open[ticket] = _Open(job, scored)
        except HornbookError as error:
            self._drop(job, str(error))
        except Exception:  # noqa: BLE001 - as above
            traceback.print_exc(file=sys.stderr)
            self._drop(job, INTERNAL)

    def _tell(self, drawn: list[Token]) -> None:
        told: defaultdict[int, list[Event]] = defaultdict(list)
        jobs: dict[int, Job] = {}
        for each in drawn:
            found = self._open.get(each.ticket)
            if found is None:  # a stop string ended it within the same block
                continue
            delta = found.row.push(each.token, each.logprob, each.top, each.reason)
            told[id(found.job)].append(delta)
            jobs[id(found.job)] = found.job
            if delta.reason is not None:
                if each.reason is None:
                    self._forget(each.ticket)
                else:
                    del self._open[each.ticket]
        for key, events in told.items():
            jobs[key].tell(events)

    def _forget(self, ticket: int) -> None:
        del self._open[ticket]
        if self._source is not None:
            self._source.cancel(ticket)

    def _drop(self, job: Job, message: str) -> None:
        for ticket in [ticket for ticket, each in self._open.items() if each.job is job]:
            self._forget(ticket)
        job.tell([Failure(message=message)])

    def _fail(self, message: str) -> None:
        """All that was being decoded is lost, and decoding starts anew."""
        jobs = {id(each.job): each.job for each in self._open.values()}
        self._open.clear()
        self._source = None
        for job in jobs.values():
            job.tell([Failure(message=message)])
