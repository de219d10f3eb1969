"""All routes of the server, as one application.

GET  /                  the page                GET  /v1/models, /v1/models/NAME
GET  /health            open to everybody       POST /v1/chat/completions, /v1/completions
GET  /metrics           for Prometheus          POST /tokenize, /detokenize
GET  /ui/runs ...       for the page            GET  /openapi.json
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from hornbook.config.serve import ServeConfig
from hornbook.serving.answers import ChatForm, TextForm
from hornbook.serving.bodies import ChatBody, Completing, DetokenizeBody, TextBody, TokenizeBody
from hornbook.serving.completions import Completion
from hornbook.serving.desk import Desk
from hornbook.serving.gate import Gate, Log
from hornbook.serving.jobs import Order
from hornbook.serving.metrics import Metrics, ModelMetrics
from hornbook.serving.page import chat_page
from hornbook.serving.pieces import told
from hornbook.serving.refusals import Refusal, error_body, invalid, refused
from hornbook.serving.runs import runs_router
from hornbook.serving.served_model import ServedModel
from hornbook.serving.strict_route import StrictRoute
from hornbook.serving.turns import Turns

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def make_app(
    models: Sequence[ServedModel],
    config: ServeConfig,
    *,
    runs: Path,
    key: str | None = None,
    log: Log = lambda fields: None,
    note: Callable[[str], None] = lambda line: None,
) -> FastAPI:
    """The application; its models' threads end with it.

    Args:
        models: at least one; the first serves requests that name none, if it is the only one.
        config: limits.
        runs: the folder that the page shows.
        key: what clients must send as their bearer token; None for no key.
        log: hears of every answer.
        note: hears of what people should know of a model, such as how it is decoded.

    Raises:
        GenerationError: if a model cannot be decoded as its settings say, or there is no room for its texts.
    """
    turns, metrics = Turns(), Metrics(models={served.name: ModelMetrics() for served in models})
    desks = {served.name: Desk(served, config, turns, metrics.models[served.name], note=note) for served in models}

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        for desk in desks.values():
            await asyncio.to_thread(desk.close)

    app = FastAPI(title="Hornbook", docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan)
    app.state.max_body_bytes = config.max_body_bytes
    app.router.route_class = StrictRoute
    _add_errors(app)
    _Routes(desks, config, metrics).add_to(app)
    app.include_router(runs_router(runs))
    known = frozenset(path for route in app.routes if (path := getattr(route, "path", None)))
    app.add_middleware(Gate, key=key, host=config.host, metrics=metrics, known_paths=known, log=log)
    return app


def _add_errors(app: FastAPI) -> None:
    """Whatever goes wrong is told in one form."""

    async def on_refusal(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return refused(error)

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return invalid(error.errors())

    async def on_bug(request: Request, error: Exception) -> Response:
        return JSONResponse(error_body(500, "the server failed; its log says more"), status_code=500)

    app.add_exception_handler(HTTPException, on_refusal)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(Exception, on_bug)


class _Routes:
    """What the routes need, and the routes."""

    def __init__(self, desks: dict[str, Desk], config: ServeConfig, metrics: Metrics) -> None:
        self._desks = desks
        self._config = config
        self._metrics = metrics
        self._started = time.time()

    def add_to(self, app: FastAPI) -> None:
        """Say which path is which."""
        app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)(self.page)
        app.get("/favicon.ico", include_in_schema=False)(self.icon)
        app.get("/health")(self.health)
        app.head("/health", include_in_schema=False)(self.health)
        app.get("/metrics", response_class=PlainTextResponse)(self.metrics)
        app.get("/v1/models")(self.models)
        app.get("/v1/models/{name:path}")(self.model)
        app.post("/v1/chat/completions")(self.chat)
        app.post("/v1/completions")(self.complete)
        app.post("/tokenize")(self.tokenize)
        app.post("/detokenize")(self.detokenize)

    async def page(self) -> Response:
        """The page to talk to models."""
        page = chat_page()
        return Response(page.body, headers=page.headers)

    async def icon(self) -> Response:
        """None."""
        return Response(status_code=204)

    async def health(self) -> dict[str, object]:
        """Whether the server lives."""
        return {"status": "ok", "uptime_seconds": round(time.time() - self._started, 3)}

    async def metrics(self) -> Response:
        """Counters for Prometheus."""
        gauges = [(name, desk.rows - desk.waiting, desk.waiting) for name, desk in self._desks.items()]
        return Response(self._metrics.text(gauges), headers={"Content-Type": PROMETHEUS})

    async def models(self) -> dict[str, object]:
        """All models."""
        return {"object": "list", "data": [desk.served.entry() for desk in self._desks.values()]}

    async def model(self, name: str) -> dict[str, object]:
        """One model."""
        return self._desk(name).served.entry()

    async def chat(self, request: Request, body: ChatBody) -> Response:
        """What a model answers to a conversation."""
        desk = self._desk(body.model)
        order = await desk.chat_order(body)
        form = ChatForm(desk.served.tokenizer, with_scores=bool(body.logprobs))
        return await self._complete(request, desk, order, body, form)

    async def complete(self, request: Request, body: TextBody) -> Response:
        """How a model continues prompts."""
        desk = self._desk(body.model)
        order = await desk.text_order(body)
        form = TextForm(desk.served.tokenizer, with_scores=body.logprobs is not None)
        return await self._complete(request, desk, order, body, form)

    async def _complete(
        self, request: Request, desk: Desk, order: Order, body: Completing, form: ChatForm | TextForm
    ) -> Response:
        metrics = self._metrics.models[desk.served.name]
        completion = Completion(desk, order, body, form, metrics, self._config.timeout_seconds)
        return await (completion.stream(request) if body.stream else completion.whole(request))

    async def tokenize(self, body: TokenizeBody) -> Response:
        """A text, or a conversation, as a model reads it."""
        desk = self._desk(body.model)
        made = await desk.in_reader(lambda: told(desk.ids_of(body), desk.served))
        return Response(made, media_type="application/json")

    async def detokenize(self, body: DetokenizeBody) -> dict[str, object]:
        """The text of tokens."""
        desk = self._desk(body.model)
        return {"prompt": await desk.in_reader(lambda: desk.served.tokenizer.decode(body.tokens), param="tokens")}

    def _desk(self, name: str | None) -> Desk:
        """The model of that name; without one, the only model.

        Raises:
            Refusal: with 404, if there is no such model.
        """
        if name is None and len(self._desks) == 1:
            return next(iter(self._desks.values()))
        there = ", ".join(repr(each) for each in self._desks)
        if name is None:
            raise Refusal(400, f"name a model; there are {there}", param="model", code="missing_required_parameter")
        if name not in self._desks:
            raise Refusal(
                404, f"there is no model {name[:100]!r}; there are {there}", param="model", code="model_not_found"
            )
        return self._desks[name]
