"""Many clients for a while: every text that is finished is the one that a request alone gets, and nothing leaks."""

import asyncio
import itertools
import json
import signal
import time
from statistics import median

import httpx
import pytest

from hornbook.api import load
from hornbook.config.generate import GenerateConfig
from hornbook.generation.text import generate_text
from serving.soak import Request, serve_process, soak
from tiny_run import make_run

PROMPTS = ["the", "a small cat", "the dog likes a house. but now the old bird finds a tree and takes it so " * 2, "x"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("soak"), model__context_length=128, train__tokens_per_step=512)


def alone(run, **settings: str) -> dict[Request, str]:
    """What each request gets that is served by itself."""
    model = load(run)
    texts = {}
    for prompt, seed, limit in itertools.product(PROMPTS, range(6), (3, 17, 60)):
        config = GenerateConfig.model_validate({"max_new_tokens": limit, **settings})
        [made] = generate_text(model.model, model.tokenizer, [prompt], config, seeds=[seed])
        texts[prompt, seed, limit] = made.text
    return texts


@pytest.mark.medium
def test_texts_do_not_depend_on_company_for_some_seconds(run, capfd):
    wanted = alone(run)
    with serve_process("--model", f"tiny={run}", "--slots", "4", "--set", "serve.queue=4") as (process, url):
        found = asyncio.run(soak(url, process.pid, wanted, clients=10, seconds=3, seed=1))
    assert found.errors == []
    assert set(found.statuses) <= {200, 429}
    assert found.equal == found.finished > 0
    assert capfd.readouterr().err == ""


def endless_prompt(run) -> str:
    """One that is continued for ever, greedily."""
    model, config = load(run), GenerateConfig(max_new_tokens=700, temperature=0, context_overflow="slide")
    made = generate_text(model.model, model.tokenizer, [*PROMPTS, "a", "cat", "tree", "and", "old bird"], config)
    return next(each.prompt for each in made if each.finish_reason == "length")


@pytest.mark.medium
@pytest.mark.parametrize("signals", [1, 2])
def test_a_server_that_was_told_to_stop_ends_what_is_left_and_says_so(run, capfd, signals):
    seconds = 1 if signals == 1 else 60
    flags = ("--model", f"tiny={run}", "--set", f"serve.drain_seconds={seconds}")
    endless = {"prompt": endless_prompt(run), "max_tokens": 10**9, "stream": True, "temperature": 0}
    with serve_process(*flags, "--set", 'generate.context_overflow="slide"') as (process, url):
        with httpx.stream("POST", f"{url}/v1/completions", json=endless, timeout=60) as answer:
            lines = (line for line in answer.iter_lines() if line)
            next(lines)
            for _ in range(signals):
                process.send_signal(signal.SIGTERM)
                time.sleep(0.5)
            *_, last = lines
        assert process.wait(timeout=30) == 0
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "stopping"
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_sixty_four_clients_for_a_minute(run, precision):
    wanted = alone(run, precision=precision)
    flags = ("--model", f"tiny={run}", "--slots", "16", "--precision", precision, "--set", "serve.queue=44")
    with serve_process(*flags) as (process, url):
        found = asyncio.run(soak(url, process.pid, wanted, clients=64, seconds=60, seed=2))
    # Not from the start: the first requests load and compile what later ones use.
    early, late = (median(part) for part in (found.memory[80:120], found.memory[-40:]))
    print(
        f"{precision}: {dict(found.statuses)} answers, {found.finished} finished, {found.equal} equal, "
        f"{found.hung_up} hung up, memory {early / 2**20:.1f} then {late / 2**20:.1f} MiB"
    )
    assert found.errors == []
    assert set(found.statuses) <= {200, 429}
    assert found.finished > 0
    assert late < 1.05 * early
    if precision == "float32":
        assert found.equal == found.finished
