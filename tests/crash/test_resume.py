"""kill -9 at any moment, resume, and the weights are those of a run that was never broken, bit for bit.

Half of the kills come from outside at a random moment; the other half come from a fault hook inside a save.
Processes are forked from a server that has imported the package once, so each costs a second, not five.
"""

import contextlib
import functools
import hashlib
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tiny_project import make_project, train_in_child

RECIPES: dict[str, dict[str, object]] = {
    "adamw": {},
    "muon-bf16": {"optim__kind": "muon", "train__precision": "bf16", "model__n_layers": 3},
}
SAVE_POINTS = ("model", "optimizer", "manifest", "rename", "best", "latest", "retention")
STEPS = 24


def _start(config: Path, out_dir: Path, recipe: str, crash: str | None = None, resume: bool = False):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hornbook.assemble", "tiny_project"])
    process = context.Process(target=train_in_child, args=(config, out_dir, STEPS, crash, resume, RECIPES[recipe]))
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
def unbroken(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[str, str, str]]:
    @functools.cache
    def outcome(recipe: str) -> tuple[str, str, str]:
        out_dir = tmp_path_factory.mktemp(f"unbroken-{recipe}")
        process = _start(project, out_dir, recipe)
        process.join(120)
        assert process.exitcode == 0
        return _outcome(out_dir)

    return outcome


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


def _check(project: Path, expected: tuple[str, str, str], out_dir: Path, recipe: str, seed: int) -> None:
    rng = random.Random(seed)
    if seed % 2:
        crash = f"checkpoint:{rng.choice(SAVE_POINTS)}@{rng.randint(1, 6)}"
        process = _start(project, out_dir, recipe, crash=crash)
        process.join(120)
        assert process.exitcode == -signal.SIGKILL, f"the fault hook {crash} never fired"
    else:
        process = _start(project, out_dir, recipe)
        _kill_from_outside(process, out_dir, rng)
    resumed = _start(project, out_dir, recipe, resume=True)
    resumed.join(120)
    assert resumed.exitcode == 0
    assert _outcome(out_dir) == expected
    assert (out_dir / "tiny" / "state").read_text().strip() == "finished"


@pytest.mark.medium
@pytest.mark.parametrize(("recipe", "seed"), [("adamw", 1), *(("muon-bf16", seed) for seed in range(3))])
def test_killed_run_resumes_exactly(project, unbroken, tmp_path, recipe, seed):
    _check(project, unbroken(recipe), tmp_path, recipe, seed)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("seed", range(3, 23))
def test_killed_run_resumes_exactly_twenty_times(project, unbroken, tmp_path, recipe, seed):
    _check(project, unbroken(recipe), tmp_path, recipe, seed)
