"""The two ways to ask for text: an order becomes one JSON object, or a stream of server-sent events."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any, TypeVar

import orjson
from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from hornbook.serving.answers import Answer, ChatForm, Object, TextForm
from hornbook.serving.bodies import Completing
from hornbook.serving.desk import Desk
from hornbook.serving.jobs import Delta, Denoised, Event, Order
from hornbook.serving.metrics import ModelMetrics
from hornbook.serving.refusals import STOPPING, Refusal, error_body

DONE = b"data: [DONE]\n\n"
GONE = Response(status_code=499)
"""What is written down of a client that went away; nobody reads it."""

T = TypeVar("T")


class Completion:
    """One request for text, from its order to its last byte."""

    def __init__(
        self,
        desk: Desk,
        order: Order,
        body: Completing,
        form: ChatForm | TextForm,
        metrics: ModelMetrics,
        seconds: float,
    ) -> None:
        """`seconds` is how long it may take."""
        self._desk = desk
        self._order = order
        self._metrics = metrics
        self._seconds = seconds
        self._started = time.perf_counter()
        self._answer = Answer(desk.served.name, prompt_tokens=order.prompt_tokens, rows=len(order.rows), form=form)
        self._with_usage = body.stream_options is not None and bool(body.stream_options.include_usage)

    async def whole(self, request: Request) -> Response:
        """The answer as one object; if the client goes away, it is given up.

        Raises:
            Refusal: if it cannot be given, or takes too long.
        """
        made = await self._unless_gone(self._make(), request)
        return GONE if made is None else Response(orjson.dumps(made), media_type="application/json")

    async def _unless_gone(self, making: Coroutine[Any, Any, T], request: Request) -> T | None:
        """What is made; None if the client went away before.

        Raises:
            Refusal: if that takes too long.
        """
        task = asyncio.ensure_future(making)
        leaving = asyncio.ensure_future(_gone(request.receive))
        try:
            await asyncio.wait({task, leaving}, timeout=self._left, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            self._metrics.cancelled += 1
            if leaving.done():
                return None
            raise Refusal(
                504, f"the answer took longer than {self._seconds:g} seconds; ask for fewer tokens", code="timeout"
            )
        finally:
            await _ended(task, leaving)

    async def _make(self) -> Object:
        async for event in self._events():
            if isinstance(event, Delta):
                self._answer.take(event)
        return self._answer.whole()

    async def stream(self, request: Request) -> Response:
        """The answer as it is made; what goes wrong before its first event is an ordinary refusal.

        Raises:
            Refusal: as `whole`.
        """
        events = self._events()
        first = await self._unless_gone(anext(events), request)
        return GONE if first is None else EventStream(self._written(first, events), self._left)

    @property
    def _left(self) -> float:
        return max(0.0, self._seconds - (time.perf_counter() - self._started))

    async def _events(self) -> AsyncGenerator[Event, None]:
        """The desk's, counted and timed."""
        first = True
        async with contextlib.aclosing(self._desk.events(self._order)) as events:
            async for event in events:
                if first:
                    first = False
                    self._metrics.prompt_tokens += self._order.prompt_tokens
                    self._metrics.first_token.observe(time.perf_counter() - self._started)
                if isinstance(event, Delta):
                    before = self._answer.choices[event.row].n_tokens
                    self._metrics.generated_tokens += event.n_tokens - before
                yield event
        self._metrics.whole.observe(time.perf_counter() - self._started)

    async def _written(self, first: Event, events: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
        """Bytes of the stream."""
        async with contextlib.aclosing(events):
            for opening in self._answer.openings():
                yield _event(opening)
            try:
                async for event in _after(first, events):
                    if (chunk := self._chunk(event)) is not None:
                        yield _event(chunk)
            except Refusal as refusal:
                yield _event(error_body(refusal.status_code, str(refusal.detail), code=refusal.code))
                return
            if self._with_usage:
                yield _event(self._answer.usage_chunk())
            yield DONE

    def _chunk(self, event: Event) -> Object | None:
        match event:
            case Delta():
                self._answer.take(event)
                return self._answer.chunk(event)
            case Denoised():
                return self._answer.denoised(event, self._desk.served.tokenizer)
            case _:
                return None


class EventStream(Response):
    """Server-sent events, until they end, the client goes away, the time is over or the server stops; then their source
    is closed."""

    media_type = "text/event-stream"

    def __init__(self, pieces: AsyncGenerator[bytes, None], seconds: float) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._pieces = pieces
        self._time = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all."""
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_gone(receive))
        ending = None
        try:
            done, _ = await asyncio.wait({sending, leaving}, timeout=self._time, return_when=asyncio.FIRST_COMPLETED)
            if sending in done:
                sending.result()
            if not done:
                ending = error_body(504, "the answer took too long and ends here", code="timeout")
        except asyncio.CancelledError:
            ending = error_body(503, STOPPING, code="stopping")
        finally:
            await _ended(sending, leaving)
            await self._pieces.aclose()
        if ending is not None:  # the client is there: it is told, if it still reads
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await send({"type": "http.response.body", "body": _event(ending), "more_body": False})

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)  # where many pieces wait, let others have the loop, and see whether the client left
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _after(first: Event, rest: AsyncIterator[Event]) -> AsyncIterator[Event]:
    yield first
    async for event in rest:
        yield event


async def _gone(receive: Receive) -> None:
    """Return when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _ended(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel what still runs and wait until it has tidied up."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _event(value: Object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"
