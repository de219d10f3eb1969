"""Where tokens come from: continuous batching of autoregressive models, one text at a time of diffusion models.

Both take rows and give tickets, and step by step tell what was drawn, so that one thread serves either.
"""

from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from hornbook.config.generate import GenerateConfig
from hornbook.config.serve import ServeConfig
from hornbook.errors import GenerationError
from hornbook.generation.backends import Span
from hornbook.generation.choice import choose_decoder
from hornbook.generation.decoder import NO_TOKEN, FinishReason, TokenChunk
from hornbook.generation.denoising import DenoiseStep
from hornbook.generation.engine import Engine, Request
from hornbook.generation.open_backend import open_backend
from hornbook.serving.jobs import Denoised, Job, RowRequest
from hornbook.serving.served_model import ServedModel
from hornbook.serving.turns import Turns


class Token(NamedTuple):
    """One more token of a ticket."""

    ticket: int
    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    reason: FinishReason | None


class Source(Protocol):
    """Rows in, tokens out. For one thread."""

    def submit(self, job: Job, number: int) -> int:
        """A ticket for row `number` of the job.

        Raises:
            GenerationError: for a row that cannot be served.
        """
        ...

    def cancel(self, ticket: int) -> None:
        """Forget it."""
        ...

    def step(self) -> list[Token]:
        """What was drawn in a step.

        Raises:
            BrokenRowsError: if some rows cannot go on, which are forgotten; the others are as before.
            GenerationError: if none can.
        """
        ...


class Batched:
    """Autoregressive rows, decoded together by an engine."""

    def __init__(self, served: ServedModel, engine: Engine) -> None:
        self._served = served
        self._engine = engine

    def submit(self, job: Job, number: int) -> int:
        """A ticket."""
        row, tokenizer = job.rows[number], self._served.tokenizer
        return self._engine.submit(
            Request(
                tokens=row.tokens,
                max_new_tokens=job.config.max_new_tokens,
                stop_ids=row.stop_ids,
                sampling=job.config,
                seed=row.seed,
                top_logprobs=job.top_logprobs,
                vocab_size=tokenizer.vocab_size,
                unused_ids=tokenizer.unused_ids,
                context_overflow=job.config.context_overflow,
            )
        )

    def cancel(self, ticket: int) -> None:
        """Free its slot."""
        self._engine.cancel(ticket)

    def step(self) -> list[Token]:
        """One token of every running row."""
        return [Token(each.ticket, each.token, each.logprob, each.top, each.reason) for each in self._engine.step()]


class OneByOne:
    """Rows of a diffusion model: each is decoded to its end, a block a step, before the next one begins."""

    def __init__(self, served: ServedModel, pause: Callable[[], None]) -> None:
        """`pause` is called between the steps of a block, where others may want the processor."""
        self._served = served
        self._pause = pause
        self._tickets = 0
        self._waiting: deque[tuple[int, Job, int]] = deque()
        self._running: _Running | None = None

    def submit(self, job: Job, number: int) -> int:
        """A ticket."""
        self._tickets += 1
        self._waiting.append((self._tickets, job, number))
        return self._tickets

    def cancel(self, ticket: int) -> None:
        """Forget it."""
        self._waiting = deque(each for each in self._waiting if each[0] != ticket)
        if self._running is not None and self._running.ticket == ticket:
            self._end()

    def step(self) -> list[Token]:
        """The tokens of the next block."""
        if self._running is None:
            if not self._waiting:
                return []
            self._running = self._begin(*self._waiting.popleft())
        running = self._running
        try:
            chunk = next(running.chunks)
        except _CancelledError:
            self._end()
            return []
        except BaseException:
            self._end()
            raise
        running.block += 1
        reason = chunk.reasons[0]
        drawn = [
            Token(running.ticket, token, logprob, (), None)
            for token, logprob in zip(chunk.tokens[0].tolist(), chunk.logprobs[0].tolist(), strict=True)
            if token != NO_TOKEN
        ]
        if reason is not None:
            self._end()
            drawn[-1] = drawn[-1]._replace(reason=reason)
        return drawn

    def _begin(self, ticket: int, job: Job, number: int) -> "_Running":
        row = job.rows[number]
        running = _Running(ticket, job, number, confidences={})

        def on_step(step: DenoiseStep) -> None:
            self._pause()
            if job.cancelled:
                raise _CancelledError
            if job.denoising:
                job.tell([running.told(step, row, job.config)])

        served = self._served
        decode = choose_decoder(job.config, served.tokenizer, served.objective, on_step=on_step)
        running.chunks = decode(
            served.model,
            [list(row.tokens)],
            max_new_tokens=job.config.max_new_tokens,
            stop_ids=row.stop_ids,
            seeds=[row.seed],
        )
        return running

    def _end(self) -> None:
        if self._running is not None:
            with closing(self._running.chunks):
                self._running = None


class _CancelledError(Exception):
    """Nobody wants the rest."""


@dataclass
class _Running:
    """The row that a diffusion model fills."""

    ticket: int
    job: Job
    number: int
    confidences: dict[int, float]
    block: int = 0
    chunks: Generator[TokenChunk, None, None] = None  # type: ignore[assignment]  # set before it is used

    def told(self, step: DenoiseStep, row: RowRequest, config: GenerateConfig) -> Denoised:
        """A step, by the positions of the answer alone."""
        self.confidences.update(zip(step.positions, step.confidences, strict=True))
        first = len(row.tokens)
        last = min(len(step.row_tokens), first + config.max_new_tokens)
        tokens = tuple(
            None if (token := step.row_tokens[at]) is None else (token, self.confidences.get(at, 1.0))
            for at in range(first, last)
        )
        return Denoised(row=self.number, block=self.block, step=step.step, tokens=tokens)


def source_of(
    served: ServedModel, config: ServeConfig, turns: Turns, note: Callable[[str], None]
) -> Callable[[], Source]:
    """Makes what decodes; called in the thread that will use it."""

    def batched() -> Source:
        length = served.context_length
        try:
            backend = open_backend(served.model, slots=config.slots, max_length=length, config=served.config, note=note)
            backend.read([Span(slot=0, start=0, tokens=[0])])  # so that the first request waits for no compiler
        except (MemoryError, RuntimeError) as error:
            raise GenerationError(
                f"there is no room for {config.slots} texts of {length} tokens beside {served.name!r} "
                f"({str(error)[:200]}); set serve.slots or serve.context_length lower"
            ) from None
        return Batched(served, Engine(backend, context_length=length))

    def one_by_one() -> Source:
        return OneByOne(served, turns.pass_on)

    return batched if served.decoder == "autoregressive" else one_by_one
