"""Continuous batching: requests come and go while others are decoded, each as if it were alone.

    submit -> waiting -> a free slot -> prefill, a chunk a step -> one token a step -> end: the slot is free

Exactness: in float32 a request's tokens depend on its prompt, seed and settings alone. A backend reads every span as if
it were alone; a prompt is always cut at multiples of `prefill_chunk` from position 0, never by who else is there; and
what earlier requests left in a slot is used again only in whole chunks that were read as chunks. So the numbers are
those that the request would have computed itself, bit for bit.
"""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int64

from hornbook.config.generate import SamplingConfig
from hornbook.errors import GenerationError
from hornbook.generation.backends import Backend, Span
from hornbook.generation.decoder import FinishReason
from hornbook.generation.draw import draw_known, likeliest
from hornbook.generation.filters import DROPPED, broken_logits
from hornbook.generation.noise import uniform
from hornbook.generation.rows import ContextOverflow, Row, admit

PREFILL_CHUNK = 64
"""Tokens of a prompt that are read at once: enough to be limited by arithmetic, few enough not to hold up others."""
PREFILL_TOKENS = 256
"""Tokens of all prompts that one step reads, so that rows that are running do not wait for many prompts at once."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A text to continue, and how."""

    tokens: Sequence[int]
    max_new_tokens: int
    stop_ids: frozenset[int]
    sampling: SamplingConfig
    """Its own seed is not read."""
    seed: int
    top_logprobs: int = 0
    """With each token, so many of the likeliest ones."""
    vocab_size: int | None = None
    """The tokenizer's; ids from there on are never drawn."""
    unused_ids: Collection[int] = ()
    """Nor are these."""
    context_overflow: ContextOverflow = "stop"


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One new token of one request."""

    ticket: int
    token: int
    logprob: float
    """In nats, under the model itself, before any filter."""
    top: tuple[tuple[int, float], ...]
    """(id, log-probability) of the likeliest tokens that may be drawn, likeliest first."""
    reason: FinishReason | None
    """Why the request ends with this token; then its slot is free."""


class BrokenRowsError(GenerationError):
    """The logits of some requests are not finite; `tickets` names them."""

    def __init__(self, message: str, tickets: tuple[int, ...]) -> None:
        super().__init__(message)
        self.tickets = tickets


class Engine:
    """Requests on one backend. Not for several threads at once.

    A step reads prompts in the order of their arrival, up to PREFILL_TOKENS of them, and one token of every other row.
    """

    def __init__(
        self, backend: Backend, *, context_length: int | None = None, prefill_chunk: int = PREFILL_CHUNK
    ) -> None:
        """`context_length` is the model's (default: backend.max_length), by which the context rules of `rows` go."""
        self.backend = backend
        self.context_length = backend.max_length if context_length is None else context_length
        self._chunk = prefill_chunk
        self._slots = [_Slot(number) for number in range(backend.slots)]
        self._waiting: deque[_Job] = deque()
        self._tickets = 0
        self._clock = 0
        self.tokens_read = 0
        """Since the start; what was found in a slot is not read."""

    @property
    def active(self) -> int:
        """Requests that have a slot."""
        return sum(slot.job is not None for slot in self._slots)

    @property
    def waiting(self) -> int:
        """Requests that wait for one."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        return bool(self._waiting) or any(slot.job is not None for slot in self._slots)

    def submit(self, request: Request) -> int:
        """A ticket for the request, which waits until a slot is free.

        Raises:
            GenerationError: for a prompt that cannot be served (see `rows`), or is longer than a slot.
        """
        [row] = admit(
            [request.tokens],
            [request.seed],
            context_length=self.context_length,
            vocab_size=self.backend.vocab_size,
            max_new_tokens=request.max_new_tokens,
            overflow=request.context_overflow,
        )
        longest = min(self.context_length, len(row.tokens) - row.start + row.limit - 1)
        if longest > self.backend.max_length:
            raise GenerationError(
                f"the prompt and its continuation have {longest} tokens, a slot of the backend holds "
                f"{self.backend.max_length}; shorten them"
            )
        self._tickets += 1
        self._waiting.append(_Job(self._tickets, request, row, self.backend.vocab_size))
        return self._tickets

    def cancel(self, ticket: int) -> None:
        """Forget a request and free its slot at once; of one that is over, nothing happens."""
        for slot in self._slots:
            if slot.job is not None and slot.job.ticket == ticket:
                slot.job = None
        self._waiting = deque(job for job in self._waiting if job.ticket != ticket)

    def step(self) -> list[Drawn]:
        """Admit who waits, read a chunk of each prompt and the last token of all others, and draw what follows.

        Raises:
            BrokenRowsError: for logits that are not finite. Those requests are cancelled, the others are as before.
        """
        self._clock += 1
        self._admit()
        active, spans = self._to_read()
        if not active:
            return []
        logits = self.backend.read(spans).numpy(force=True)
        drawn: list[Drawn | None] = []
        broken: list[int] = []
        for (_, job), span, own in zip(active, spans, logits, strict=True):
            try:
                drawn.append(job.draw(own) if len(span.tokens) == len(job.row.pending) else None)
            except GenerationError:
                broken.append(job.ticket)
        if broken:
            for ticket in broken:
                self.cancel(ticket)
            raise BrokenRowsError(str(broken_logits()), tuple(broken))
        return self._advance(active, spans, drawn)

    def _to_read(self) -> "tuple[list[tuple[_Slot, _Job]], list[Span]]":
        """Rows in the order of their arrival, and what is read of each now."""
        active, spans, prefilled = [], [], 0
        jobs = [(slot, slot.job) for slot in self._slots if slot.job is not None]
        for slot, job in sorted(jobs, key=lambda pair: pair[1].ticket):
            span = slot.next_span(job.row, self._chunk)
            if len(span.tokens) > 1:
                if prefilled and prefilled + len(span.tokens) > PREFILL_TOKENS:
                    continue
                prefilled += len(span.tokens)
            active.append((slot, job))
            spans.append(span)
        return active, spans

    def _advance(self, active: "list[tuple[_Slot, _Job]]", spans: list[Span], drawn: list[Drawn | None]) -> list[Drawn]:
        """Every request goes on by what was read and drawn."""
        told = []
        for (slot, job), span, one in zip(active, spans, drawn, strict=True):
            slot.last_used = self._clock
            self.tokens_read += len(span.tokens)
            slot.note_read(span, self._chunk)
            job.row.cached += len(span.tokens)
            if one is None:
                continue
            reason = job.take(one.token, self.context_length)
            if reason is not None:
                slot.job = None
            told.append(one if reason is None else replace(one, reason=reason))
        return told

    def _admit(self) -> None:
        while self._waiting:
            free = [slot for slot in self._slots if slot.job is None]
            if not free:
                return
            job = self._waiting.popleft()
            window = job.row.window
            source, known = max(
                ((slot, slot.shared(window, self._chunk)) for slot in self._slots), key=lambda found: found[1]
            )
            # Its own slot, unless that would throw away most of what another conversation will want again.
            stays = source.job is None and 2 * known >= len(source.prefilled)
            target = source if stays else min(free, key=lambda slot: (len(slot.prefilled) > 0, slot.last_used))
            if target is not source and known:
                self.backend.copy(source.number, target.number, known)
            target.prefilled = window[:known]
            target.job = job
            job.row.cached = known


@dataclass
class _Slot:
    """A row of the backend's cache, who has it, and what it holds that another may use."""

    number: int
    job: "_Job | None" = None
    prefilled: list[int] = field(default_factory=list)
    """Tokens from position 0 on, in whole chunks, each read as a chunk."""
    last_used: int = 0

    def next_span(self, row: Row, chunk: int) -> Span:
        """The rest of the chunk, or of the window, from what is cached on."""
        first = row.start + row.cached
        below = min(len(row.tokens), row.start + (row.cached // chunk + 1) * chunk)
        return Span(slot=self.number, start=row.cached, tokens=row.tokens[first:below])

    def note_read(self, span: Span, chunk: int) -> None:
        """Keep in mind what was read, if it is a whole chunk after whole chunks."""
        if span.start < len(self.prefilled):  # a window that slid
            self.prefilled = self.prefilled[: span.start // chunk * chunk]
        if len(span.tokens) == chunk and span.start == len(self.prefilled):
            self.prefilled.extend(span.tokens)

    def shared(self, window: list[int], chunk: int) -> int:
        """How many tokens of `window`, in whole chunks, lie here; one at least is left to read."""
        most = min(len(self.prefilled), (len(window) - 1) // chunk * chunk)
        for first in range(0, most, chunk):
            if self.prefilled[first : first + chunk] != window[first : first + chunk]:
                return first
        return most


class _Job:
    """A request while it is decoded."""

    def __init__(self, ticket: int, request: Request, row: Row, vocab_size: int) -> None:
        self.ticket = ticket
        self.row = row
        self._request = request
        self._n_ids = vocab_size if request.vocab_size is None else request.vocab_size
        self._unused: Int64[np.ndarray, " n"] | None = None
        if request.unused_ids:
            self._unused = np.array(sorted(i for i in request.unused_ids if i < self._n_ids), dtype=np.int64)
        self._seen: Bool[np.ndarray, " v"] | None = None
        if request.sampling.repetition_penalty != 1.0:
            self._seen = np.zeros(vocab_size, dtype=np.bool_)
            self._seen[row.tokens] = True

    def draw(self, logits: Float[np.ndarray, " v"]) -> Drawn:
        """The token that follows; nothing changes.

        Raises:
            GenerationError: if the logits hold NaN or +inf, or nothing finite that may be drawn.
        """
        request, sampling = self._request, self._request.sampling
        known = logits[: self._n_ids]
        if self._unused is not None:
            known = known.copy()
            known[self._unused] = DROPPED
        noise = uniform(request.seed, len(self.row.tokens)) if sampling.temperature > 0.0 else 0.0
        token, scale = draw_known(logits, known, self._seen, noise, sampling)
        top = likeliest(known, request.top_logprobs) if request.top_logprobs else ()
        return Drawn(
            ticket=self.ticket,
            token=token,
            logprob=float(logits[token]) - scale,
            top=tuple((int(i), float(known[i]) - scale) for i in top if known[i] > DROPPED),
            reason=None,
        )

    def take(self, token: int, context_length: int) -> FinishReason | None:
        """Append the token; why the request ends, if it does."""
        if self._seen is not None:
            self._seen[token] = True
        self.row.append(token, stop=token in self._request.stop_ids, context_length=context_length)
        return self.row.reason
