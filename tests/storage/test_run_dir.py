"""Where things live in a run, and which checkpoint a path means. Checkpoints are only manifests here: no torch."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from hornbook.errors import CheckpointError
from hornbook.storage.run_dir import RunDir, latest_run, list_checkpoints, resolve_checkpoint


def checkpoint(root: Path, name: str, *, step: int, kind: str) -> Path:
    path = root / name
    path.mkdir(parents=True)
    (path / "manifest.json").write_text(json.dumps({"format": 1, "step": step, "kind": kind}))
    return path


def point(root: Path, pointer: str, name: str) -> None:
    (root / pointer).write_text(name + "\n")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path / "runs", "tiny")


class TestRunDir:
    def test_new(self, run: RunDir) -> None:
        assert run.state == "starting"
        assert run.checkpoints.is_dir()
        assert run.config_file.parent == run.root

    def test_never_overwrites(self, run: RunDir) -> None:
        with pytest.raises(CheckpointError, match=r"exists already.*--resume"):
            RunDir.create(run.root.parent, "tiny")

    def test_what_was_killed_in_its_first_instant_is_taken_over(self, run: RunDir) -> None:
        run.state_file.rename(run.root / ".tmp-0123ab-77-0123ab-0123ab-state")
        run.evals.rmdir()
        assert run.is_blank
        assert RunDir.create(run.root.parent, "tiny").state == "starting"
        assert not run.is_blank
        run.state_file.unlink()
        (run.checkpoints / "step-00000001").mkdir()
        assert not run.is_blank

    @pytest.mark.parametrize("name", ["../out", "a/b", "/abs", ".", "..", ""])
    def test_name_is_a_name(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(CheckpointError, match="plain name"):
            RunDir.create(tmp_path, name)

    def test_states(self, run: RunDir) -> None:
        run.set_state("preempted")
        assert run.state == "preempted"
        assert run.state_file.read_text() == "preempted\n"
        run.state_file.write_text("asleep")
        with pytest.raises(CheckpointError, match=r"'asleep'.*running"):
            _ = run.state

    def test_a_full_disk_still_takes_the_word(self, run: RunDir, monkeypatch) -> None:
        def refuse(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", refuse)
        run.set_state("failed")
        assert run.state == "failed"

    def test_open_from_anywhere_inside(self, run: RunDir, monkeypatch) -> None:
        inside = checkpoint(run.checkpoints, "step-1", step=1, kind="full")
        for path in (run.root, run.checkpoints, inside):
            assert RunDir.open(path).root == run.root
        monkeypatch.chdir(inside)
        assert RunDir.open(Path()).root == run.root

    def test_open_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").touch()
        with pytest.raises(CheckpointError, match=r"not a run.*notes\.txt"):
            RunDir.open(tmp_path)

    def test_open_a_misspelt_checkpoint(self, run: RunDir) -> None:
        with pytest.raises(CheckpointError, match="no directory"):
            RunDir.open(run.checkpoints / "step-2")

    def test_latest_of_the_same_configuration(self, tmp_path: Path) -> None:
        for name, config_hash, started in (
            ("c", "x", "2026-01-01"),
            ("a", "x", "2026-02-01"),
            ("b", "y", "2026-03-01"),
        ):
            run = RunDir.create(tmp_path, name)
            run.write_provenance({"config_hash": config_hash, "started": started})
        RunDir.create(tmp_path, "without-provenance")

        def find(wanted: str) -> RunDir | None:
            return latest_run(tmp_path, lambda run: run.provenance().get("config_hash") == wanted)

        assert find("x") == RunDir(tmp_path / "a")
        assert find("y") == RunDir(tmp_path / "b")
        assert find("z") is None
        assert latest_run(tmp_path / "nowhere", lambda _: True) is None


class TestResolve:
    def test_the_directory_itself(self, run: RunDir) -> None:
        path = checkpoint(run.checkpoints, "any name", step=3, kind="light")
        assert resolve_checkpoint(path) == path

    def test_latest_is_what_latest_names(self, run: RunDir) -> None:
        first = checkpoint(run.checkpoints, "step-1", step=1, kind="full")
        checkpoint(run.checkpoints, "step-2", step=2, kind="full")
        point(run.checkpoints, "LATEST", "step-1")
        for path in (run.root, run.checkpoints):
            assert resolve_checkpoint(path) == first

    def test_without_latest_newest_full_then_newest_light(self, run: RunDir) -> None:
        checkpoint(run.checkpoints, "step-9", step=9, kind="light")
        newest = checkpoint(run.checkpoints, "step-10", step=10, kind="light")  # by number, not by spelling
        assert resolve_checkpoint(run.root) == newest
        full = checkpoint(run.checkpoints, "step-1", step=1, kind="full")
        assert resolve_checkpoint(run.root) == full

    @pytest.mark.parametrize("damage", ["gone", "no manifest", "broken manifest", "../step-1", "", "\0"])
    def test_latest_that_leads_nowhere_is_said_and_survived(self, run: RunDir, damage: str) -> None:
        full = checkpoint(run.checkpoints, "step-1", step=1, kind="full")
        checkpoint(run.checkpoints, "step-3", step=3, kind="light")
        bad = checkpoint(run.checkpoints, "step-2", step=2, kind="full")
        point(run.checkpoints, "LATEST", "step-2")
        if damage == "gone":
            shutil.rmtree(bad)
        elif damage == "no manifest":
            (bad / "manifest.json").unlink()
        elif damage == "broken manifest":
            (bad / "manifest.json").write_text("{")
        else:
            shutil.rmtree(bad)
            point(run.checkpoints, "LATEST", damage)
        with pytest.warns(UserWarning, match=r"missing or incomplete; taking step-1"):
            assert resolve_checkpoint(run.root) == full

    def test_best(self, run: RunDir) -> None:
        with pytest.raises(CheckpointError, match="BEST is absent"):
            resolve_checkpoint(run.root, prefer="best")
        path = checkpoint(run.checkpoints, "step-1", step=1, kind="light")
        checkpoint(run.checkpoints, "step-2", step=2, kind="full")
        point(run.checkpoints, "BEST", "step-1")
        assert resolve_checkpoint(run.root, prefer="best") == path
        point(run.checkpoints, "BEST", "step-7")
        with pytest.raises(CheckpointError, match=r"BEST names step-7.*step-1, step-2"):
            resolve_checkpoint(run.root, prefer="best")

    def test_nothing_there(self, run: RunDir, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="does not exist"):
            resolve_checkpoint(tmp_path / "nowhere")
        with pytest.raises(CheckpointError, match=r"no complete checkpoint.*an empty directory"):
            resolve_checkpoint(run.root)
        (run.checkpoints / "step-1").mkdir()
        (run.checkpoints / "step-1" / "model.safetensors").touch()
        with pytest.raises(CheckpointError, match=r"no complete checkpoint.*step-1"):
            resolve_checkpoint(run.root)
        with pytest.raises(CheckpointError, match=r"incomplete checkpoint.*manifest\.json"):
            resolve_checkpoint(run.checkpoints / "step-1")

    def test_set_aside_by_a_killed_replacement(self, run: RunDir) -> None:
        aside = checkpoint(run.checkpoints, ".old-000000-1-000000-000000-step-1", step=1, kind="full")
        point(run.checkpoints, "LATEST", "step-1")
        assert resolve_checkpoint(run.root) == aside
        assert resolve_checkpoint(run.checkpoints / "step-1") == aside
        assert [entry.path for entry in list_checkpoints(run.checkpoints)] == [aside]
        path = checkpoint(run.checkpoints, "step-1", step=1, kind="full")
        assert resolve_checkpoint(run.root) == path
        assert [entry.path for entry in list_checkpoints(run.checkpoints)] == [path]

    def test_temporaries_are_never_taken(self, run: RunDir) -> None:
        checkpoint(run.checkpoints, ".tmp-000000-1-000000-000000-step-1", step=1, kind="full")
        assert list_checkpoints(run.checkpoints) == []
