import os
import subprocess
import sys

import pytest

from hornbook.errors import HornbookError
from hornbook.storage.lock import alone, is_taken

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no flock")

BUSY = HornbookError("busy")


def test_a_second_holder_is_refused_until_the_first_has_gone(tmp_path):
    with alone(tmp_path, otherwise=BUSY):
        with pytest.raises(HornbookError, match="busy"), alone(tmp_path, otherwise=BUSY):
            pytest.fail("both are alone")
        with alone(tmp_path.parent, otherwise=BUSY):
            pass
    with alone(tmp_path, otherwise=BUSY):
        pass


def test_a_killed_holder_holds_nothing(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from hornbook.errors import HornbookError\n"
        "from hornbook.storage.lock import alone\n"
        "with alone(Path(sys.argv[1]), otherwise=HornbookError('busy')): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    with alone(tmp_path, otherwise=BUSY):
        pass


def test_an_error_inside_frees_it(tmp_path):
    with pytest.raises(ZeroDivisionError), alone(tmp_path, otherwise=BUSY):
        _ = 1 / 0
    with alone(tmp_path, otherwise=BUSY):
        pass


def test_any_number_may_ask_at_once_and_only_a_holder_is_seen(tmp_path, monkeypatch):
    import fcntl

    file = tmp_path / "x"
    file.touch()
    real, seen = fcntl.flock, []

    def another_asks_meanwhile(descriptor, operation):
        real(descriptor, operation)
        if not seen:
            seen.append(1)
            seen.append(is_taken(file))

    monkeypatch.setattr(fcntl, "flock", another_asks_meanwhile)
    assert not is_taken(file)
    assert seen == [1, False]
    with alone(file, otherwise=BUSY):
        assert is_taken(file)
    assert not is_taken(file)


def test_a_file_is_locked_where_only_what_is_open_for_writing_can_be(tmp_path, monkeypatch):
    import errno
    import fcntl

    real = fcntl.flock

    def over_nfs(descriptor, operation):
        if operation & fcntl.LOCK_EX and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", over_nfs)
    file = tmp_path / "x"
    file.touch()
    with alone(file, otherwise=BUSY):
        assert is_taken(file)
        with pytest.raises(HornbookError, match="busy"), alone(file, otherwise=BUSY):
            pytest.fail("both are alone")
    with alone(tmp_path, otherwise=BUSY):  # a directory cannot be opened so: nothing is kept, and nothing fails
        pass
