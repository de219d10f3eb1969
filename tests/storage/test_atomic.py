"""Files and directories are as they were or completely new: after errors, full disks and kills."""

import errno
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from hornbook.storage import atomic, disk
from hornbook.storage.atomic import (
    commit_directory,
    discard_directory,
    is_temporary,
    replace_file,
    standing,
    sweep_temporaries,
)
from hornbook.storage.disk import StorageError

posix = pytest.mark.skipif(os.name == "nt", reason="fork and SIGKILL are POSIX's")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fails(number: int):
    def call(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


def in_a_child_that_is_killed(work) -> None:
    """Run `work` in a forked process, which must end by SIGKILL."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


class TestReplaceFile:
    def test_new_file(self, tmp_path: Path) -> None:
        replace_file(tmp_path / "a", "é\r\n")
        assert (tmp_path / "a").read_bytes() == b"\xc3\xa9\r\n"
        assert names(tmp_path) == ["a"]

    def test_old_file_gives_way(self, tmp_path: Path) -> None:
        replace_file(tmp_path / "a", b"old" * 1000)
        replace_file(tmp_path / "a", b"new")
        assert (tmp_path / "a").read_bytes() == b"new"

    @pytest.mark.parametrize(
        ("number", "advice"),
        [
            (errno.ENOSPC, "disk is full"),
            (errno.EROFS, "read-only"),
            (errno.EACCES, "permissions"),
            (errno.EIO, "device"),
        ],
    )
    def test_disk_that_refuses(self, tmp_path: Path, monkeypatch, number: int, advice: str) -> None:
        replace_file(tmp_path / "a", "old")
        monkeypatch.setattr(os, "fsync", fails(number))
        with pytest.raises(StorageError, match=advice) as caught:
            replace_file(tmp_path / "a", "new")
        assert str(tmp_path / "a") in str(caught.value)
        assert (tmp_path / "a").read_text() == "old"
        assert names(tmp_path) == ["a"]

    def test_a_clean_up_that_fails_too_hides_nothing(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(os, "fsync", fails(errno.EROFS))
        monkeypatch.setattr(Path, "unlink", lambda *_, missing_ok: fails(errno.EROFS)())
        with pytest.raises(StorageError, match=r"/a: cannot be written .*read-only"):
            replace_file(tmp_path / "a", "new")

    @posix
    def test_file_larger_than_the_limit(self, tmp_path: Path) -> None:
        resource = pytest.importorskip("resource")
        replace_file(tmp_path / "a", "old")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
            with pytest.raises(StorageError, match="ulimit"):
                replace_file(tmp_path / "a", b"x" * 100_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert (tmp_path / "a").read_text() == "old"
        assert names(tmp_path) == ["a"]

    def test_folder_that_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="does not exist"):
            replace_file(tmp_path / "no" / "a", "x")

    def test_directory_that_cannot_be_synced(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(os, "fsync", fails(errno.EINVAL))
        disk.sync_directory(tmp_path)  # some file systems cannot, and that is no error


class TestCommitDirectory:
    def test_appears_only_at_the_end(self, tmp_path: Path) -> None:
        with commit_directory(tmp_path / "a") as temporary:
            (temporary / "inner").mkdir()
            (temporary / "inner" / "file").write_text("x")
            assert not (tmp_path / "a").exists()
            assert is_temporary(temporary)
        assert (tmp_path / "a" / "inner" / "file").read_text() == "x"
        assert names(tmp_path) == ["a"]

    def test_everything_is_synced_before_the_rename(self, tmp_path: Path, monkeypatch) -> None:
        events: list[str] = []
        monkeypatch.setattr(atomic, "sync_tree", lambda path: events.append(f"sync {len(names(path))}"))
        monkeypatch.setattr(atomic, "sync_directory", lambda path: events.append(f"parent {names(path)}"))
        with commit_directory(tmp_path / "a") as temporary:
            (temporary / "file").write_text("x")
        assert events == ["sync 1", "parent ['a']"]

    def test_error_in_the_block_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError), commit_directory(tmp_path / "a"):
            _ = 1 / 0
        assert names(tmp_path) == []

    def test_existing_directory_is_refused_before_any_work(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        with pytest.raises(StorageError, match="exists already"), commit_directory(tmp_path / "a"):
            pytest.fail("the block must not run")

    def test_replace(self, tmp_path: Path) -> None:
        for text in ("old", "new"):
            with commit_directory(tmp_path / "a", replace=True) as temporary:
                (temporary / text).write_text(text)
        assert names(tmp_path / "a") == ["new"]
        assert names(tmp_path) == ["a"]

    def test_failed_replacement_keeps_the_old_one(self, tmp_path: Path, monkeypatch) -> None:
        with commit_directory(tmp_path / "a") as temporary:
            (temporary / "old").write_text("old")
        rename = Path.rename

        def refuse(self: Path, target: Path) -> Path:
            if target == tmp_path / "a" and self.name.startswith(".tmp-"):
                raise OSError(errno.EIO, "Input/output error")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(StorageError), commit_directory(tmp_path / "a", replace=True) as temporary:
            (temporary / "new").write_text("new")
        assert names(tmp_path / "a") == ["old"]
        assert names(tmp_path) == ["a"]

    def test_disk_full_in_the_block_is_explained(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="disk is full"), commit_directory(tmp_path / "a"):
            raise OSError(errno.ENOSPC, "No space left on device")
        assert names(tmp_path) == []

    def test_writers_in_the_block_name_the_final_path(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(os, "fsync", fails(errno.ENOSPC))
        with pytest.raises(StorageError) as caught, commit_directory(tmp_path / "a") as temporary:
            replace_file(temporary / "file", "x")
        assert str(caught.value).startswith(f"{tmp_path / 'a' / 'file'}: cannot be written")

    def test_a_file_is_never_replaced_by_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("mine")
        with pytest.raises(StorageError, match="exists already"), commit_directory(tmp_path / "a", replace=True):
            pytest.fail("the block must not run")

    @posix
    def test_a_link_gives_way_and_what_it_led_to_stays(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "a").symlink_to(tmp_path / "real", target_is_directory=True)
        with commit_directory(tmp_path / "a", replace=True) as temporary:
            (temporary / "new").touch()
        assert names(tmp_path) == ["a", "real"]
        assert names(tmp_path / "a") == ["new"]
        assert names(tmp_path / "real") == []

    def test_old_one_that_cannot_be_deleted_is_no_failure(self, tmp_path: Path, monkeypatch) -> None:
        for text in ("old", "new"):
            with commit_directory(tmp_path / "a", replace=True) as temporary:
                (temporary / text).touch()
                if text == "new":
                    monkeypatch.setattr(atomic, "_delete", lambda _: fails(errno.EACCES)())
        assert names(tmp_path / "a") == ["new"]

    def test_missing_source_in_the_block_stays_the_callers(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError), commit_directory(tmp_path / "a"):
            (tmp_path / "source").read_text()

    def test_read_only_parent(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(Path, "mkdir", lambda *_, **__: fails(errno.EROFS)())
        with pytest.raises(StorageError, match="read-only"), commit_directory(tmp_path / "a"):
            pytest.fail("the block must not run")

    @posix
    def test_killed_between_the_two_renames(self, tmp_path: Path, monkeypatch) -> None:
        final = tmp_path / "a"
        with commit_directory(final) as temporary:
            (temporary / "file").write_text("old")

        def replace() -> None:
            os.environ["HORNBOOK_CRASH"] = "storage:swap"
            with commit_directory(final, replace=True) as temporary:
                (temporary / "file").write_text("new")

        in_a_child_that_is_killed(replace)
        assert not final.exists()
        assert (standing(final) / "file").read_text() == "old"
        assert sweep_temporaries(tmp_path) == 2
        assert (final / "file").read_text() == "old"
        assert names(tmp_path) == ["a"]

    @posix
    def test_killed_while_the_old_one_is_deleted(self, tmp_path: Path) -> None:
        final = tmp_path / "a"
        with commit_directory(final) as temporary:
            (temporary / "file").write_text("old")

        def replace() -> None:
            os.environ["HORNBOOK_CRASH"] = "storage:discard"
            with commit_directory(final, replace=True) as temporary:
                (temporary / "file").write_text("new")

        in_a_child_that_is_killed(replace)
        assert (standing(final) / "file").read_text() == "new"
        assert sweep_temporaries(tmp_path) == 1
        assert names(tmp_path) == ["a"]


class TestSweep:
    @posix
    def test_leftovers_of_the_killed(self, tmp_path: Path) -> None:
        def write() -> None:
            with commit_directory(tmp_path / "a") as temporary:
                (temporary / "file").write_text("half")
                (temporary.with_name(temporary.name + "-file")).write_text("a file's leftover")
                os.kill(os.getpid(), signal.SIGKILL)

        in_a_child_that_is_killed(write)
        assert len(names(tmp_path)) == 2
        assert sweep_temporaries(tmp_path) == 2
        assert names(tmp_path) == []

    def test_what_is_not_ours_stays(self, tmp_path: Path) -> None:
        for name in (".tmp-mine", ".old-photos", "a.tmp", ".hidden"):
            (tmp_path / name).write_text("x")
        assert sweep_temporaries(tmp_path) == 0
        assert len(names(tmp_path)) == 4

    def test_the_living_are_left_alone(self, tmp_path: Path) -> None:
        with commit_directory(tmp_path / "a") as temporary:
            assert sweep_temporaries(tmp_path) == 0
            (temporary / "file").write_text("x")
        assert (tmp_path / "a" / "file").exists()

    @posix
    def test_another_living_process_is_left_alone(self, tmp_path: Path) -> None:
        parent = str(os.getppid())
        with commit_directory(tmp_path / "a") as temporary:
            other = temporary.with_name(temporary.name.replace(f"-{os.getpid()}-", f"-{parent}-"))
            other.mkdir()
            assert sweep_temporaries(tmp_path) == 0
            other.rmdir()

    def test_former_life_with_our_number(self, tmp_path: Path) -> None:
        # In a container, the process that was killed and the one that resumes both are number 1.
        with commit_directory(tmp_path / "a") as temporary:
            former = temporary.with_name(temporary.name.replace(atomic._life(), "000000"))
            former.mkdir()
            assert sweep_temporaries(tmp_path) == 1

    def test_another_machine_has_a_day(self, tmp_path: Path) -> None:
        other = tmp_path / ".tmp-000000-1-000000-000000-a"
        other.write_text("x")
        assert sweep_temporaries(tmp_path) == 0
        yesterday = time.time() - 25 * 3600
        os.utime(other, (yesterday, yesterday))
        assert sweep_temporaries(tmp_path) == 1


def test_discarded_directory_is_gone(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    discard_directory(tmp_path / "a")
    assert names(tmp_path) == []


def test_storage_imports_nothing_heavy() -> None:
    import subprocess

    code = (
        "import sys, hornbook.storage.atomic, hornbook.storage.run_dir, hornbook.storage.provenance as p;"
        "p.provenance(config_hash='x'); print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
