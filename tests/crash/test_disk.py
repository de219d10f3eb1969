"""A disk that fills up or may only be read, and shards that break while they are read: one message, nothing lost.

Where the system lets us, the disk is a real one: a small file system in memory.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from hornbook.checkpoint.inspection import find_problems
from hornbook.checkpoint.load import load_checkpoint
from hornbook.cli.main import main
from hornbook.storage.run_dir import RunDir
from hornbook.tracking.jsonl import read_metrics
from hornbook.training.trainer import Trainer
from tiny_project import make_project

pytestmark = pytest.mark.medium

MIB = 2**20


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("disk"))


@pytest.fixture(scope="module")
def unbroken(project: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("unbroken")
    assert train(project, out) == 0
    return weights(out)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not shutil.which("mount") or _mount("-t", "tmpfs", "-o", f"size={4 * MIB}", "tmpfs", str(folder)):
        pytest.skip("may not mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def _mount(*words: str) -> int:
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode


def train(project: Path, out: Path, *more: str, steps: int = 12) -> int:
    words = [f'run.out_dir="{out.as_posix()}"', f"train.steps={steps}", "model.dropout=0.1"]
    return main(["train", str(project), *more, *[word for each in words for word in ("--set", each)]])


def resume(project: Path, out: Path) -> int:
    return train(project, out, "--resume", str(out / "tiny"))


def weights(out: Path) -> str:
    folder = out / "tiny/checkpoints/step-00000012"
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def fill(disk: Path, *, leave: int) -> Path:
    """A file that takes all the room but `leave` bytes."""
    path = disk / "ballast"
    free = shutil.disk_usage(disk).free
    path.write_bytes(bytes(max(0, free - leave)))
    return path


@contextlib.contextmanager
def at_step(step: int, act: Callable[[], object]) -> Iterator[None]:
    """Inside, training calls `act` before its step `step`, counted from 0."""
    whole = Trainer._step

    def acting(self: Trainer, number: int, batches: list) -> object:
        if number == step:
            act()
        return whole(self, number, batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", acting)
        yield


def assert_intact(out: Path, *, steps: tuple[int, ...] = (4, 8)) -> None:
    """The newest full checkpoint, of one of these steps, is whole; so is every other."""
    root = out / "tiny/checkpoints"
    assert load_checkpoint(root).step in steps
    assert set(find_problems(root).values()) == {None}, "whatever looks like a checkpoint is a whole one"


def assert_one_message(error: str, expected: str) -> None:
    assert expected in error
    assert error.startswith("hornbook train: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error


@pytest.mark.parametrize("kib_left", [0, 4, 8, 40, 100, 160])
def test_a_disk_that_fills_up_during_training(project, unbroken, disk, capsys, kib_left):
    ballast: list[Path] = []
    with at_step(5, lambda: ballast.append(fill(disk, leave=kib_left * 1024))):
        status = train(project, disk)
    assert_one_message(capsys.readouterr().err, "the disk is full")
    assert status == 2
    assert RunDir.open(disk / "tiny").state == "failed"
    assert_intact(disk)
    ballast[0].unlink()
    assert resume(project, disk) == 0
    assert weights(disk) == unbroken
    events = read_metrics(disk / "tiny/metrics.jsonl")
    assert [event["step"] for event in events if event["event"] == "train"] == list(range(1, 13))


def test_a_full_disk_at_the_start_of_a_resume(project, unbroken, disk, capsys):
    assert train(project, disk, steps=4) == 0
    capsys.readouterr()
    ballast = fill(disk, leave=0)
    assert resume(project, disk) == 2
    assert_one_message(capsys.readouterr().err, "the disk is full")
    assert_intact(disk, steps=(4,))
    ballast.unlink()
    assert resume(project, disk) == 0


def test_a_disk_that_may_only_be_read_from_the_start(project, disk, capsys):
    assert train(project, disk, steps=4) == 0
    assert _mount("-o", "remount,ro", str(disk)) == 0
    for out in (disk, disk / "new"):
        capsys.readouterr()
        assert (resume(project, out) if out == disk else train(project, out)) == 2
        assert_one_message(capsys.readouterr().err, "read-only")
    assert_intact(disk, steps=(4,))
    assert _mount("-o", "remount,rw", str(disk)) == 0
    assert resume(project, disk) == 0


def test_a_run_directory_without_permission(project, tmp_path, capsys):
    if os.name == "nt" or os.geteuid() == 0:
        pytest.skip("needs a user whom permissions bind")
    assert train(project, tmp_path, steps=4) == 0
    capsys.readouterr()
    (tmp_path / "tiny").chmod(0o555)
    status = resume(project, tmp_path)
    (tmp_path / "tiny").chmod(0o755)
    assert status == 2
    assert_one_message(capsys.readouterr().err, "permissions")
    assert_intact(tmp_path, steps=(4,))


def _truncate(shard: Path) -> None:
    os.truncate(shard, 10)


def _flip(shard: Path) -> None:
    """The highest bit of every token, on disk."""
    tokens = np.memmap(shard, dtype="<u2", mode="r+")
    tokens ^= 0x8000
    tokens.flush()


@pytest.mark.skipif(os.name == "nt", reason="a mapped file cannot be changed there")
@pytest.mark.parametrize(
    ("damage", "message"),
    [(_truncate, "bytes, but the index says"), (Path.unlink, "No such file"), (_flip, "damaged; prepare again")],
)
def test_a_shard_that_breaks_during_training(project, unbroken, tmp_path, capsys, damage, message):
    shard = project.parent / "data/train-00000.bin"
    whole = shard.read_bytes()
    try:
        with at_step(5, lambda: damage(shard)):
            assert train(project, tmp_path) == 2
        assert_one_message(capsys.readouterr().err, message)
        assert RunDir.open(tmp_path / "tiny").state == "failed"
        assert_intact(tmp_path)  # some steps had been read ahead
        assert resume(project, tmp_path) == 2
        assert_one_message(capsys.readouterr().err, message)
    finally:
        shard.write_bytes(whole)
    assert resume(project, tmp_path) == 0
    assert weights(tmp_path) == unbroken
