"""What keeps the server alive: keys, limits, time-outs, full queues, and clients that go away."""

import dataclasses
import json
import re
import socket
import threading
import time

import httpx
import pytest

from hornbook.config.generate import DenoisingConfig, GenerateConfig
from hornbook.config.serve import ServeConfig
from hornbook.serving.desk import Desk
from hornbook.serving.listening import listen_on
from hornbook.serving.metrics import ModelMetrics
from hornbook.serving.served_model import fitting
from hornbook.serving.sources import Batched
from hornbook.serving.turns import Turns
from tiny_server import served, serving

LONG = {"prompt": "the", "max_tokens": 60, "temperature": 0}


def error(answer: httpx.Response) -> dict:
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    return answer.json()["error"]


@pytest.fixture
def gate(monkeypatch):
    """Decoding waits for it at every step."""
    open_ = threading.Event()
    step = Batched.step

    def gated(self):
        open_.wait(timeout=30)
        return step(self)

    monkeypatch.setattr(Batched, "step", gated)
    yield open_
    open_.set()


def until(true, seconds=20.0):
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)


def gauges(url: str) -> dict[str, int]:
    text = httpx.get(f"{url}/metrics").text
    return {name: int(n) for name, n in re.findall(r'^hornbook_(running|waiting){model="tiny"} (\d+)$', text, re.M)}


def test_a_key_opens_all_but_the_page_and_health():
    with serving(served(), key="open-sesame") as url, httpx.Client(base_url=url) as client:
        assert client.get("/health").status_code == 200
        page = client.get("/")
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        for path in ("/v1/models", "/metrics", "/ui/runs", "/openapi.json", "//v1/models", "/health/", "/nowhere"):
            answer = client.get(url + path)
            assert answer.status_code == 401, path
            assert error(answer)["code"] == "invalid_api_key"
        for wrong in ("open-sesam", "open-sesame-", "OPEN-SESAME"):
            assert client.get("/v1/models", headers={"Authorization": f"Bearer {wrong}"}).status_code == 401
        assert client.get("/v1/models", headers={"Authorization": "Basic open-sesame"}).status_code == 401
        right = {"Authorization": "Bearer open-sesame"}
        assert client.get("/v1/models", headers=right).status_code == 200
        assert client.post("/v1/completions", json=LONG, headers=right).status_code == 200
        assert client.get("/v1/models", headers={**right, "Host": "elsewhere.example"}).status_code == 200


def test_the_wrong_way_in_is_told_in_the_same_form():
    with serving(served(), max_body_bytes=2000) as url, httpx.Client(base_url=url) as client:
        as_json = {"Content-Type": "application/json"}
        assert error(client.get("/v1/nothing"))["code"] == "not_found"
        assert client.get("/v1/completions").status_code == 405
        assert error(client.post("/health"))["code"] == "method_not_allowed"
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
            answer = client.post("/v1/completions", content=json.dumps(LONG), headers={"Content-Type": kind})
            assert (answer.status_code, error(answer)["code"]) == (415, "unsupported_media_type")
        long = json.dumps({**LONG, "prompt": "a" * 3000})
        answer = client.post("/v1/completions", content=long, headers=as_json)
        assert (answer.status_code, error(answer)["code"]) == (413, "request_too_large")
        pieces = (long[i : i + 500].encode() for i in range(0, len(long), 500))  # of a length that nobody said
        assert client.post("/v1/completions", content=pieces, headers=as_json).status_code == 413
        for broken in (b"{", b'{"prompt": NaN}', b'{"prompt": "\xff"}', b"[" * 1900, b"", b"null", b'"\\ud800"'):
            answer = client.post("/v1/completions", content=broken, headers=as_json)
            assert answer.status_code == 400, broken
            error(answer)
        assert client.post("/v1/completions", json={**LONG, "max_tokens": 10**30}).status_code == 400
        strange = client.get("/v1/models", headers={"Host": "elsewhere.example"})
        assert (strange.status_code, error(strange)["code"]) == (403, "host_not_allowed")
        assert client.get("/v1/models", headers={"Host": "localhost:1"}).status_code == 200
        assert client.get("/ui/runs/x/curves?points=1").status_code == 400


