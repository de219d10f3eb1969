"""What every request passes first and last: who may come in, and what is written down of it. An ASGI middleware."""

import asyncio
import contextlib
import ipaddress
import secrets
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hornbook.serving.metrics import Metrics
from hornbook.serving.refusals import STOPPING, Refusal, refused

OPEN = {"/", "/health", "/favicon.ico"}
"""Paths that need no key: compared as they are, so that no other spelling of a path gets by."""

_DISCARD_SECONDS, _DISCARD_BYTES = 2.0, 1 << 26

Log = Callable[[dict[str, object]], None]


class Gate:
    """Asks for the key, or without one for the right name of this machine; counts and logs every answer.

    Without a key, on an address that only this machine can reach, the Host header must name this machine: else a page
    from elsewhere could make its own name stand for this address, and then read what it likes (DNS rebinding).
    """

    def __init__(
        self, app: ASGIApp, *, key: str | None, host: str, metrics: Metrics, known_paths: frozenset[str], log: Log
    ) -> None:
        self._app = app
        self._key = None if key is None else key.encode()
        self._checks_host = key is None and is_loopback(host)
        self._metrics = metrics
        self._known = known_paths
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 499  # what is written down of a client that went away
        body = _Body(receive)

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= 400:
                    await body.discard()
            await send(message)

        refusal = self._refusal(scope)
        try:
            app = self._app if refusal is None else refused(refusal)
            await app(scope, body.receive, noting)
        except asyncio.CancelledError:  # the server stops and waits no longer; what has begun ends in its own way
            if status == 499:
                await refused(Refusal(503, STOPPING, code="stopping"))(scope, receive, noting)
        except Exception:
            status = 500  # what is outside of this answers
            raise
        finally:
            path = str(scope["path"])
            self._metrics.requests[path if path in self._known else "other", status] += 1
            client = scope.get("client")
            self._log(
                {
                    "method": scope["method"],
                    "path": path[:200],
                    "status": status,
                    "seconds": round(time.perf_counter() - started, 6),
                    "client": client[0] if client else None,
                }
            )

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if self._key is not None:
            given = headers.get(b"authorization", b"")
            scheme, _, token = given.partition(b" ")
            fits = secrets.compare_digest(token.strip(), self._key)
            if scope["path"] in OPEN or (fits and scheme.lower() == b"bearer"):
                return None
            what = "the API key is wrong" if given else "an API key is needed"
            return Refusal(401, f"{what}; send Authorization: Bearer KEY", headers={"WWW-Authenticate": "Bearer"})
        if self._checks_host and not _names_this_machine(headers.get(b"host", b"").decode("latin-1")):
            return Refusal(403, "this server answers to localhost alone; give it a key (--api-key) to use other names")
        return None


class _Body:
    """The body of a request, read as far as whoever answers it wants.

    A client that still sends when its connection is closed would find it broken, and never see why it was refused; so
    what it sends is read and thrown away for a while.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_over = False

    async def receive(self) -> Message:
        """As ASGI has it."""
        message = await self._receive()
        self._is_over = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def discard(self) -> None:
        """Read to the end, or until it is too much."""
        size = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                while not self._is_over and size < _DISCARD_BYTES:
                    size += len((await self.receive()).get("body", b""))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _names_this_machine(host: str) -> bool:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name.lower().rstrip("."))
