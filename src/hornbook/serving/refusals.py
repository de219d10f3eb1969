"""What a client is told that cannot be served: a status and a body in the form of OpenAI's errors.

{"error": {"message": "...", "type": "invalid_request_error", "param": "temperature", "code": null}}
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

STOPPING = "the server was told to stop, and the answer ends here; ask again when it is back"

_LONGEST = 1000
"""Characters of a message: it may quote what the client sent."""

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "timeout_error",
}
_CODES = {
    401: "invalid_api_key",
    403: "host_not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "request_too_large",
    415: "unsupported_media_type",
    500: "internal_error",
}


class Refusal(HTTPException):
    """Raised anywhere while a request is served; becomes its answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.param = param
        self.code = code


def error_body(status: int, message: str, *, param: str | None = None, code: str | None = None) -> dict[str, object]:
    """What an answer of that status says."""
    kind = _TYPES.get(status, "invalid_request_error")
    message = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}..."
    return {"error": {"message": message, "type": kind, "param": param, "code": code or _CODES.get(status)}}


def refused(error: HTTPException) -> JSONResponse:
    """The answer that an error becomes."""
    param, code = (error.param, error.code) if isinstance(error, Refusal) else (None, None)
    headers = dict(error.headers or {})
    if error.status_code >= 400:
        headers["X-Content-Type-Options"] = "nosniff"
    body = error_body(error.status_code, _message(error), param=param, code=code)
    return JSONResponse(body, status_code=error.status_code, headers=headers)


def invalid(errors: Sequence[Mapping[str, Any]]) -> JSONResponse:
    """The answer to a request whose fields are not what they should be; the first is told."""
    first = errors[0]
    param = _place(first)[:200] or None
    if first["type"] == "extra_forbidden":
        message = f"unrecognised field {json.dumps(param)}; leave it out"
    elif first["type"] == "missing":
        message = f"the field {json.dumps(param)} is missing" if param else "the body is missing"
    else:
        # Of a field that may be of several types, what each of them says.
        said = dict.fromkeys(str(each["msg"]).removeprefix("Value error, ") for each in errors if _place(each) == param)
        message = "; or: ".join([*said][:4] or [str(first["msg"]).removeprefix("Value error, ")])
        message = f"{param}: {message}" if param else message
    return JSONResponse(error_body(400, message, param=param, code=_field_code(first["type"])), status_code=400)


def _place(error: Mapping[str, Any]) -> str:
    """The field, without what pydantic calls the types that it may be of."""
    parts = [str(part) for part in error["loc"] if part != "body"]
    return ".".join(part for part in parts if not part.startswith(("constrained-", "list[")))


def _field_code(kind: str) -> str:
    return {"extra_forbidden": "unknown_parameter", "missing": "missing_required_parameter"}.get(kind, "invalid_value")


def _message(error: HTTPException) -> str:
    match error.status_code:
        case 404 if not isinstance(error, Refusal):
            return (
                "no such address; there are /v1/models, /v1/chat/completions, /v1/completions, /tokenize, /detokenize"
            )
        case 405 if not isinstance(error, Refusal):
            return "this address does not serve that method"
        case _:
            return str(error.detail)
