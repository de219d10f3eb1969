"""The thread of one model: what becomes of the others when one request cannot go on."""

import itertools
import queue

from hornbook.config.generate import GenerateConfig
from hornbook.generation.engine import BrokenRowsError
from hornbook.serving.jobs import Delta, Failure, Job, RowRequest
from hornbook.serving.sources import Token
from hornbook.serving.turns import Turns
from hornbook.serving.worker import Worker
from tiny_checkpoint import tiny_tokenizer


class Breaking:
    """Every step gives each ticket a token, the third one ends it; prompts that hold a 0 break at the second."""

    def __init__(self):
        self.rows, self.steps, self.numbers = {}, {}, itertools.count(1)

    def submit(self, job, number):
        ticket = next(self.numbers)
        self.rows[ticket], self.steps[ticket] = job.rows[number], 0
        return ticket

    def cancel(self, ticket):
        self.rows.pop(ticket, None)

    def step(self):
        broken = tuple(t for t, row in self.rows.items() if self.steps[t] == 1 and 0 in row.tokens)
        for ticket in broken:
            del self.rows[ticket]
        if broken:
            raise BrokenRowsError("its numbers are broken", broken)
        told = []
        for ticket in list(self.rows):
            self.steps[ticket] += 1
            reason = "length" if self.steps[ticket] == 3 else None
            told.append(Token(ticket, 65, -1.0, (), reason))
            if reason:
                del self.rows[ticket]
        return told


def job(*prompts):
    """A job and what it is told."""
    heard = queue.Queue()
    rows = [RowRequest(tokens, 0, frozenset()) for tokens in prompts]
    config = GenerateConfig(max_new_tokens=3)
    return Job(rows=rows, config=config, top_logprobs=0, denoising=False, tell=lambda e: [*map(heard.put, e)]), heard


def last(heard):
    """The event with which a job is over."""
    while True:
        event = heard.get(timeout=30)
        if isinstance(event, Failure) or (isinstance(event, Delta) and event.reason):
            return event


def test_a_request_that_breaks_is_lost_alone():
    made = []

    def make():
        made.append(Breaking())
        return made[-1]

    worker = Worker(tiny_tokenizer(), make, Turns(), name="tiny")
    good, bad = job([1, 2]), job([3], [0])
    for each, _ in (good, bad):
        worker.submit(each)
    assert last(bad[1]) == Failure(message="its numbers are broken")
    end = last(good[1])
    assert (end.reason, end.n_tokens) == ("length", 3)
    worker.close()
    assert len(made) == 1
    assert made[0].rows == {}
