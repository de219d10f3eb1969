"""Many clients at once against a server in a process of its own, some of which hang up in the middle of an answer."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

Request = tuple[str, int, int]
"""Prompt, seed and max_tokens."""


@contextmanager
def serve_process(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`hornbook serve` on a free port, and its URL; it is stopped by SIGTERM and must end well."""
    command = [sys.executable, "-m", "hornbook", "serve", "--port", "0", "--set", "run.threads=1", *arguments]
    with tempfile.TemporaryFile("w+") as told, subprocess.Popen(command, stdout=told) as process:
        try:
            yield process, _url(process, told.fileno())
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
            assert process.returncode == 0
        finally:
            process.kill()


def _url(process: subprocess.Popen[bytes], file: int) -> str:
    """Where it listens, once it says so; it goes on to write to the file, which nobody reads."""
    while b"\n" not in (told := os.pread(file, 100_000, 0)):
        assert process.poll() is None
        time.sleep(0.05)
    ready = json.loads(told.partition(b"\n")[0])
    assert ready["event"] == "serve"
    return str(ready["url"])


def resident_bytes(pid: int) -> int:
    """Memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Found:
    """What came of it."""

    statuses: Counter[int] = field(default_factory=Counter)
    finished: int = 0
    equal: int = 0
    hung_up: int = 0
    errors: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    """Bytes, every so often."""


async def soak(url: str, pid: int, wanted: Mapping[Request, str], *, clients: int, seconds: float, seed: int) -> Found:
    """Stream the requests of `wanted` from `clients` at once for so long, and compare what is finished."""
    found = Found()
    ends = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=clients + 4)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
        watch = asyncio.ensure_future(_watch(pid, found, ends))
        await asyncio.gather(*(_client(http, wanted, found, ends, random.Random(seed + n)) for n in range(clients)))
        await watch
        last = await http.get("/metrics")
    assert 'hornbook_running{model="tiny"} 0\n' in last.text
    assert 'hornbook_waiting{model="tiny"} 0\n' in last.text
    return found


async def _watch(pid: int, found: Found, ends: float) -> None:
    while time.monotonic() < ends:
        found.memory.append(resident_bytes(pid))
        await asyncio.sleep(0.25)


async def _client(
    http: httpx.AsyncClient, wanted: Mapping[Request, str], found: Found, ends: float, rng: random.Random
) -> None:
    requests = list(wanted)
    while time.monotonic() < ends:
        request = rng.choice(requests)
        prompt, seed, limit = request
        hangs_up = rng.choice([0, 1, 5, 20]) if rng.random() < 0.3 else None
        text, pieces = "", 0
        body = {"model": "tiny", "prompt": prompt, "seed": seed, "max_tokens": limit, "stream": True}
        async with http.stream("POST", "/v1/completions", json=body) as answer:
            found.statuses[answer.status_code] += 1
            if answer.status_code != 200:
                await answer.aread()
                await asyncio.sleep(rng.random())
                continue
            whole = False
            async for line in answer.aiter_lines():
                if hangs_up is not None and pieces >= hangs_up:
                    break
                if line == "data: [DONE]":
                    whole = True
                elif line.startswith("data: "):
                    event = json.loads(line.removeprefix("data: "))
                    if "error" in event:
                        found.errors.append(str(event))
                        break
                    text += event["choices"][0]["text"]
                    pieces += 1
        if whole:
            found.finished += 1
            found.equal += text == wanted[request]
        else:
            found.hung_up += 1
