"""Requests that nobody in their right mind sends: bodies made from the OpenAPI schema, broken, and sent astray."""

import copy
import json
import random
import string
from typing import Any, NamedTuple

STRANGE = [
    None, True, False, 0, -1, 1, 2, 1e308, -1e308, 0.5, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**40, "", "a", "null",
    "\x00", "é🦉", "\u202e", "<|end|>", "<script>", "../../etc/passwd", "%00", "\ufffe", [], [[]], {}, [None],
    {"": None},
    {"type": "text"}, {"type": "text", "text": "x"}, ["a", 1], [1, 2], [[1], ["a"]], [-1], [10**9], [2**64],
]  # fmt: skip
RAW = [
    b"", b"{", b"}", b"null", b"true", b"0", b'"text"', b"[]", b"{}", b"NaN", b'{"prompt": Infinity}', b"\xff\xfe\x00",
    b'{"prompt": "\xc3\x28"}', b'{"prompt": "\\ud800"}', b'{"prompt": 1e999}', b'{"prompt": "a", "prompt": 1}',
    b"[" * 100_000, b'{"a":' * 50_000, b'{"prompt":' + b"[" * 900 + b"]" * 900 + b"}", b"\x00" * 1000,
    b"\xef\xbb\xbf{}",
    b'{"prompt": ' + b"9" * 5000 + b"}", b'{"prompt": [' + b"1," * 20_000 + b"1]}",
    b'{"prompt": [' + b'"",' * 20_000 + b"1]}",
    b'{"tokens": [' + b"1.5," * 20_000 + b"1]}", b'{"messages": [' + b"{}," * 20_000 + b"{}]}", b'{"prompt": "a"} {}',
    b'{"prompt": "' + b"ab " * 100_000 + b'"}', b'{"' + b"k" * 100_000 + b'": 1}',
    b'{"temperature": -0.0, "prompt": "a"}',
    b'{"prompt": "a", "top_p": 1e-320, "max_tokens": 2}', b'{"prompt": "a", "temperature": 1e-320, "max_tokens": 2}',
]  # fmt: skip
PATHS = [
    "/", "/..", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/v1", "/v1/", "//", "/v1//models", "/v1/models/",
    "/v1/models/../..", "/v1/models/%00", "/v1/models/" + "a" * 5000, "/v1/models/%ff%fe", "/ui/runs/..%2f..%2fetc",
    "/ui/runs/../curves", "/ui/runs/%00/curves", "/ui/runs/x/curves?points=-1", "/ui/runs/x/curves?points=1e9",
    "/ui/runs/" + "b" * 300 + "/curves", "/docs", "/redoc", "/static/x", "/metrics?x=%00", "/health?" + "q=1&" * 500,
    "/tokenize/", "/v1/chat/completions/", "/v1/embeddings", "/openapi.json",
]  # fmt: skip
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW"]
TYPES = [
    "application/json",
    "application/json; charset=latin-1",
    "text/plain",
    "multipart/form-data",
    "x",
    "application/xml",
]


class Wild(NamedTuple):
    """A request."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]


class Fuzzer:
    """Makes requests from a schema, the same ones for the same seed."""

    def __init__(self, schema: dict[str, Any], models: list[str], seed: int) -> None:
        self._random = random.Random(seed)
        self._schema = schema
        self._models = models
        self._posts = {
            path: each["post"]["requestBody"]["content"]["application/json"]["schema"]
            for path, each in schema["paths"].items()
            if "post" in each
        }
        assert len(self._posts) == 4

    def request(self) -> Wild:
        """One more."""
        kind = self._random.random()
        as_json = {"Content-Type": "application/json"}
        if kind < 0.08:
            method = self._random.choice(METHODS)
            return Wild(method, self._random.choice([*PATHS, *self._posts]), b"{}" if method != "GET" else b"", as_json)
        path = self._random.choice(list(self._posts))
        if kind < 0.2:
            return Wild("POST", path, self._random.choice(RAW), {"Content-Type": self._random.choice(TYPES)})
        body = copy.deepcopy(self._object(self._posts[path], 0))  # or a strange value would come to hold itself
        if isinstance(body, dict):
            body = self._sane(path, body) if self._random.random() < 0.6 else body
            for _ in range(self._random.choice([0, 0, 0, 1, 2])):
                name = self._random.choice([*body, "extra", "__proto__", "self"])
                body[name] = copy.deepcopy(self._random.choice(STRANGE))
        data = json.dumps(body).encode()
        if self._random.random() < 0.05:
            at = self._random.randrange(len(data))
            data = data[:at] + self._random.randbytes(3) + data[at + 1 :]
        return Wild("POST", path, data, as_json)

    def _sane(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Of a model that there is, and without the fields that are refused anyway, so that it gets further."""
        refused = (
            "tools",
            "functions",
            "logit_bias",
            "response_format",
            "echo",
            "suffix",
            "best_of",
            "audio",
            "modalities",
            "frequency_penalty",
            "presence_penalty",
        )
        kept = {name: value for name, value in body.items() if name not in refused}
        if self._random.random() < 0.5:
            kept = {name: kept[name] for name in ("prompt", "messages", "tokens", "stream", "n") if name in kept}
        kept |= {"model": self._random.choice(self._models)}
        if path == "/tokenize":
            kept |= {self._random.choice(["prompt", "messages"]): self._text()}
        if path.startswith("/v1"):
            kept |= {"max_tokens": self._random.choice([1, 3, 50])}
        if "messages" in kept and self._random.random() < 0.7:
            kept["messages"] = [{"role": "user", "content": self._text()}]
        return kept

    def _object(self, schema: dict[str, Any], depth: int) -> Any:
        if "$ref" in schema:
            return self._object(self._schema["components"]["schemas"][schema["$ref"].rpartition("/")[2]], depth)
        if self._random.random() < 0.03:
            return self._random.choice(STRANGE)
        if "anyOf" in schema:
            return self._object(self._random.choice(schema["anyOf"]), depth)
        if "enum" in schema:
            return self._random.choice(schema["enum"])
        if "const" in schema:
            return schema["const"]
        match schema.get("type"):
            case "object":
                required = schema.get("required", ())
                chosen = {
                    name: each
                    for name, each in schema.get("properties", {}).items()
                    if name in required or self._random.random() < 0.12
                }
                return {name: self._object(each, depth + 1) for name, each in chosen.items()}
            case "array":
                return [
                    self._object(schema.get("items", {}), depth + 1)
                    for _ in range(self._random.choice([0, 1, 1, 2, 5]))
                ]
            case "string":
                return self._text()
            case "integer":
                return self._random.choice([0, 1, 2, 5, 20, 100, -1, 2**40])
            case "number":
                return self._random.choice([0, 0.0, 1e-9, 0.3, 1, 1.0, 1.7, 50.0, 1e30, -0.5])
            case "boolean":
                return self._random.random() < 0.5
            case "null":
                return None
            case _:
                return self._random.choice(STRANGE)

    def _text(self) -> str:
        letters = string.printable + "éß🦉\u0000\u202e"
        return "".join(self._random.choices(letters, k=self._random.choice([0, 1, 3, 10, 60, 400])))
