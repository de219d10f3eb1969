"""kill -9 at any moment, resume, and the weights are those of a run that was never broken, bit for bit.

Half of the kills come from outside at a random moment; the other half come from a fault hook inside a save.
Processes are forked from a server that has imported the package once, so each costs a second, not five.
"""

import contextlib
import hashlib
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tiny_project import make_project, train_in_child

SAVE_POINTS = ("model", "optimizer", "manifest", "rename", "best", "latest", "retention")
STEPS = 24


def _start(config: Path, out_dir: Path, crash: str | None = None, resume: bool = False):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hornbook.assemble", "tiny_project"])
    process = context.Process(target=train_in_child, args=(config, out_dir, STEPS, crash, resume))
    process.start()
    return process


def _outcome(out_dir: Path) -> tuple[str, str, str]:
    """Digests of weights and optimizer state, and which checkpoint is the best."""
    directory = out_dir / "tiny" / "checkpoints" / f"step-{STEPS:08d}"
    model, optimizer = (
        hashlib.sha256((directory / f"{name}.safetensors").read_bytes()).hexdigest() for name in ("model", "optimizer")
    )
    return model, optimizer, (directory.parent / "BEST").read_text()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def unbroken(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    out_dir = tmp_path_factory.mktemp("unbroken")
    process = _start(project, out_dir)
    process.join(120)
    assert process.exitcode == 0
    return _outcome(out_dir)


def _kill_from_outside(process, out_dir: Path, rng: random.Random) -> None:
    """SIGKILL a random moment after a random number of logged events."""
    wanted, metrics = rng.randint(0, 2 * STEPS), out_dir / "tiny" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while process.is_alive() and time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            if metrics.read_bytes().count(b"\n") >= wanted:
                break
        time.sleep(0.002)
    time.sleep(rng.random() * 0.02)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.join(60)


def _check(project: Path, unbroken: tuple[str, str, str], out_dir: Path, seed: int) -> None:
    rng = random.Random(seed)
    if seed % 2:
        crash = f"checkpoint:{rng.choice(SAVE_POINTS)}@{rng.randint(1, 6)}"
        process = _start(project, out_dir, crash=crash)
        process.join(120)
        assert process.exitcode == -signal.SIGKILL, f"the fault hook {crash} never fired"
    else:
        process = _start(project, out_dir)
        _kill_from_outside(process, out_dir, rng)
    resumed = _start(project, out_dir, resume=True)
    resumed.join(120)
    assert resumed.exitcode == 0
    assert _outcome(out_dir) == unbroken
    assert (out_dir / "tiny" / "state").read_text().strip() == "finished"


@pytest.mark.medium
@pytest.mark.parametrize("seed", range(3))
def test_killed_run_resumes_exactly(project, unbroken, tmp_path, seed):
    _check(project, unbroken, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 23))
def test_killed_run_resumes_exactly_twenty_times(project, unbroken, tmp_path, seed):
    _check(project, unbroken, tmp_path, seed)