def test_fields_without_end_are_refused_together():
    with serving(served()) as url:
        answer = httpx.post(f"{url}/v1/completions", json={**LONG, **{f"k{i}": 1 for i in range(5000)}})
    assert (answer.status_code, error(answer)["code"]) == (400, "unknown_parameter")
    assert error(answer)["message"].startswith("the body has 5003 fields")


def test_a_full_queue_answers_429_and_says_when_to_come_back(gate):
    with serving(served(), slots=2, queue=1) as url, httpx.Client(base_url=url, timeout=30) as client:
        answers: list[httpx.Response] = []
        threads = [
            threading.Thread(target=lambda: answers.append(httpx.post(f"{url}/v1/completions", json=LONG, timeout=30)))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        until(lambda: gauges(url) == {"running": 2, "waiting": 1})
        refused = client.post("/v1/completions", json=LONG)
        assert (refused.status_code, error(refused)["code"]) == (429, "queue_full")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert client.post("/v1/completions", json={**LONG, "stream": True}).status_code == 429
        never = client.post("/v1/completions", json={**LONG, "n": 4})  # for which there will never be room
        assert (never.status_code, error(never)["param"]) == (400, "n")
        gate.set()
        for thread in threads:
            thread.join(timeout=30)
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert len({answer.json()["choices"][0]["text"] for answer in answers}) == 1
        assert gauges(url) == {"running": 0, "waiting": 0}


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_slot(gate, stream):
    with serving(served(), slots=1, queue=0) as url:
        host, port = url.removeprefix("http://").split(":")
        body = json.dumps({**LONG, "stream": stream}).encode()
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            until(lambda: gauges(url)["running"] == 1)
        until(lambda: gauges(url)["running"] == 0)
        gate.set()
        assert httpx.post(f"{url}/v1/completions", json=LONG, timeout=30).status_code == 200


def test_a_request_that_takes_too_long_is_ended(gate):
    with serving(served(), timeout_seconds=0.2) as url:
        for stream in (False, True):
            late = httpx.post(f"{url}/v1/completions", json={**LONG, "stream": stream}, timeout=30)
            assert (late.status_code, error(late)["code"]) == (504, "timeout")
        until(lambda: gauges(url)["running"] == 0)
        gate.set()


def test_a_stream_that_takes_too_long_ends_with_the_reason(monkeypatch):
    step = Batched.step

    def slow(self):
        time.sleep(0.05)
        return step(self)

    monkeypatch.setattr(Batched, "step", slow)
    with serving(served(), timeout_seconds=0.4) as url:
        answer = httpx.post(f"{url}/v1/completions", json={**LONG, "stream": True}, timeout=30)
        events = answer.text.strip().split("\n\n")
        assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "timeout"
        until(lambda: gauges(url)["running"] == 0)


def test_a_failure_while_decoding_is_one_500_and_the_server_goes_on(monkeypatch, capsys):
    step = Batched.step
    failures = iter([RuntimeError("a bug of ours"), None])

    def failing(self):
        failure = next(failures, None)
        if failure is not None:
            raise failure
        return step(self)

    monkeypatch.setattr(Batched, "step", failing)
    with serving(served()) as url:
        answer = httpx.post(f"{url}/v1/completions", json=LONG, timeout=30)
        assert (answer.status_code, error(answer)["type"]) == (500, "server_error")
        assert "a bug of ours" not in answer.text
        assert httpx.post(f"{url}/v1/completions", json=LONG, timeout=30).status_code == 200
    assert "a bug of ours" in capsys.readouterr().err


def test_prompts_are_as_long_as_the_settings_say():
    short, sliding = (
        dataclasses.replace(served(), longest=20),
        dataclasses.replace(
            served(), name="sliding", config=GenerateConfig(context_overflow="slide", max_new_tokens=4)
        ),
    )
    ids = [1] * 21
    with serving(short, sliding) as url, httpx.Client(base_url=url) as client:
        assert client.get("/v1/models/tiny").json()["hornbook"]["context_length"] == 20
        answer = client.post("/v1/completions", json={"model": "tiny", "prompt": ids})
        assert (answer.status_code, error(answer)["code"]) == (400, "context_length_exceeded")
        made = client.post("/v1/completions", json={"model": "tiny", "prompt": ids[1:], "max_tokens": 9}).json()
        assert (made["usage"]["completion_tokens"], made["choices"][0]["finish_reason"]) in ((1, "length"), (1, "stop"))
        assert client.post("/v1/completions", json={"model": "sliding", "prompt": ids * 20}).status_code == 200
    with serving(sliding, max_prompt_tokens=20) as url:
        answer = httpx.post(f"{url}/v1/completions", json={"prompt": ids})
        assert error(answer)["message"].startswith("the prompt has 21 tokens, and 'sliding' takes at most 20")


def test_settings_of_one_kind_are_left_out_for_models_of_the_other():
    mixed = GenerateConfig(precision="bfloat16", top_k=3, diffusion=DenoisingConfig(block_length=4))
    for kind in ("next_token", "masked_diffusion"):
        own = fitting(mixed, {"kind": kind})
        assert own.top_k == 3
        assert own.precision == ("bfloat16" if kind == "next_token" else "float32")
        assert own.diffusion.block_length == (None if kind == "next_token" else 4)


def test_a_long_text_to_tokenise_holds_up_nobody(monkeypatch):
    begun, goes_on = threading.Event(), threading.Event()

    def slow(self, body):
        begun.set()
        goes_on.wait(timeout=30)
        return [1, 1, 2]

    monkeypatch.setattr(Desk, "ids_of", slow)
    with serving(served()) as url:
        found: list[httpx.Response] = []
        thread = threading.Thread(target=lambda: found.append(httpx.post(f"{url}/tokenize", json={"prompt": "a"})))
        thread.start()
        assert begun.wait(timeout=30)
        assert httpx.get(f"{url}/health", timeout=2).status_code == 200
        goes_on.set()
        thread.join(timeout=30)
    assert [piece["id"] for piece in found[0].json()["pieces"]] == [1, 1, 2]


def test_metrics_count_what_was_done():
    with serving(served()) as url:
        made = httpx.post(f"{url}/v1/completions", json=LONG).json()["usage"]
        httpx.get(f"{url}/some/path/of/a/stranger")
        text = httpx.get(f"{url}/metrics").text
    assert 'hornbook_requests_total{path="/v1/completions",status="200"} 1\n' in text
    assert 'hornbook_requests_total{path="other",status="404"} 1\n' in text
    assert f'hornbook_generated_tokens_total{{model="tiny"}} {made["completion_tokens"]}\n' in text
    assert f'hornbook_prompt_tokens_total{{model="tiny"}} {made["prompt_tokens"]}\n' in text
    assert 'hornbook_whole_seconds_bucket{model="tiny",le="+Inf"} 1\n' in text
    for line in text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) .+|[a-z_]+\{([a-z]+="[^"]*",?)*\} [0-9.e+-]+', line), line


def test_who_connects_before_the_server_is_ready_waits():
    with listen_on(ServeConfig(port=0)) as listener:
        socket.create_connection(listener.getsockname(), timeout=5).close()


def test_who_is_told_to_wait_waits_for_a_mean_request():
    metrics = ModelMetrics()
    assert metrics.seconds_to_wait(5, 2) == 3
    for _ in range(4):
        metrics.whole.observe(8.0)
    assert metrics.seconds_to_wait(3, 4) == 8
    assert metrics.seconds_to_wait(1000, 1) == 60


def test_turns_are_taken_in_the_order_of_asking():
    turns, order = Turns(), []

    def take(name, ready):
        ready.set()
        with turns:
            order.append(name)

    threads = []
    with turns:
        for name in range(4):
            ready = threading.Event()
            threads.append(threading.Thread(target=take, args=(name, ready)))
            threads[-1].start()
            ready.wait()
            until(lambda name=name: len(turns._queue) == name + 2)
        turns.pass_on()
        order.append("me")
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, "me"]


def test_a_connection_that_says_nothing_is_closed(monkeypatch):
    monkeypatch.setattr("hornbook.serving.listening.FIRST_REQUEST_SECONDS", 0.5)
    with serving(served()) as url, httpx.Client(base_url=url) as speaking:
        assert speaking.get("/health").status_code == 200
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        for said in (b"", b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"):
            with socket.create_connection(address, timeout=20) as silent:
                silent.sendall(said)
                assert silent.recv(100) == b""
        assert speaking.get("/health").status_code == 200
