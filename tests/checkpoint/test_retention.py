"""Who stays and who goes. Only manifests are needed, so no torch."""

import json
from pathlib import Path

import pytest

from hornbook.checkpoint.retention import prune


def fill(root: Path, light: tuple[int, ...] = (), full: tuple[int, ...] = (), **pointers: int) -> None:
    for kind, steps in (("light", light), ("full", full)):
        for step in steps:
            path = root / f"step-{step:08d}"
            path.mkdir()
            (path / "manifest.json").write_text(json.dumps({"step": step, "kind": kind}))
    for name, step in pointers.items():
        (root / name).write_text(f"step-{step:08d}\n")


def steps(root: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in root.glob("step-*"))


def test_newest_of_each_kind_stay(tmp_path: Path) -> None:
    fill(tmp_path, light=(1, 3, 5, 7, 11), full=(2, 4, 6, 8), LATEST=8)
    removed = prune(tmp_path, light_keep=3, full_keep=2)
    assert steps(tmp_path) == [5, 6, 7, 8, 11]
    assert [path.name for path in removed] == [f"step-{step:08d}" for step in (1, 2, 3, 4)]


def test_latest_and_best_are_exempt(tmp_path: Path) -> None:
    fill(tmp_path, light=(1, 2, 3), full=(4, 5, 6), LATEST=4, BEST=1)
    prune(tmp_path, light_keep=1, full_keep=1)
    assert steps(tmp_path) == [1, 3, 4, 6]


def test_superseded_best_goes(tmp_path: Path) -> None:
    fill(tmp_path, full=(1, 2, 3, 4), LATEST=4, BEST=1)
    prune(tmp_path, light_keep=0, full_keep=1)
    assert steps(tmp_path) == [1, 4]
    (tmp_path / "BEST").write_text("step-00000004\n")
    prune(tmp_path, light_keep=0, full_keep=1)
    assert steps(tmp_path) == [4]


def test_steps_are_numbers_and_names_mean_nothing(tmp_path: Path) -> None:
    fill(tmp_path, full=(9, 10))
    (tmp_path / "step-00000010").rename(tmp_path / "a")
    (tmp_path / "step-00000009").rename(tmp_path / "z")
    assert prune(tmp_path, light_keep=0, full_keep=1) == [tmp_path / "z"]


def test_other_things_are_left_alone(tmp_path: Path) -> None:
    fill(tmp_path, full=(1, 2))
    (tmp_path / "mine").mkdir()
    (tmp_path / "notes.txt").touch()
    prune(tmp_path, light_keep=0, full_keep=1)
    assert (tmp_path / "mine").is_dir()
    assert (tmp_path / "notes.txt").exists()


def test_dry_run_deletes_nothing(tmp_path: Path) -> None:
    fill(tmp_path, full=(1, 2, 3))
    doomed = prune(tmp_path, light_keep=0, full_keep=1, dry_run=True)
    assert steps(tmp_path) == [1, 2, 3]
    assert prune(tmp_path, light_keep=0, full_keep=1) == doomed


@pytest.mark.parametrize("keep", [1, 2, 10])
def test_nothing_to_do(tmp_path: Path, keep: int) -> None:
    assert prune(tmp_path, light_keep=keep, full_keep=keep) == []
    fill(tmp_path, full=(1,))
    assert prune(tmp_path, light_keep=keep, full_keep=keep) == []
