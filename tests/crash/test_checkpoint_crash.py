"""SIGKILL at every named instant of a save: what loads afterwards is the old checkpoint or the new one, never neither.

Each victim is forked from this process, which has torch imported already, so a kill costs milliseconds.
"""

import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from hornbook.checkpoint.inspection import find_problems
from hornbook.checkpoint.load import load_checkpoint
from hornbook.checkpoint.retention import prune
from hornbook.checkpoint.save import mark_best
from hornbook.storage.atomic import is_temporary
from hornbook.storage.run_dir import list_checkpoints, resolve_checkpoint
from tiny_checkpoint import save, weights_of

pytestmark = [pytest.mark.medium, pytest.mark.skipif(os.name == "nt", reason="fork and SIGKILL are POSIX's")]

BEFORE_LATEST = [
    "checkpoint:model",
    "checkpoint:tensor",
    "checkpoint:tensor@5",
    "checkpoint:model@2",
    "checkpoint:optimizer",
    "checkpoint:tensor@30",
    "checkpoint:optimizer@2",
    "checkpoint:manifest",
    "checkpoint:manifest@2",
    "checkpoint:rename",
    "checkpoint:rename@2",
    "checkpoint:latest",
]
AFTER_LATEST = [
    "checkpoint:latest@2",
    "checkpoint:best",
    "checkpoint:best@2",
    "checkpoint:retention",
    "storage:discard",
    "checkpoint:retention@2",
]


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a killed process loses nothing that it wrote; a power cut would


def kill(crash: str, work: Callable[[], object]) -> None:
    """Run `work` in a child that dies at the crash point `crash`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of fork beside threads
        pid = os.fork()
    if pid == 0:
        try:
            os.environ["HORNBOOK_CRASH"] = crash
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), f"{crash} was never reached"
    assert os.WTERMSIG(status) == signal.SIGKILL


def seed_of(path: Path) -> int:
    """Which model a checkpoint, verified, holds: the step of its optimizer is the seed of its weights."""
    loaded = load_checkpoint(path)
    assert loaded.optimizer is not None
    seed = int(loaded.optimizer["norm.weight/step"])
    expected = weights_of(seed)
    assert all(bool((loaded.weights[name] == tensor).all()) for name, tensor in expected.items())
    return seed


def assert_next_save_clears_up(root: Path) -> None:
    save(root, 20)
    mark_best(root, 20)
    prune(root, light_keep=0, full_keep=1)
    assert sorted(path.name for path in root.iterdir()) == ["BEST", "LATEST", "step-00000020"]
    assert seed_of(root) == 20


@pytest.mark.parametrize("crash", [*BEFORE_LATEST, *AFTER_LATEST])
def test_new_step(tmp_path: Path, crash: str) -> None:
    save(tmp_path, 4)
    save(tmp_path, 5)

    def work() -> None:
        save(tmp_path, 10)
        mark_best(tmp_path, 10)
        prune(tmp_path, light_keep=1, full_keep=1)

    kill(crash, work)
    assert seed_of(tmp_path) == (5 if crash in BEFORE_LATEST else 10)
    # Whatever looks like a checkpoint is a whole one.
    assert set(find_problems(tmp_path).values()) == {None}
    assert_next_save_clears_up(tmp_path)


@pytest.mark.parametrize("crash", BEFORE_LATEST)
def test_first_step_of_a_run(tmp_path: Path, crash: str) -> None:
    kill(crash, lambda: save(tmp_path, 10))
    is_committed = crash in ("checkpoint:rename@2", "checkpoint:latest")
    assert [entry.step for entry in list_checkpoints(tmp_path)] == [10] * is_committed
    if is_committed:  # without LATEST, the newest full one
        assert seed_of(tmp_path) == 10
    assert_next_save_clears_up(tmp_path)


OLD_STANDS = BEFORE_LATEST[: BEFORE_LATEST.index("checkpoint:rename") + 1]


@pytest.mark.parametrize("crash", [*BEFORE_LATEST, "storage:swap", "storage:discard", "checkpoint:latest@2"])
def test_the_same_step_again(tmp_path: Path, crash: str) -> None:
    final = save(tmp_path, 5, seed=1)
    kill(crash, lambda: save(tmp_path, 5, seed=2))
    expected = 1 if crash in (*OLD_STANDS, "storage:swap") else 2
    assert seed_of(tmp_path) == expected
    assert seed_of(final) == expected
    assert_next_save_clears_up(tmp_path)


def test_set_aside_is_put_back_by_the_next_save(tmp_path: Path) -> None:
    final = save(tmp_path, 5, seed=1)
    kill("storage:swap", lambda: save(tmp_path, 5, seed=2))
    assert is_temporary(resolve_checkpoint(tmp_path))
    save(tmp_path, 3, "light")
    assert resolve_checkpoint(tmp_path) == final
    assert seed_of(final) == 1


@pytest.mark.parametrize("crash", ["checkpoint:rename", "storage:swap", "checkpoint:rename@2"])
def test_light_becoming_full(tmp_path: Path, crash: str) -> None:
    save(tmp_path, 4)
    save(tmp_path, 5, "light")
    kill(crash, lambda: save(tmp_path, 5))
    assert seed_of(tmp_path) == 4
    assert load_checkpoint(tmp_path / "step-00000005").kind == ("full" if crash.endswith("@2") else "light")
    assert_next_save_clears_up(tmp_path)


@pytest.mark.parametrize("crash", [*BEFORE_LATEST[-3:], "checkpoint:best", "checkpoint:best@2", "checkpoint:latest@2"])
def test_latest_never_gets_ahead_of_best(tmp_path: Path, crash: str) -> None:
    save(tmp_path, 4, best=True)
    kill(crash, lambda: save(tmp_path, 5, best=True))
    best = resolve_checkpoint(tmp_path, prefer="best")
    # Resumed from step 4, the run would find the best of step 5 again; resumed from step 5, never.
    assert seed_of(tmp_path) == 4 or seed_of(best) == 5
    assert seed_of(best) in (4, 5)
