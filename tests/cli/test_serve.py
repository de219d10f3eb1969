"""`hornbook serve`: which models, who is warned, and how it ends."""

import json
import signal
import socket
import sys
import threading
import time

import httpx
import pytest

from hornbook.cli.main import main
from hornbook.config.chat import TEMPLATES
from serving.soak import serve_process
from tiny_run import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(
        tmp_path_factory.mktemp("serve"),
        chat_template=TEMPLATES["hornbook"],
        model__context_length=128,
        train__tokens_per_step=512,
    )


def failure(capsys, *arguments: object) -> str:
    assert main(["serve", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_what_cannot_be_served_is_told_at_once(capsys, monkeypatch, run, tmp_path):
    assert "name a run or checkpoint directory" in failure(capsys)
    assert "no such run" in failure(capsys, "--model", f"a={tmp_path / 'nothing'}")
    assert "two models are called 'tiny'" in failure(capsys, run, "--model", run)
    assert "serve.slots" in failure(capsys, run, "--set", "serve.slots=0")
    assert "--api-key: expected" in failure(capsys, run, "--api-key", "")
    monkeypatch.setenv("HORNBOOK_API_KEY", "two words")
    assert "HORNBOOK_API_KEY: expected" in failure(capsys, run)
    monkeypatch.delenv("HORNBOOK_API_KEY")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"serve.port = {port}: Address already in use; choose" in failure(capsys, run, "--port", port)
    assert "serve.host" in failure(capsys, run, "--host", "no such host")
    assert "not for serving" in failure(capsys, run, "--set", 'generate.strategy="beam"')
    assert "no effect" in failure(capsys, run, "--set", 'generate.diffusion.cache="dual"')
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "pip install 'hornbook[serve]'" in failure(capsys, run)


def test_the_configuration_is_printed(capsys, run):
    assert main(["serve", str(run), "--port", "81", "--model", "a=b", "--print-config=json"]) == 0
    told = json.loads(capsys.readouterr().out)["serve"]
    assert (told["port"], told["models"], told["host"]) == (81, ["a=b"], "127.0.0.1")


@pytest.mark.medium
def test_the_same_text_as_generate_and_an_end_that_waits(capsys, monkeypatch, run):
    flags = ["--seed", "11", "--max-new-tokens", "20", "--set", "run.threads=1"]
    for chat in ([], ["--chat"]):
        assert main(["generate", str(run), "--prompt", "the cat", *flags, *chat]) == 0
    plain, answer = (json.loads(line)["output"] for line in capsys.readouterr().out.splitlines())
    settings = {"seed": 11, "max_tokens": 20}
    monkeypatch.setenv("HORNBOOK_API_KEY", "open-sesame")
    key = {"Authorization": "Bearer open-sesame"}
    with serve_process(str(run), "--model", f"other={run}") as (process, url), httpx.Client(base_url=url) as client:
        assert client.get("/v1/models").status_code == 401
        client.headers.update(key)
        assert [each["id"] for each in client.get("/v1/models").json()["data"]] == ["tiny", "other"]
        body = {"model": "other", "prompt": "the cat", **settings}
        assert client.post("/v1/completions", json=body).json()["choices"][0]["text"] == plain
        body = {"model": "tiny", "messages": [{"role": "user", "content": "the cat"}], **settings}
        made = client.post("/v1/chat/completions", json=body).json()
        assert made["choices"][0]["message"]["content"] == answer
        answers: list[httpx.Response] = []
        many = {"model": "tiny", "prompt": ["the"] * 16, "max_tokens": 120}
        asking = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{url}/v1/completions", json=many, headers=key, timeout=60))
        )
        asking.start()
        while 'hornbook_running{model="tiny"} 0' in client.get("/metrics").text:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        asking.join()
        assert answers[0].status_code == 200
        assert len(answers[0].json()["choices"]) == 16


@pytest.mark.medium
def test_who_opens_the_server_to_others_without_a_key_is_warned(capfd, run):
    with serve_process(str(run), "--host", "0.0.0.0", "--set", "serve.access_log=false"):
        pass
    assert "without an API key" in capfd.readouterr().err
