"""Running the application on an address, until the process is told to stop.

At SIGTERM, or Ctrl-C, no new connection is taken, requests that run go on for at most `drain_seconds`, and then it
ends; a second signal ends it at once.
"""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from hornbook.config.serve import ServeConfig
from hornbook.errors import HornbookError

FIRST_REQUEST_SECONDS = 30.0
"""A connection that has sent no whole request head by then is closed: it holds a descriptor of this process."""


def listen_on(config: ServeConfig) -> socket.socket:
    """A socket on the address of `[serve]`.

    Raises:
        HornbookError: if it cannot be had.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
        listener.listen()  # who comes before the server is there waits, and is not refused
    except (OSError, UnicodeError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise HornbookError(
            f"serve.host = {config.host!r}, serve.port = {config.port}: {reason}; choose another address, or port 0 "
            "for any that is free"
        ) from None
    return listener


def make_server(app: FastAPI, config: ServeConfig) -> uvicorn.Server:
    """What serves `app`, until a signal ends it, when it is run on a socket of `listen_on`."""
    return _Server(
        uvicorn.Config(
            app,
            http=_Punctual,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # or whoever is on this machine says who the client is
            timeout_graceful_shutdown=config.drain_seconds,
            timeout_keep_alive=65,
            h11_max_incomplete_event_size=65_536,
        )
    )


class _Punctual(H11Protocol):
    """Closes connections that say nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, but not for ever."""
        super().connection_made(transport)
        self._patience = self.loop.call_later(FIRST_REQUEST_SECONDS, self._end_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._patience.cancel()
        super().connection_lost(exc)

    def _end_if_silent(self) -> None:
        cycle: object = self.cycle  # None until the first request
        if cycle is None:
            self.transport.close()


class _Server(uvicorn.Server):
    """Ends as one that was told to, and not as one that a signal killed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Listen to signals meanwhile."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let requests end, and end what is left."""
        await super().shutdown(sockets)
        if self.force_exit:
            for task in (left := list(self.server_state.tasks)):
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=2.0)
            await self.lifespan.shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets requests end, the second one does not."""
        self.force_exit = self.should_exit
        self.should_exit = True
