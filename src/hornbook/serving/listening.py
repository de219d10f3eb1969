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

from hornbook.config.serve import ServeConfig
from hornbook.errors import HornbookError


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


def run_server(app: FastAPI, listener: socket.socket, config: ServeConfig) -> None:
    """Serve until a signal ends it."""
    _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=config.drain_seconds,
            timeout_keep_alive=65,
            h11_max_incomplete_event_size=65_536,
        )
    ).run(sockets=[listener])


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
