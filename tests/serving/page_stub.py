"""A server that speaks what the page needs of `hornbook serve`, with answers that are written beforehand.

What the user says decides what happens: to "busy", "break", "slow" and "hostile" there is an answer of that kind. Of
its three models `tales` converses one token at a time, `masks` denoises, and `base` only goes on with text.
"""

import asyncio
import contextlib
import json
import math
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from hornbook.serving.page import chat_page
from hornbook.serving.runs import runs_router

HOSTILE = '<script>window.hacked=1</script><img src=x onerror="window.hacked=2"><b>bold</b>'
ANSWER = ["Once", " there", " was", " an", " owl", " 🦉", ",", " who", " read", ".\n", "It", " was", " happy", "."]
PROBABILITIES = [0.97, 0.91, 0.99, 0.6, 0.04, 0.012, 0.8, 0.3, 0.15, 0.85, 0.5, 0.95, 0.08, 0.99]
OWL = [list(b" \xf0\x9f\xa6"), list(b"\x89")]
"""The owl of ANSWER takes two tokens."""
MASKED = ["The", " cat", " sat", " on", " the", " mat", ".", "<|end|>"]
SURE = [0.9, 0.4, 0.7, 0.95, 0.99, 0.2, 0.9, 0.99]
ORDER = [[4, 7], [3, 0], [6, 2], [1], [5]]
"""Positions of MASKED that each step fills."""
MODELS = {
    "tales": {"objective": "next_token", "decoder": "autoregressive", "parameters": 23_500_000, "chat": True},
    "masks": {"objective": "masked_diffusion", "decoder": "diffusion", "parameters": 5_100_000, "chat": True},
    "base": {"objective": "next_token", "decoder": "autoregressive", "parameters": 260_000, "chat": False},
}


class Stub:
    """The application, what it was asked, and what it shall do."""

    def __init__(self, runs: Path) -> None:
        self.asked: list[dict] = []
        self.disconnected = 0
        self.key: str | None = None
        self.gone = False
        self.app = FastAPI()
        self.app.include_router(runs_router(runs))
        self.app.middleware("http")(self.guard)
        self.app.get("/")(self.page)
        self.app.get("/v1/models")(self.models)
        self.app.post("/v1/chat/completions")(self.answer)
        self.app.post("/v1/completions")(self.answer)
        self.app.post("/tokenize")(self.tokenize)

    async def guard(self, request: Request, call_next):
        if self.gone and request.url.path != "/":
            return error("out of order", 503)
        if request.url.path != "/" and self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return error("the API key is missing or wrong", 401)
        return await call_next(request)

    async def page(self) -> Response:
        body, headers = chat_page()
        return Response(body, headers=headers)

    async def models(self) -> dict:
        more = {"context_length": 512, "vocab_size": 8192, "precision": "float32"}
        return {
            "object": "list",
            "data": [{"id": name, "object": "model", "hornbook": {**it, **more}} for name, it in MODELS.items()],
        }

    async def answer(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        said = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        if "busy" in said:
            return error("7 requests wait already", 429, {"Retry-After": "3"})
        chat = "messages" in body
        if body["model"] == "masks":
            return stream(denoising(body))
        if "hostile" in said:
            return stream(text([HOSTILE[i : i + 7] for i in range(0, len(HOSTILE), 7)], chat=chat))
        if "break" in said:
            return stream(broken(chat))
        if "slow" in said:
            return stream(self.watched(request, text([f" word{i}" for i in range(400)], chat=chat, pause=0.03)))
        return stream(
            text(ANSWER, PROBABILITIES, chat=chat, finish="length" if body.get("max_tokens") == 14 else "stop")
        )

    async def watched(self, request: Request, chunks: AsyncIterator[str]) -> AsyncIterator[str]:
        try:
            async for chunk in chunks:
                yield chunk
        except (asyncio.CancelledError, GeneratorExit):
            self.disconnected += 1
            raise

    async def tokenize(self, request: Request) -> dict:
        """Words, and letters beyond ASCII by single bytes."""
        text = (await request.json())["prompt"]
        pieces: list[dict] = []
        for word in text.replace(" ", "\0 ").split("\0"):
            raw = word.encode()
            parts = [raw] if word.isascii() else [raw[i : i + 1] for i in range(len(raw))]
            for part in filter(None, parts):
                shown = part.decode(errors="replace")
                pieces.append(
                    {"id": 100 + len(pieces), "text": shown, "bytes": list(part), "special": shown == "<|end|>"}
                )
        return {"tokens": [each["id"] for each in pieces], "pieces": pieces, "count": len(pieces), "max_model_len": 512}


def error(message: str, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": "x", "param": None, "code": None}}, status, headers)


def stream(chunks: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(chunks, media_type="text/event-stream")


def event(**fields: object) -> str:
    return f"data: {json.dumps({'id': 'x', 'object': 'chat.completion.chunk', **fields})}\n\n"


def choice(content: str, *, chat: bool = True, logprobs: object = None, finish: str | None = None) -> str:
    said = {"delta": {"content": content}} if chat else {"text": content}
    return event(choices=[{"index": 0, **said, "logprobs": logprobs, "finish_reason": finish}])


def scored(token: str, raw: list[int], p: float) -> dict:
    others = [(" dog", 0.31), (" <b>cat</b>", 0.22), (token, p)]
    top = [{"token": other, "logprob": math.log(q), "bytes": list(other.encode())} for other, q in others]
    return {
        "token": token,
        "logprob": math.log(p),
        "bytes": raw,
        "top_logprobs": sorted(top, key=lambda each: -each["logprob"]),
    }


async def text(
    words: list[str],
    probabilities: list[float] | None = None,
    *,
    chat: bool,
    pause: float = 0.002,
    finish: str = "stop",
) -> AsyncIterator[str]:
    for word, p in zip(words, probabilities or [0.5] * len(words), strict=True):
        raws = OWL if "🦉" in word else [list(word.encode())]
        tokens = [scored(bytes(raw).decode(errors="replace"), raw, p) for raw in raws]
        legacy = {
            "tokens": [each["token"] for each in tokens],
            "token_logprobs": [each["logprob"] for each in tokens],
            "top_logprobs": [{each["token"]: each["logprob"] for each in one["top_logprobs"]} for one in tokens],
        }
        yield choice(word, chat=chat, logprobs={"content": tokens} if chat else legacy)
        await asyncio.sleep(pause)
    yield choice("", chat=chat, finish=finish)
    yield event(choices=[], usage={"prompt_tokens": 5, "completion_tokens": len(words), "total_tokens": 5 + len(words)})
    yield "data: [DONE]\n\n"


async def broken(chat: bool) -> AsyncIterator[str]:
    yield choice("half an", chat=chat)
    yield event(error={"message": "the model fell over", "type": "server_error"})


async def denoising(body: dict) -> AsyncIterator[str]:
    filled: set[int] = set()
    for step, positions in enumerate(ORDER if body.get("hornbook", {}).get("denoising") else ()):
        filled |= set(positions)
        tokens = [
            {"text": word if i in filled else None, "confidence": SURE[i] if i in filled else None}
            for i, word in enumerate(MASKED)
        ]
        yield event(choices=[], hornbook={"denoise": {"block": 0, "step": step, "tokens": tokens}})
        await asyncio.sleep(0.01)
    yield choice("".join(MASKED[:-1]), finish="stop")
    yield "data: [DONE]\n\n"


@contextlib.contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The address at which the application answers, from a thread of this process."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="error", lifespan="off", ws="none", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listening.close()
