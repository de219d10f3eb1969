"""How bodies are read: JSON alone, of a limited size, within a limited time, and in its strict form."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute

from hornbook.serving.refusals import Refusal

READ_SECONDS = 60.0
"""A body that takes longer to arrive is given up."""
MOST_FIELDS = 1000
"""Of a body; each one that is not known would be an error of its own, and a million of them take seconds to list."""


class StrictRequest(Request):
    """A request whose body is refused where it is not what it must be, while it is read."""

    async def body(self) -> bytes:
        """All of it.

        Raises:
            Refusal: if it is too long, too slow, or of another type than JSON.
        """
        if not hasattr(self, "_body"):
            kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
            if self.method not in ("GET", "HEAD") and kind != "application/json":
                # A browser sends other types across sites without asking, so this keeps strange pages out as well.
                raise Refusal(
                    415, f"the body is of type {kind[:100]!r}; send JSON, with Content-Type: application/json"
                )
            try:
                async with asyncio.timeout(READ_SECONDS):
                    self._body = await self._read(self.app.state.max_body_bytes)
            except TimeoutError:
                raise Refusal(408, "the body did not arrive in time", headers={"Connection": "close"}) from None
        return self._body

    async def _read(self, most: int) -> bytes:
        length = self.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > most:
            raise _too_long(most)
        parts, size = [], 0
        async for part in self.stream():
            size += len(part)
            if size > most:
                raise _too_long(most)
            parts.append(part)
        return b"".join(parts)

    async def json(self) -> Any:
        """The body as an object: no NaN, no invalid UTF-8, no nesting without end.

        Raises:
            Refusal: if it is no JSON, or has too many fields.
        """
        if not hasattr(self, "_json"):
            try:
                self._json = orjson.loads(await self.body())
            except orjson.JSONDecodeError as error:
                message = f"the body is no JSON: {str(error)[:200]}"
                raise Refusal(400, message, code="invalid_json") from None
            if isinstance(self._json, dict) and len(self._json) > MOST_FIELDS:
                message = f"the body has {len(self._json)} fields, far more than there are"
                raise Refusal(400, message, code="unknown_parameter")
        return self._json


class StrictRoute(APIRoute):
    """A route whose requests are strict."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's, with such a request."""
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strictly


def _too_long(most: int) -> Refusal:
    # The rest of the body is not read, so that the connection cannot be used again.
    return Refusal(413, f"the body has more than {most} bytes, the most that is read", headers={"Connection": "close"})
